"""The checkpoint: a folder that holds everything that was paid for, and what it cost."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager, suppress
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from nanobatch.checkpoint.audit import is_closed_well
from nanobatch.checkpoint.batches import give_up
from nanobatch.checkpoint.changes import Settlement, settle
from nanobatch.checkpoint.descriptors import RESERVE
from nanobatch.checkpoint.disk import create_folder, disk_errors
from nanobatch.checkpoint.files import ImageFiles
from nanobatch.checkpoint.lock import acquire_lock, record_owner
from nanobatch.checkpoint.reading import CheckpointReader
from nanobatch.checkpoint.recover import close_run, is_tidy, recover
from nanobatch.checkpoint.repair import repair
from nanobatch.checkpoint.schema import DATABASE, check_integrity, connect_writing
from nanobatch.checkpoint.store import Store
from nanobatch.checkpoint.writer import Writer
from nanobatch.cost import LineKind, Outcome
from nanobatch.errors import CheckpointError, ConfigError
from nanobatch.models.money import MAX_USD, nano_of_usd

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator, Callable, Generator
    from contextlib import AbstractContextManager

    import filelock

    from nanobatch.checkpoint.records import RepairReport

__all__ = ["Checkpoint"]


class Checkpoint(CheckpointReader):
    """A checkpoint open for a run: exclusive, and everything written is durable when it returns.

    Use `async with Checkpoint.open(location)` to write, `with Checkpoint.read(location)` to look.
    """

    def __init__(self, root: Path, writer: Writer, lock: filelock.BaseFileLock) -> None:
        self.store = Store(writer, ImageFiles(root))
        """For the pipeline: how it writes. May change without notice."""
        super().__init__(root)
        self._lock = lock

    @staticmethod
    @asynccontextmanager
    async def open(location: str | Path) -> AsyncGenerator[Checkpoint]:
        """Open a checkpoint for a run, creating the folder if needed.

        Raises:
            CheckpointLockedError: Another process is writing to it; its pid is named.
            CheckpointError: The disk refuses, or the folder holds another program's database.
        """
        checkpoint = await anyio.to_thread.run_sync(_open, Path(location))
        try:
            yield checkpoint
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(checkpoint.close)

    @staticmethod
    def read(location: str | Path) -> AbstractContextManager[CheckpointReader]:
        """Open a checkpoint read-only, also while a run goes on.

        Raises:
            CheckpointError: There is none, or it lies on a read-only medium.
        """
        return CheckpointReader(Path(location).absolute())

    @staticmethod
    def repair(location: str | Path, *, forget_missing: bool = False) -> RepairReport:
        """Put right what can be put right, and verify the result; nothing is ever deleted.

        Missing and edited files come back if their bytes lie anywhere in the folder, rows follow
        the ledger again, and of a damaged database every readable row moves to a new one. Lost
        money counts as unknown, at its worst case. Interrupted at any point, it can be run again.

        Args:
            location: The checkpoint's folder.
            forget_missing: Whether to give up images whose files are nowhere: their jobs get new
                ones drawn, what the old ones cost stays, and the ledger says that they are lost.

        Raises:
            CheckpointLockedError: A run is writing to it.
            CheckpointError: There is no checkpoint, another version made it, or the disk refused.
        """
        return repair(Path(location).absolute(), gives_up_missing=forget_missing)

    def settle(self, call: int, usd: Decimal | str | float, reason: str) -> None:
        """Settle unknown money by hand, for instance after a look at the provider's bill.

        Args:
            call: The call, as the ledger line names it.
            usd: What it did cost; 0 if it was not billed. A call that was answered stays a
                billed one in `N` and `B`, at whatever price.
            reason: Why you know; kept in the ledger.

        Raises:
            ConfigError: The call has no unknown money, or `usd` is no amount >= 0.
            CheckpointError: The checkpoint is closed, or the disk refused.
        """
        try:
            amount = Decimal(str(usd))
        except InvalidOperation:
            amount = Decimal("NaN")
        if not amount.is_finite() or not 0 <= amount <= MAX_USD:
            raise ConfigError(f"settle(usd={usd!r}): it must be USD from 0 to {MAX_USD:,}.")
        self.store.writer.commit_now(
            lambda db: _settle_by_hand(db, call, nano_of_usd(amount), reason)
        )

    def give_up(self, batch_job: str, reason: str) -> int:
        """Wait no longer for a batch job that nobody can ask for any more.

        Its slots are drawn anew by the next run. What it cost, if anything, stays unknown money at
        the worst case, which `settle` can put right.

        Args:
            batch_job: Its name, as `batch_jobs()` gives it: the provider's or ours.
            reason: Why you know that nothing will come; kept in the ledger.

        Returns:
            How many calls waited for it.

        Raises:
            ConfigError: No such batch job is on its way, or a run is on.
            CheckpointError: The checkpoint is closed, or the disk refused.
        """
        if self.store.is_in_run:
            raise ConfigError("A run is going on in this checkpoint: give up after it has ended.")
        calls = self.store.writer.commit_now(lambda db: give_up(db, batch_job, reason=reason))
        if calls is None:
            raise ConfigError(f"No batch job {batch_job!r} is on its way in this checkpoint.")
        return calls

    def close(self) -> None:
        """Settle what is still in flight as unknown and let go of the folder."""
        try:
            with suppress(CheckpointError):  # what cannot be written now is recovered on opening
                self.store.writer.commit_now(lambda db: _finish(db, self.store.files))
        finally:
            self.close_reading()
            self.store.writer.close()
            RESERVE.let_go()
            self._lock.release()


def _open(location: Path) -> Checkpoint:
    root = location.absolute()
    create_folder(root)
    lock = acquire_lock(root)
    RESERVE.hold()
    with _undo(lock.release), _undo(RESERVE.let_go):
        files = ImageFiles(root)
        files.create()
        _refuse_images_without_ledger(files)
        connection = connect_writing(root)
        with _undo(connection.close):
            writer = Writer(connection, root)
            writer.commit_now(record_owner)
            if not writer.commit_now(is_closed_well):
                check_integrity(connection, root)
                writer.commit_now(lambda db: recover(db, files))
            writer.commit_now(lambda db: _write_is_clean(db, is_clean=False))
            return Checkpoint(root, writer, lock)


def _refuse_images_without_ledger(files: ImageFiles) -> None:
    """Refuse a folder whose ledger is gone: a new one would take its images for strangers'."""
    database = files.root / DATABASE
    with disk_errors(files.root, files.root):
        is_gone = not (database.is_file() and database.stat().st_size)
    if is_gone and files.hold_images():
        raise CheckpointError(
            f"{files.root} holds images, but its {DATABASE} is missing or empty: put it back, or "
            "use another folder.",
            path=files.root,
        )


def _finish(db: sqlite3.Connection, files: ImageFiles) -> None:
    if is_tidy(db, files):
        close_run(db)
    else:
        recover(db, files)
    _write_is_clean(db, is_clean=True)


def _write_is_clean(db: sqlite3.Connection, *, is_clean: bool) -> None:
    db.execute("INSERT OR REPLACE INTO meta VALUES ('is_clean', ?)", (str(int(is_clean)),))


def _settle_by_hand(db: sqlite3.Connection, call: int, usd_nano: int, reason: str) -> None:
    row = db.execute(
        "SELECT c.slot, s.job, c.kind, (SELECT coalesce(sum(unknown_nano), 0) FROM ledger l "
        "WHERE l.call = c.number), (SELECT outcome FROM ledger l WHERE l.call = c.number "
        "ORDER BY number DESC LIMIT 1) FROM calls c JOIN slots s ON s.number = c.slot "
        "WHERE c.number = ? AND c.is_open = 0",
        (call,),
    ).fetchone()
    if row is None or row[3] == 0:
        is_open = db.execute("SELECT 1 FROM calls WHERE number = ? AND is_open = 1", (call,))
        raise ConfigError(
            f"Call {call} has no unknown money that could be settled."
            if is_open.fetchone() is None
            else f"Call {call} still waits for its answer, which settles it. If that of a batch "
            "job will never come, give the job up first: `checkpoint.give_up(...)`."
        )
    slot, job, kind, unknown_nano, outcome = row
    was_billed = outcome == Outcome.BILLED
    is_billed = was_billed or usd_nano > 0
    settle(
        db,
        Settlement(
            call=call,
            slot=slot,
            job=job,
            kind=LineKind(kind),
            outcome=Outcome.BILLED if is_billed else Outcome.UNBILLED,
            usd_nano=usd_nano,
            unknown_nano=-unknown_nano,
            note=f"settled by hand: {reason}",
        ),
    )
    if was_billed and kind == LineKind.CALL:  # counted when its answer came, and again just now
        db.execute("UPDATE slots SET billed = billed - 1 WHERE number = ?", (slot,))


@contextmanager
def _undo(step: Callable[[], object]) -> Generator[None]:
    """Take a step back if what follows it fails."""
    try:
        yield
    except BaseException:
        step()
        raise
