"""Verifying finds every row and file that contradicts another, and nothing that is in motion."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from nanobatch.checkpoint import Checkpoint, VerifyReport
from nanobatch.checkpoint.audit import audit
from tests.checkpoint.children import KILLED, kill_at, run
from tests.checkpoint.damage import edit
from tests.checkpoint.story import Story, abandon, job, png

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEDGER_MAY_BE_EDITED = (
    "DROP TRIGGER ledger_is_never_edited",
    "DROP TRIGGER ledger_is_never_shortened",
)
# Slots of job 0: 1 and 2 accepted, 3 in hand, 4 not judged, 5 rejected, 6 and 7 timed out (call 9
# settled by hand), 8 a draft, 9 its finish. Calls: 1 drew slot 1 and 2 judged it, 3 and 4 the next.
# Lines: 1 want, 11 calls (two of them judgements), 1 settlement by hand, 3 acceptances: 16.
EDITS = {
    "UPDATE slots SET billed = 2 WHERE number = 1": (
        "Slot 1 of job 'job 0' counts 2 billed calls; the ledger says 1.",
        "The checkpoint shows 9 billed calls; the ledger adds up to 8.",
    ),
    "UPDATE slots SET billed = 0 WHERE number = 5": (
        "Slot 5 of job 'job 0' counts 0 billed calls; the ledger says 1.",
        "The checkpoint shows 7 slots; the ledger adds up to 8.",
        "The checkpoint shows 7 billed calls; the ledger adds up to 8.",
    ),
    "UPDATE calls SET is_open = 1 WHERE number = 8": (
        "Call 8 of job 'job 0' has its settling line and is still open.",
        "Call 8 of job 'job 0' is in flight although no run is.",
    ),
    "INSERT INTO calls VALUES (40, 1, 'call', 0, 120000000, 0)": (
        "Call 40 of job 'job 0' is closed with 0 settling lines in the ledger, not one.",
    ),
    "INSERT INTO calls VALUES (40, 1, 'call', 0, -1, 1)": (
        "Call 40 of job 'job 0' is in flight although no run is.",
        "Call 40 of job 'job 0' adds up to less than nothing.",
    ),
    "INSERT INTO ledger (at, kind, job, slot, call, outcome, unknown_nano) "
    "VALUES (0, 'call', 1, 6, 8, 'unknown', -120000001)": (
        "Call 8 of job 'job 0' adds up to less than nothing.",
    ),
    "INSERT INTO ledger (at, kind, job, slot, call, outcome) "
    "VALUES (0, 'judge', 1, 2, 1, 'billed')": (
        "Call 1 of job 'job 0' is closed with 2 settling lines in the ledger, not one.",
        "Ledger line 17 names call 1, but not its kind, slot, job or outcome.",
    ),
    "INSERT INTO ledger (at, kind, job, slot, usd_nano) VALUES (0, 'accepted', 1, 3, 5)": (
        "Ledger line 17 of kind 'accepted' says what no line of its kind says.",
        "Slot 3 of job 'job 0' yielded 1 accepted images by the ledger; none is known.",
        "The checkpoint shows 3 images; the ledger adds up to 4.",
    ),
    "INSERT INTO ledger (at, kind, job, slot) VALUES (0, 'accepted', 1, 1)": (
        "images/job 0-1.png is in 2 accepting lines of the ledger, not in one.",
    ),
    "UPDATE jobs SET want = 2": ("Job 'job 0' wants 2; the ledger says 3.",),
    "UPDATE images SET slot = 5 WHERE slot = 1": (
        "images/job 0-1.png is in 0 accepting lines of the ledger, not in one.",
        "Slot 1 of job 'job 0' yielded 1 accepted images by the ledger; none is known.",
        "images/job 0-1.png names a job, a slot and a candidate that do not belong together.",
        "Slot 1 of job 'job 0' is 'accepted'; its candidates say 'none'.",
        "Slot 5 of job 'job 0' is 'rejected'; its candidates say 'accepted'.",
    ),
    "UPDATE candidates SET state = 'rejected' WHERE number = 1": (
        "Candidate 1 of job 'job 0' is 'rejected' with 1 rows in images.",
    ),
    "UPDATE candidates SET state = 'accepted' WHERE number = 5": (
        "Candidate 5 of job 'job 0' is 'accepted' with 0 rows in images.",
    ),
    "UPDATE slots SET state = 'rejected' WHERE number = 3": (
        "Candidate 3 of job 'job 0' is 'passed' in slot 3, which is 'rejected'.",
        "Slot 3 of job 'job 0' is 'rejected'; its candidates say 'passed'.",
    ),
    "UPDATE slots SET state = 'passed' WHERE number = 5": (
        "Slot 5 of job 'job 0' is 'passed'; its candidates say 'none'.",
    ),
    "UPDATE slots SET state = 'open' WHERE number = 5": (
        "Slot 5 of job 'job 0' is open although nothing of it waits and no run is.",
    ),
    "UPDATE candidates SET state = 'spent', slot = 1 WHERE number = 5": (
        "Candidate 5 of job 'job 0' is 'spent' in slot 1, which is 'accepted'.",
        "Slot 1 of job 'job 0' has 2 candidates that passed; it can have one.",
        "Candidate 5 of job 'job 0' is 'spent', but its row names no file.",
    ),
    "UPDATE jobs SET want = 4, status = 'done'": (
        "Job 'job 0' wants 4; the ledger says 3.",
        "Job 'job 0' is done, wants 4 and has 3.",
    ),
    "UPDATE jobs SET status = 'happy'": (
        "Row 1 of jobs: its status 'happy' is no word of this version.",
    ),
    "UPDATE jobs SET body = '{'": ("Job 'job 0': its description cannot be read.",),
    "UPDATE candidates SET memos = '{\"twins\": 5}' WHERE number = 1": (
        "Candidate 1: what filters remember of it cannot be read.",
    ),
    "UPDATE candidates SET sha256 = 'beef' WHERE number = 1": (
        "images/job 0-1.png is not the file it was: its hash differs.",
    ),
    "UPDATE candidates SET file = '../../etc/passwd' WHERE number = 4": (
        "staging/../../etc/passwd is no name of a file in that folder.",
        "staging/6-00.png is in no row of the ledger.",
    ),
    "DROP INDEX ledger_by_job": ("Database: index ledger_by_job is missing or was changed.",),
    "DROP TRIGGER ledger_is_never_edited": (
        "Database: trigger ledger_is_never_edited is missing or was changed.",
    ),
    "DELETE FROM calls WHERE number = 8": (
        "Database: ledger names a row of calls that is missing.",
    ),
}


def _verified(folder: Path) -> VerifyReport:
    with Checkpoint.read(folder) as reader:
        return reader.verify()


@pytest.mark.parametrize("statement", EDITS)
def test_a_row_edited_by_hand_is_found_and_named(run_folder: Path, statement: str) -> None:
    assert _verified(run_folder).is_clean

    edit(run_folder, "PRAGMA foreign_keys = OFF", statement)

    assert _verified(run_folder).faults == EDITS[statement]


def test_a_ledger_that_was_edited_or_shortened_is_found(run_folder: Path) -> None:
    edit(
        run_folder,
        *LEDGER_MAY_BE_EDITED,
        "UPDATE ledger SET outcome = 'unbilled' WHERE call = 1",
        "DELETE FROM ledger WHERE kind = 'want'",
    )

    assert _verified(run_folder).faults[2:] == (
        "Slot 1 of job 'job 0' counts 1 billed calls; the ledger says 0.",
        "Job 'job 0' wants 3; the ledger says 0.",
        "The ledger lacks 1 of its lines: it was shortened by hand.",
        "The checkpoint shows 8 slots; the ledger adds up to 7.",
        "The checkpoint shows 8 billed calls; the ledger adds up to 7.",
    )


async def test_a_thousand_findings_of_a_kind_are_fifty_and_a_number(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        for number in range(60):
            story.take(job(f"j{number}"), run=1)
    edit(tmp_path, "UPDATE jobs SET want = 9")

    faults = _verified(tmp_path).faults

    assert len(faults) == 51
    assert faults[-1] == "There are 10 more like the last one."


def test_files_no_row_knows_are_found_where_no_run_is(run_folder: Path) -> None:
    (run_folder / "images" / "holiday.png").write_bytes(png(1))
    (run_folder / "staging" / "99-00.png.part").write_bytes(b"half")

    assert _verified(run_folder).faults == (
        "images/holiday.png is in no row of the ledger.",
        "staging/99-00.png.part is in no row of the ledger.",
    )


def test_a_link_in_the_place_of_a_file_is_not_the_file(run_folder: Path) -> None:
    image = run_folder / "images" / "job 0-1.png"
    image.rename(run_folder / "elsewhere.png")
    image.symlink_to(run_folder / "elsewhere.png")

    [fault] = _verified(run_folder).faults

    assert fault.startswith("images/job 0-1.png cannot be read: Too many levels of symbolic")


async def test_a_rejected_file_is_checked_too(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        drawn = story.draw(story.take(job(), run=1))
        story.store.files.keep_rejected(drawn.row.file)
        story.reject(drawn, "blurred", file=drawn.row.file)
    assert _verified(tmp_path).is_clean

    (tmp_path / "rejected" / drawn.row.file).write_bytes(b"edited")

    assert _verified(tmp_path).faults == (
        "rejected/1-00.png is not the file it was: its hash differs.",
    )


def test_what_a_killed_run_left_half_done_is_in_motion_and_no_fault(tmp_path: Path) -> None:
    async def be_killed() -> None:
        async with Checkpoint.open(tmp_path) as checkpoint:
            story = Story(checkpoint.store)
            taken = story.take(job(want=2), run=1)
            drawn = story.draw(taken)
            story.store.files.accept(drawn.staged, "fox-1", sha256=drawn.row.sha256)
            _, call = story.begin(taken)
            story.stage(call, png(9))
            (tmp_path / "staging" / "3-00.png.part").write_bytes(b"half")
            kill_at(1)()

    assert run(lambda: anyio.run(be_killed)) == KILLED

    assert _verified(tmp_path).is_clean
    (tmp_path / "images" / "holiday.png").write_bytes(png(77))  # nobody ever paid for this one
    assert _verified(tmp_path).faults == ("images/holiday.png is in no row of the ledger.",)


async def test_a_reader_that_verifies_while_a_run_writes_finds_nothing(folder: Path) -> None:
    reports: list[VerifyReport] = []
    is_over = threading.Event()

    def verify_again_and_again() -> None:
        with Checkpoint.read(folder) as reader:
            while not is_over.is_set() or not reports:
                reports.append(reader.verify())

    async with Checkpoint.open(folder) as checkpoint, anyio.create_task_group() as group:
        story = Story(checkpoint.store)
        taken = story.take(job(want=200), run=1)
        group.start_soon(anyio.to_thread.run_sync, verify_again_and_again)
        for _ in range(40):
            await anyio.to_thread.run_sync(_walk_some, story, taken)
        is_over.set()

    assert [report for report in reports if not report.is_clean] == []
    assert len(reports) > 3
    assert _verified(folder).images == 80


def _walk_some(story: Story, taken: object) -> None:
    """Accept one image at once and one from the hand, reject one and let one time out."""
    from nanobatch.checkpoint import TakenJob

    assert isinstance(taken, TakenJob)
    story.accept(taken, story.draw(taken))
    kept = story.draw(taken)
    story.keep(kept)
    story.accept(taken, kept)
    story.reject(story.draw(taken), "blurred")
    story.begin(taken)


def test_a_run_can_commit_while_the_rows_are_compared(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []

    def commit_and_audit(db: sqlite3.Connection) -> Iterator[str]:
        with closing(sqlite3.connect(run_folder / "ledger.sqlite", timeout=0)) as other:
            other.execute("UPDATE jobs SET want = 99")
            other.commit()
        checked.append("committed")
        return audit(db)

    monkeypatch.setattr("nanobatch.checkpoint.verify.audit", commit_and_audit)

    assert _verified(run_folder).is_clean  # it is the state of the moment it began
    assert checked == ["committed"]
    monkeypatch.undo()
    assert not _verified(run_folder).is_clean


def test_an_abandoned_checkpoint_with_nothing_in_flight_is_clean(run_folder: Path) -> None:
    abandon(run_folder)

    assert _verified(run_folder).is_clean
