"""Batch jobs in a checkpoint: what waits for an answer waits on, come what may."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING

import anyio
import pytest

from nanobatch import CheckpointError, ConfigError
from nanobatch.checkpoint import Checkpoint
from nanobatch.checkpoint.batches import (
    BatchPhase,
    NewBatchCall,
    awaited_calls,
    batches_on_their_way,
    mark_batch,
    plan_batch,
)
from nanobatch.checkpoint.changes import NewSlot
from nanobatch.cost import Stage
from nanobatch.models import Tier
from tests.checkpoint.children import KILLED, SIGKILL, run
from tests.checkpoint.damage import overwrite
from tests.checkpoint.story import WORST, Story, job, png

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nanobatch.checkpoint import TakenJob

NAME = "nb-0123"


def _order(story: Story, taken: TakenJob, *, slots: int = 2, phase: BatchPhase) -> list[int]:
    """Order slots of a job, as far as a phase; return the calls."""
    calls = [
        NewBatchCall(
            call=story.store.new_call(),
            slot=slot,
            worst_nano=WORST,
            round=1,
            new=NewSlot(
                number=slot,
                job=taken.number,
                attempt=taken.attempt,
                allowance=taken.allowance,
                stage=Stage.CANDIDATE,
                tier=Tier.LITE,
                model_id="painter",
                parent=None,
            ),
        )
        for slot in (story.store.new_slot() for _ in range(slots))
    ]
    number = story.write(lambda db: plan_batch(db, name=NAME, model_id="painter", calls=calls))
    if phase is not BatchPhase.PLANNED:
        story.write(
            lambda db: mark_batch(db, number, phase, input_file="files/in", job="batches/b")
        )
    return [one.call for one in calls]


def _killed(folder: Path, work: Callable[[Story], None]) -> None:
    async def story() -> None:
        async with Checkpoint.open(folder) as checkpoint:
            work(Story(checkpoint.store))
            os.kill(os.getpid(), SIGKILL)

    assert run(lambda: anyio.run(story)) == KILLED


@pytest.mark.parametrize("phase", [BatchPhase.CREATING, BatchPhase.RUNNING])
@pytest.mark.parametrize("is_killed", [True, False])
async def test_what_waits_for_a_batch_job_waits_on_and_counts_as_unknown_money(
    tmp_path: Path, phase: BatchPhase, *, is_killed: bool
) -> None:
    def work(story: Story) -> None:
        _order(story, story.take(job(want=3), run=1), phase=phase)

    if is_killed:
        _killed(tmp_path, work)
    else:
        async with Checkpoint.open(tmp_path) as checkpoint:
            work(Story(checkpoint.store))

    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        (row,) = story.write(batches_on_their_way)
        taken = story.take(job(want=3), run=2)
        assert (row.name, row.job, row.phase) == (NAME, "batches/b", phase)
        assert len(story.write(lambda db: awaited_calls(db, row.number))) == 2
        assert [one.batch for one in taken.awaited] == [row.number, row.number]
        assert taken.rounds == {Stage.CANDIDATE: 1}
        assert checkpoint.spend.unknown_usd == 2 * Decimal("0.12")
    with Checkpoint.read(tmp_path) as reader:
        assert reader.verify().faults == ()


@pytest.mark.parametrize("is_killed", [True, False])
async def test_a_batch_job_that_was_never_sent_costs_nothing_and_is_forgotten(
    tmp_path: Path, *, is_killed: bool
) -> None:
    def work(story: Story) -> None:
        _order(story, story.take(job(want=3), run=1), phase=BatchPhase.PLANNED)

    if is_killed:
        _killed(tmp_path, work)
    else:
        async with Checkpoint.open(tmp_path) as checkpoint:
            work(Story(checkpoint.store))

    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        taken = story.take(job(want=3), run=2)
        assert story.write(batches_on_their_way) == []
        assert taken.awaited == []
        assert taken.rounds == {}
        assert checkpoint.spend.worst_case_usd == 0
        assert checkpoint.cost_model().slots == 0
    with Checkpoint.read(tmp_path) as reader:
        assert reader.verify().faults == ()


async def test_half_a_collection_is_read_again_from_the_results_and_leaves_no_second_file(
    tmp_path: Path,
) -> None:
    """Killed between the file of an image and its row, with the results file on the disk."""

    def work(story: Story) -> None:
        first, _ = _order(story, story.take(job(), run=1), phase=BatchPhase.RUNNING)
        story.store.files.batches.mkdir()
        (story.store.files.batches / f"{NAME}.results.jsonl").write_bytes(b"{}\n")
        story.stage(first, png())

    _killed(tmp_path, work)

    async with Checkpoint.open(tmp_path) as checkpoint:
        (row,) = Story(checkpoint.store).write(batches_on_their_way)
        awaited = Story(checkpoint.store).write(lambda db: awaited_calls(db, row.number))
        assert len(awaited) == 2
    assert list((tmp_path / "staging").iterdir()) == []
    assert not (tmp_path / "lost+found").exists()


async def test_without_the_results_an_image_on_the_disk_is_kept_at_its_worst_case(
    tmp_path: Path,
) -> None:
    def work(story: Story) -> None:
        first, _ = _order(story, story.take(job(), run=1), phase=BatchPhase.RUNNING)
        story.stage(first, png())

    _killed(tmp_path, work)

    async with Checkpoint.open(tmp_path) as checkpoint:
        taken = Story(checkpoint.store).take(job(), run=2)
        assert len(taken.leftovers) == 1
        assert taken.leftovers[0].by_batch
        assert len(taken.awaited) == 1
        assert checkpoint.spend.unknown_usd == 2 * Decimal("0.12")


async def test_a_checkpoint_of_layout_1_is_brought_up_to_date_by_the_next_run(
    tmp_path: Path,
) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        taken = story.take(job(), run=1)
        story.accept(taken, story.draw(taken))
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as db:
        db.execute("DROP TABLE batch_calls")
        db.execute("DROP TABLE batches")
        db.execute("DROP INDEX ledger_by_slot")
        db.execute("CREATE INDEX ledger_by_slot ON ledger (slot)")
        db.execute("PRAGMA user_version = 1")

    with pytest.raises(CheckpointError, match="open it once for a run"):
        Checkpoint.read(tmp_path)
    async with Checkpoint.open(tmp_path) as checkpoint:
        Story(checkpoint.store).take(job(want=2), run=2)

    with Checkpoint.read(tmp_path) as reader:
        assert len(list(reader.images())) == 1
        assert reader.verify().faults == ()


async def test_a_salvaged_checkpoint_still_knows_its_batch_jobs(tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    async with Checkpoint.open(original) as checkpoint:
        story = Story(checkpoint.store)
        taken = story.take(job(want=9), run=1)
        story.accept(taken, story.draw(taken))
        _order(story, taken, phase=BatchPhase.RUNNING)
    with closing(sqlite3.connect(original / "ledger.sqlite")) as db:
        (page,) = db.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'failures_by_job'"
        ).fetchone()
    shutil.copytree(original, copy)
    overwrite(copy, page, b"\xff")

    report = Checkpoint.repair(copy)

    assert report.after.faults == ()
    async with Checkpoint.open(copy) as checkpoint:
        story = Story(checkpoint.store)
        (row,) = story.write(batches_on_their_way)
        assert row.job == "batches/b"
        assert len(story.write(lambda db: awaited_calls(db, row.number))) == 2


async def test_a_reader_sees_the_batch_jobs_and_what_still_waits_for_them(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        taken = story.take(job(want=3), run=1)
        first, _ = _order(story, taken, phase=BatchPhase.RUNNING)
        (row,) = story.write(batches_on_their_way)
        slot = story.write(lambda db: awaited_calls(db, row.number))[0].row.number
        story.settle(taken, slot, first)

    with Checkpoint.read(tmp_path) as reader:
        (seen,) = reader.batch_jobs()

    assert (seen.name, seen.display_name, seen.model_id) == ("batches/b", NAME, "painter")
    assert (seen.state, seen.slots, seen.waiting) == ("running", 2, 1)


async def test_verify_names_a_call_that_waits_for_a_job_that_is_over(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        calls = _order(story, story.take(job(), run=1), slots=1, phase=BatchPhase.RUNNING)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        db.execute("UPDATE batches SET phase = 'ended'")
        db.commit()

    with Checkpoint.read(tmp_path) as reader:
        faults = reader.verify().faults

    assert (
        f"Call {calls[0]} waits for batch job {NAME}, which is 'ended': no answer will come."
        in (faults)
    )
    assert Checkpoint.repair(tmp_path).after.faults == ()


@pytest.mark.parametrize(
    ("phase", "kept"),
    [
        (BatchPhase.RUNNING, {"nb-0123.results.jsonl", "notes.txt"}),
        (BatchPhase.ENDED, {"notes.txt"}),
    ],
)
async def test_after_a_kill_only_results_that_are_still_to_be_read_are_left(
    tmp_path: Path, phase: BatchPhase, kept: set[str]
) -> None:
    """What a person has put there is nobody's business."""

    def work(story: Story) -> None:
        taken = story.take(job(want=3), run=1)
        _order(story, taken, slots=0, phase=phase)
        story.store.files.batches.mkdir()
        for name in ("nb-0123.requests.jsonl", "nb-4567.requests.jsonl", "nb-0123.results.jsonl",
                     "nb-4567.results.jsonl.part", "notes.txt"):  # fmt: skip
            (story.store.files.batches / name).write_bytes(b"{}\n")

    _killed(tmp_path, work)

    async with Checkpoint.open(tmp_path):
        left = {path.name for path in (tmp_path / "batches").iterdir()}

    assert left == kept


async def test_a_batch_job_can_be_given_up_and_its_slots_are_free_again(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        _order(story, story.take(job(want=3), run=1), phase=BatchPhase.RUNNING)

        with pytest.raises(ConfigError, match="No batch job 'batches/x' is on its way"):
            checkpoint.give_up("batches/x", "a typing mistake")
        waited = checkpoint.give_up("batches/b", "deleted in the console")

        assert waited == 2
        assert story.write(batches_on_their_way) == []
        assert story.take(job(want=3), run=2).awaited == []
        assert checkpoint.spend.unknown_usd == 2 * Decimal("0.12")
        (first, _) = (line for line in checkpoint.ledger() if line.call is not None)
        checkpoint.settle(first.call or 0, 0, "not on the bill")
        assert checkpoint.spend.unknown_usd == Decimal("0.12")
        (seen,) = checkpoint.batch_jobs()
        assert seen.state == "lost"
    with Checkpoint.read(tmp_path) as reader:
        assert reader.verify().faults == ()
