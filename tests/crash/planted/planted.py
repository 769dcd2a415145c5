"""The planted bugs: mistakes that were made in other people's software, each a few lines of ours.

Each is a change of the source and the tests that have to fail with it, every one of them for a
finding of its own. The changed lines have to stand in the source exactly once, so a bug that can
not be planted any more is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PLANTED", "Edit", "PlantedBug"]

EVERY_STEP = "tests/crash/test_every_step.py"
RANDOM_KILLS = "tests/crash/test_random_kills.py"
BUDGET_KILLS = "tests/crash/test_budget_under_kills.py"
BATCH_LIFE = "tests/crash/test_batch_life.py"
BATCH_FAULTS = "tests/pipeline/batch"
SYNCED = "tests/checkpoint/test_what_is_synced.py"


@dataclass(frozen=True, slots=True)
class Edit:
    """A replacement in one file of the package."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedBug:
    """One mistake."""

    name: str
    edits: tuple[Edit, ...]
    caught_by: tuple[str, ...]
    """Selections of pytest, each of which has to fail."""


PLANTED: tuple[PlantedBug, ...] = (
    PlantedBug(
        name="the row before the file",
        edits=(
            Edit(
                "pipeline/keeping.py",
                "            name = files.link_accepted(file, stem, sha256=sha256, seal=seal)\n",
                "            name = f\"{stem}.{file.rpartition('.')[2]}\"\n",
            ),
            Edit(
                "pipeline/keeping.py",
                "after=lambda: files.discard(file)\n",
                "after=lambda: (\n"
                "                files.accept(file, stem, sha256=sha256), files.discard(file)\n"
                "            )\n",
            ),
        ),
        caught_by=(EVERY_STEP,),
    ),
    PlantedBug(
        name="no fsync of the folder",
        edits=(
            Edit(
                "checkpoint/disk.py",
                "        os.fsync(descriptor)\n    except OSError as error:\n",
                "        pass\n    except OSError as error:\n",
            ),
        ),
        caught_by=(SYNCED,),
    ),
    PlantedBug(
        name="fsync retried",
        edits=(
            Edit(
                "checkpoint/disk.py",
                "            _write_all(descriptor, content)\n            os.fsync(descriptor)\n",
                "            _write_all(descriptor, content)\n"
                "            try:\n"
                "                os.fsync(descriptor)\n"
                "            except OSError:\n"
                "                os.fsync(descriptor)\n",
            ),
        ),
        caught_by=("tests/checkpoint/test_full_disk.py",),
    ),
    PlantedBug(
        name="the budget checked, then added",
        edits=(
            Edit("policy/budget.py", "        async with self._line:\n", "        if True:\n"),
            Edit(
                "policy/budget.py",
                "            self.reserved_nano += nano\n",
                "            await anyio.sleep(0)\n            self.reserved_nano += nano\n",
            ),
        ),
        caught_by=("tests/policy/test_budget.py", BUDGET_KILLS),
    ),
    PlantedBug(
        name="the intent after the request",
        edits=(
            Edit(
                "pipeline/caller.py",
                "            await self._begin(order, call, worst_nano=worst_nano,"
                " is_new_slot=is_new_slot)\n"
                "            if self._control.is_stopping:  # since it was let in\n",
                "            if self._control.is_stopping:\n                raise RunStopped\n"
                "            if False:\n",
            ),
            Edit(
                "pipeline/caller.py",
                "                self._control, lambda: self._backend.generate(order.request)\n"
                "            )\n",
                "                self._control, lambda: self._backend.generate(order.request)\n"
                "            )\n"
                "            await self._begin(order, call, worst_nano=worst_nano,"
                " is_new_slot=is_new_slot)\n",
            ),
        ),
        caught_by=(EVERY_STEP, RANDOM_KILLS),
    ),
    PlantedBug(
        name="a retry not metered",
        edits=(
            Edit(
                "pipeline/sending.py",
                "            return _believable(await send()), None\n",
                "            try:\n"
                "                return await send(), None\n"
                "            except TransientError:\n"
                "                return await send(), None\n",
            ),
        ),
        caught_by=("tests/pipeline/test_endings.py", RANDOM_KILLS),
    ),
    PlantedBug(
        name="the lock by lockf",
        edits=(
            Edit(
                "checkpoint/lock.py",
                "    lock = filelock.FileLock(folder / LOCK_FILE, thread_local=False)\n",
                "    lock = _PosixLock(folder / LOCK_FILE)\n",
            ),
            Edit(
                "checkpoint/lock.py",
                "def record_owner(",
                "class _PosixLock:\n"
                "    def __init__(self, path):\n"
                "        self.path = path\n"
                "    def acquire(self, *, blocking):\n"
                "        import fcntl\n"
                "        self.file = open(self.path, 'a')\n"
                "        try:\n"
                "            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
                "        except OSError:\n"
                "            raise filelock.Timeout(str(self.path)) from None\n"
                "    def release(self):\n"
                "        self.file.close()\n\n\n"
                "def record_owner(",
            ),
        ),
        caught_by=("tests/checkpoint/test_opening.py",),
    ),
    PlantedBug(
        name="settled on the wrong row",
        edits=(
            Edit(
                "checkpoint/changes.py",
                '"UPDATE calls SET is_open = 0 WHERE number = ?", (settlement.call,)',
                '"UPDATE calls SET is_open = 0 WHERE number = "\n'
                '        "(SELECT min(number) FROM calls WHERE is_open = 1)"',
            ),
        ),
        caught_by=(RANDOM_KILLS,),
    ),
    PlantedBug(
        name="an orphan deleted",
        edits=(
            Edit(
                "checkpoint/files.py",
                "            path.replace(target)\n",
                "            path.replace(target) if path.is_dir() else path.unlink()\n",
            ),
        ),
        caught_by=("tests/checkpoint/test_recovering.py",),
    ),
    PlantedBug(
        name="unknown counted as 0",
        edits=(
            Edit(
                "pipeline/settling.py",
                "outcome, unknown_nano = Outcome.UNKNOWN, worst_nano",
                "outcome, unknown_nano = Outcome.UNKNOWN, 0",
            ),
        ),
        caught_by=("tests/pipeline/test_endings.py", RANDOM_KILLS),
    ),
    # Beyond the ten.
    PlantedBug(
        name="a killed call counted as free",
        edits=(
            Edit(
                "checkpoint/recover.py",
                "                unknown_nano=worst,\n",
                "                unknown_nano=0,\n",
            ),
        ),
        caught_by=("tests/checkpoint/test_killing.py", EVERY_STEP),
    ),
    PlantedBug(
        name="the name before the bytes",
        edits=(
            Edit(
                "checkpoint/disk.py",
                "            _write_all(descriptor, content)\n            os.fsync(descriptor)\n",
                "            _write_all(descriptor, content)\n"
                "            part.replace(path)\n"
                "            os.fsync(descriptor)\n"
                "            path.replace(part)\n",
            ),
        ),
        caught_by=(SYNCED,),
    ),
    PlantedBug(
        name="acceptance told before it is committed",
        edits=(
            Edit(
                "pipeline/keeping.py",
                "            return accepted_image(db, files, number), is_done\n",
                "            image = accepted_image(db, files, number)\n"
                "            self._emit(ImageAccepted(image=image))\n"
                "            return image, is_done\n",
            ),
        ),
        caught_by=(EVERY_STEP,),
    ),
    PlantedBug(
        name="a paid image not adopted",
        edits=(
            Edit(
                "checkpoint/recover.py",
                "close_run(db, adopted=_staged_by_call(db, files, but=coming))",
                "close_run(db)",
            ),
        ),
        caught_by=("tests/checkpoint/test_recovering.py",),
    ),
    PlantedBug(
        name="the server's wait ignored",
        edits=(
            Edit(
                "pipeline/caller.py",
                "at_least(wait or 0.0, fault.retry_after_seconds)",
                "at_least(wait or 0.0, None)",
            ),
        ),
        caught_by=("tests/pipeline/test_waiting_to_retry.py",),
    ),
    # The batch service.
    PlantedBug(
        name="a batch job created before it is written down",
        edits=(
            Edit(
                "pipeline/batch/post.py",
                "mark_batch(db, number, BatchPhase.CREATING, input_file=file)",
                "mark_batch(db, number, BatchPhase.PLANNED, input_file=file)",
            ),
        ),
        caught_by=(BATCH_LIFE,),
    ),
    PlantedBug(
        name="a batch job ordered again without a search",
        edits=(
            Edit(
                "checkpoint/batches.py",
                "        if batch.phase is not BatchPhase.PLANNED:\n",
                "        if batch.phase not in (BatchPhase.PLANNED, BatchPhase.CREATING):\n",
            ),
        ),
        caught_by=(BATCH_LIFE, f"{BATCH_FAULTS}/test_coming_back.py"),
    ),
    PlantedBug(
        name="a lost answer to create taken for a refusal",
        edits=(
            Edit(
                "pipeline/batch/post.py",
                "                    if fault.is_unknown_money:\n"
                "                        return None\n",
                "                    if fault.is_unknown_money:\n"
                "                        continue\n",
            ),
        ),
        caught_by=(f"{BATCH_FAULTS}/test_creation.py",),
    ),
    PlantedBug(
        name="a batch answer half settled counted as unknown",
        edits=(
            Edit(
                "checkpoint/recover.py",
                "_staged_by_call(db, files, but=coming)",
                "_staged_by_call(db, files, but=set())",
            ),
        ),
        caught_by=(BATCH_LIFE,),
    ),
    PlantedBug(
        name="a batch job collected before its lines are settled",
        edits=(
            Edit(
                "pipeline/batch/collecting.py",
                "        if results.exists():\n            await self._read(row, results)\n",
                "        phase = BatchPhase.COLLECTED\n"
                "        await self._store.commit(lambda db: mark_batch(db, row.number, phase))\n"
                "        if results.exists():\n            await self._read(row, results)\n",
            ),
        ),
        caught_by=(BATCH_LIFE,),
    ),
    PlantedBug(
        name="batch answers at the full price",
        edits=(Edit("pipeline/settling.py", "batch=bought.by_batch", "batch=False"),),
        caught_by=(f"{BATCH_FAULTS}/test_lines.py", BATCH_LIFE),
    ),
    PlantedBug(
        name="orders of earlier runs not reserved",
        edits=(
            Edit(
                "policy/budget.py",
                "        self.spent_nano -= nano\n        self.reserved_nano += nano\n",
                "        self.spent_nano -= nano\n",
            ),
        ),
        caught_by=(f"{BATCH_FAULTS}/test_coming_back.py",),
    ),
    PlantedBug(
        name="a missing line counted as free",
        edits=(
            Edit(
                "pipeline/batch/collecting.py",
                "            is_unknown = job.succeeded > answered\n",
                "            is_unknown = False\n",
            ),
        ),
        caught_by=(f"{BATCH_FAULTS}/test_lines.py",),
    ),
)
