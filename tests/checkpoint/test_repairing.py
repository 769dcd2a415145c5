"""A repair restores what can be restored, deletes nothing, and says what it did and could not."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from nanobatch.checkpoint import Checkpoint, JobStatus
from nanobatch.errors import CheckpointError, CheckpointLockedError
from tests.checkpoint.children import KILLED, kill_at, run
from tests.checkpoint.damage import digests, edit, rows
from tests.checkpoint.story import Story, job, png
from tests.checkpoint.test_verifying import EDITS, LEDGER_MAY_BE_EDITED

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.checkpoint.damage import Copies

# No repair can know what these rows said, so they stay a finding.
BEYOND_REPAIR = {
    *(statement for statement in EDITS if statement.startswith("INSERT INTO ledger")),
    "INSERT INTO calls VALUES (40, 1, 'call', 0, -1, 1)",
    "UPDATE candidates SET sha256 = 'beef' WHERE number = 1",
}


def _files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for name in ("images", "staging", "rejected")
        if (root / name).is_dir()
        for path in (root / name).iterdir()
    }


def _worst(root: Path) -> Decimal:
    with Checkpoint.read(root) as reader:
        return reader.spend.worst_case_usd


def test_a_sound_checkpoint_is_left_as_it_is(run_folder: Path) -> None:
    before = rows(run_folder, "SELECT * FROM ledger"), _files(run_folder)

    report = Checkpoint.repair(run_folder)

    assert report.done == ()
    assert report.is_clean
    assert (rows(run_folder, "SELECT * FROM ledger"), _files(run_folder)) == before


@pytest.mark.parametrize("statement", sorted(EDITS.keys() - BEYOND_REPAIR))
def test_an_edited_row_follows_the_ledger_again(
    run_folder: Path, one_job: Copies, statement: str
) -> None:
    edit(run_folder, "PRAGMA foreign_keys = OFF", statement)

    report = Checkpoint.repair(run_folder)

    assert report.after.faults == ()
    assert report.done != ()
    assert _worst(run_folder) >= one_job.written.worst_case_usd
    assert one_job.written.images <= set(digests(run_folder))
    assert Checkpoint.repair(run_folder).done == ()


@pytest.mark.parametrize("statement", sorted(BEYOND_REPAIR))
def test_what_nobody_can_know_stays_a_finding_and_nothing_is_lost(
    run_folder: Path, one_job: Copies, statement: str
) -> None:
    edit(run_folder, "PRAGMA foreign_keys = OFF", statement)

    report = Checkpoint.repair(run_folder)

    assert not report.is_clean
    assert one_job.written.images <= set(digests(run_folder))


def test_a_shortened_ledger_counts_what_was_taken_out_as_unknown_at_its_worst(
    run_folder: Path, one_job: Copies
) -> None:
    edit(
        run_folder,
        *LEDGER_MAY_BE_EDITED,
        "DELETE FROM ledger WHERE call IN (1, 2)",  # 0.0336 USD for an image, 0.0064 to judge it
        "DELETE FROM ledger WHERE kind IN ('want', 'accepted')",
    )

    report = Checkpoint.repair(run_folder)

    assert report.is_clean, report
    assert "What calls 1 to 2 cost was lost: unknown money, at worst 0.2400 USD." in report.done
    # 0.4180 in all, less the 0.0336 and 0.0064 that were deleted, and twice 0.12 for them.
    assert _worst(run_folder) == Decimal("0.6180")
    with Checkpoint.read(run_folder) as reader:
        model = reader.cost_model()
        assert (model.slots, model.calls, model.accepted) == (8, 8, 3)
        assert (model.wanted, len(list(reader.images()))) == (3, 3)
    assert len(one_job.written.accepted) == 3


def test_a_row_that_leads_out_of_the_folder_gets_a_name_inside_it(
    run_folder: Path, folder: Path
) -> None:
    outside = folder / "outside.png"
    outside.write_bytes(png(4))  # the very bytes of the candidate that waits in slot 4
    edit(run_folder, "UPDATE candidates SET file = '../../outside.png' WHERE number = 4")

    report = Checkpoint.repair(run_folder)

    assert report.is_clean, report
    assert outside.read_bytes() == png(4)
    assert (run_folder / "staging" / "restored-4.png").read_bytes() == png(4)


def _delete(path: Path) -> None:
    path.rename(path.parent.parent / "lost+found" / "thing.png")


def _rename(path: Path) -> None:
    path.rename(path.with_name("my favourite.png"))


def _edit_and_keep_a_copy(path: Path) -> None:
    shutil.copy(path, path.parent.parent / "staging" / "copy.png")
    path.write_bytes(b"edited" * 9)


def _link_from_elsewhere(path: Path) -> None:
    (path.parent.parent / "mine").mkdir()
    path.rename(path.parent.parent / "mine" / "moved.png")
    path.symlink_to(path.parent.parent / "mine" / "moved.png")


@pytest.mark.parametrize("name", ["images/job 0-2.png", "staging/5-00.png"])
@pytest.mark.parametrize("harm", [_delete, _rename, _edit_and_keep_a_copy, _link_from_elsewhere])
def test_a_file_comes_back_if_its_bytes_lie_anywhere_in_the_folder(
    run_folder: Path, name: str, harm: Callable[[Path], None]
) -> None:
    before = _files(run_folder)
    (run_folder / "lost+found").mkdir()
    harm(run_folder / name)

    report = Checkpoint.repair(run_folder)

    assert report.is_clean, report
    assert any(sentence.startswith(f"{name} is back") for sentence in report.done)
    assert _files(run_folder) == before
    lost = [path for path in (run_folder / "lost+found").iterdir() if path.is_file()]
    edited = harm is _edit_and_keep_a_copy
    assert [path.read_bytes() for path in lost if not path.is_symlink()] == (
        [b"edited" * 9] if edited else []
    )


def test_two_images_that_somebody_swapped_are_swapped_back(run_folder: Path) -> None:
    before = _files(run_folder)
    first, second = run_folder / "images" / "job 0-1.png", run_folder / "images" / "job 0-2.png"
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)

    report = Checkpoint.repair(run_folder)

    assert report.is_clean
    assert _files(run_folder) == before


async def test_an_image_with_the_bytes_of_another_is_copied_from_it(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        taken = story.take(job(want=2), run=1)
        first = story.accept(taken, story.draw(taken, png(1)))
        second = story.accept(taken, story.draw(taken, png(1)))
    second.unlink()

    report = Checkpoint.repair(tmp_path)

    assert report.is_clean
    assert second.read_bytes() == first.read_bytes() == png(1)
    assert not second.samefile(first)  # or an edit of one would be an edit of both


def test_a_file_that_is_nowhere_stays_a_finding(run_folder: Path) -> None:
    (run_folder / "images" / "job 0-1.png").unlink()

    report = Checkpoint.repair(run_folder)

    assert report.after.faults == ("images/job 0-1.png cannot be read: No such file or directory.",)
    with Checkpoint.read(run_folder) as reader:
        assert reader.cost_model().accepted == 3


async def test_a_missing_image_that_is_given_up_is_drawn_again_and_its_cost_stays(
    run_folder: Path,
) -> None:
    (run_folder / "images" / "job 0-1.png").unlink()

    report = Checkpoint.repair(run_folder, forget_missing=True)

    assert report.is_clean, report
    assert report.done[-1] == "images/job 0-1.png is given up."
    async with Checkpoint.open(run_folder) as checkpoint:
        model = checkpoint.cost_model()
        # Every line is still there: 8 slots, 8 billed calls, but one image less to show for it.
        assert (model.slots, model.calls, model.accepted) == (8, 8, 2)
        assert checkpoint.spend.worst_case_usd == Decimal("0.4180")
        # Confirmed: all but the timeout of 0.12; 0.298 / 2.
        assert model.usd_per_accepted == Decimal("0.149")
        [failure] = checkpoint.failures()
        assert failure.kind == "lost"
        assert list(checkpoint.ledger())[-1].kind == "lost"
        story = Story(checkpoint.store)
        again = story.take(job("job 0", want=3, prompt="a fox " * 20), run=9)
        assert (again.status, again.delivered) == (JobStatus.PENDING, 2)
        story.accept(again, story.draw(again, png(99)))
        assert checkpoint.cost_model().accepted == 3
        assert checkpoint.verify().is_clean


def test_missing_files_of_images_nobody_accepted_are_given_up_too(run_folder: Path) -> None:
    for name in ("5-00.png", "6-00.png", "10-00.png"):  # in hand, not judged, the spent draft
        (run_folder / "staging" / name).unlink()

    report = Checkpoint.repair(run_folder, forget_missing=True)

    assert report.is_clean, report
    states = rows(run_folder, "SELECT state FROM candidates WHERE reason = 'its file was lost'")
    assert states == [("broken",)] * 3
    assert (
        rows(run_folder, "SELECT state FROM slots WHERE number IN (3, 4, 8)") == [("rejected",)] * 3
    )
    assert _worst(run_folder) == Decimal("0.4180")


def test_a_file_that_may_not_be_read_is_neither_moved_nor_given_up() -> None:
    root = Path(tempfile.mkdtemp())  # not `tmp_path`: others may not even look into that
    try:
        anyio.run(_accept_one, root)
        (root / "images" / "fox-1.png").chmod(0)
        said = run(lambda: _repair_as_nobody(root))
        image = (root / "images" / "fox-1.png").stat()
    finally:
        shutil.rmtree(root)

    assert said == 0
    assert image.st_size > 0


def _repair_as_nobody(root: Path) -> None:
    if os.getuid() == 0:  # root may read everything
        for path in (root, *root.rglob("*")):
            os.chown(path, 65534, 65534)
        os.setuid(65534)

    report = Checkpoint.repair(root, forget_missing=True)

    assert report.after.faults == ("images/fox-1.png cannot be read: Permission denied.",)


async def _accept_one(folder: Path) -> None:
    async with Checkpoint.open(folder) as checkpoint:
        story = Story(checkpoint.store)
        taken = story.take(job(), run=1)
        story.accept(taken, story.draw(taken))


async def test_an_index_that_lacks_rows_is_made_again(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        for number in range(5):
            story.take(job(f"j{number}"), run=1)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        [index] = db.execute("SELECT * FROM sqlite_master WHERE name = 'jobs_by_run'").fetchall()
        db.execute("DELETE FROM sqlite_master WHERE name = 'jobs_by_run'")
    edit(tmp_path, "UPDATE jobs SET run = 7 WHERE number = 2")  # behind the back of the index
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", index)
    with Checkpoint.read(tmp_path) as reader:
        assert "missing from index jobs_by_run" in reader.verify().faults[0]

    report = Checkpoint.repair(tmp_path)

    assert report.is_clean
    assert report.done == (
        "The indexes of the database were damaged or missing; they are made again.",
    )
    assert "damaged-1" not in report.done[0]


def test_what_a_killed_run_left_is_closed(tmp_path: Path) -> None:
    async def be_killed() -> None:
        async with Checkpoint.open(tmp_path) as checkpoint:
            story = Story(checkpoint.store)
            taken = story.take(job(want=2), run=1)
            story.draw(taken)
            story.begin(taken)
            (tmp_path / "images" / "holiday.png").write_bytes(png(7))
            kill_at(1)()

    assert run(lambda: anyio.run(be_killed)) == KILLED

    report = Checkpoint.repair(tmp_path)

    assert report.is_clean
    assert report.done == (
        "Calls 2 were in flight at the end: unknown money.",
        "images/holiday.png is in no row of the ledger; it is in lost+found/ now.",
    )
    assert _worst(tmp_path) == Decimal("0.1536")  # 0.0336 + 0.12


async def test_a_repair_is_refused_while_a_run_writes(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        with pytest.raises(CheckpointLockedError, match="being written by this same process"):
            Checkpoint.repair(tmp_path)
        assert checkpoint.verify().is_clean


def test_there_is_nothing_to_repair_where_no_checkpoint_is(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"ledger\.sqlite is missing or empty"):
        Checkpoint.repair(tmp_path / "nowhere")
    (tmp_path / "ledger.sqlite").touch()
    with pytest.raises(CheckpointError, match=r"ledger\.sqlite is missing or empty"):
        Checkpoint.repair(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["ledger.sqlite"]


@pytest.mark.parametrize("version", [0, 9])
def test_a_checkpoint_of_another_layout_is_not_touched(run_folder: Path, version: int) -> None:
    edit(run_folder, f"PRAGMA user_version = {version}")
    before = (run_folder / "ledger.sqlite").read_bytes()

    with pytest.raises(CheckpointError, match=f"has layout {version}.*Nothing was changed"):
        Checkpoint.repair(run_folder)

    assert (run_folder / "ledger.sqlite").read_bytes() == before


def test_the_database_of_another_program_is_not_touched(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as foreign:
        foreign.execute("CREATE TABLE books (title TEXT)")
    before = (tmp_path / "ledger.sqlite").read_bytes()

    with pytest.raises(CheckpointError, match="the database of another program"):
        Checkpoint.repair(tmp_path)

    assert (tmp_path / "ledger.sqlite").read_bytes() == before
