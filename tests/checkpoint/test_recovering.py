"""After a killed run: every intent gets a line, every file on the disk a row or a place."""

from __future__ import annotations

import os
from decimal import Decimal
from typing import TYPE_CHECKING

import anyio

from nanobatch.checkpoint import CandidateState, Checkpoint, SlotState
from nanobatch.checkpoint.changes import judge, move_on
from nanobatch.cost import LineKind, Outcome, Stage
from tests.checkpoint.children import KILLED, SIGKILL, run
from tests.checkpoint.story import Story, abandon, job, png

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    import pytest


def _killed(folder: Path, work: Callable[[Story], None]) -> None:
    """Do some work on a checkpoint in a process that is killed right after it."""

    async def story() -> None:
        async with Checkpoint.open(folder) as checkpoint:
            work(Story(checkpoint.store))
            os.kill(os.getpid(), SIGKILL)

    assert run(lambda: anyio.run(story)) == KILLED


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


async def test_an_intent_without_an_answer_is_unknown_money_and_its_slot_is_void(
    tmp_path: Path,
) -> None:
    def work(story: Story) -> None:
        taken = story.take(job(), run=1)
        story.accept(taken, story.draw(taken))
        story.begin(taken)
        story.begin(taken)

    _killed(tmp_path, work)

    async with Checkpoint.open(tmp_path) as checkpoint:
        lines = [line for line in checkpoint.ledger() if line.kind is LineKind.CALL]
        again = Story(checkpoint.store).take(job(want=2), run=2)
        assert [line.outcome for line in lines] == [
            Outcome.BILLED,
            Outcome.UNKNOWN,
            Outcome.UNKNOWN,
        ]
        assert [line.unknown_usd for line in lines] == [0, Decimal("0.12"), Decimal("0.12")]
        assert checkpoint.spend.confirmed_usd == Decimal("0.0336")
        assert checkpoint.spend.unknown_usd == Decimal("0.24")
        assert checkpoint.store.spent_nano == 273_600_000
        assert (checkpoint.cost_model().slots, checkpoint.cost_model().calls) == (1, 1)
        assert again.leftovers == []
        assert again.slots_used == {Stage.CANDIDATE: 1}


async def test_an_image_that_reached_the_disk_before_its_settlement_is_adopted(
    tmp_path: Path,
) -> None:
    def work(story: Story) -> None:
        taken = story.take(job(), run=1)
        _, call = story.begin(taken)
        story.stage(call, png(1), png(2))

    _killed(tmp_path, work)

    async with Checkpoint.open(tmp_path) as checkpoint:
        first, second = checkpoint.candidates()
        again = Story(checkpoint.store).take(job(), run=2)
        assert [first.state, second.state] == [CandidateState.STAGED] * 2
        assert first.path is not None
        assert first.path.read_bytes() == png(1)
        assert (first.width_px, first.height_px, first.mime_type) == (12, 8, "image/png")
        assert [one.row.file for one in again.leftovers] == ["1-00.png", "1-01.png"]
        assert checkpoint.spend.unknown_usd == Decimal("0.12")
        assert checkpoint.spend.confirmed_usd == 0
        assert (checkpoint.cost_model().slots, checkpoint.cost_model().calls) == (1, 1)
        assert checkpoint.verify().is_clean
        number = checkpoint.store.new_candidate()
    assert number == 3  # numbers go on after the adopted ones


async def test_an_accepted_name_without_a_row_goes_and_the_staged_one_stays(tmp_path: Path) -> None:
    def work(story: Story) -> None:
        taken = story.take(job(), run=1)
        drawn = story.draw(taken, png(6))
        story.store.files.accept(drawn.staged, f"{taken.stem}-1", sha256=drawn.row.sha256)

    _killed(tmp_path, work)
    assert _files(tmp_path / "images") == ["fox-1.png"]

    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        again = story.take(job(), run=2)
        [leftover] = again.leftovers
        assert _files(tmp_path / "images") == []
        assert (tmp_path / "staging" / leftover.row.file).read_bytes() == png(6)
        assert _files(tmp_path / "lost+found") == []


async def test_a_staged_name_whose_image_is_accepted_goes(tmp_path: Path) -> None:
    def work(story: Story) -> None:
        taken = story.take(job(), run=1)
        drawn = story.draw(taken, png(6))
        story.store.files.discard = lambda path: None  # type: ignore[method-assign] # killed before
        story.accept(taken, drawn)

    _killed(tmp_path, work)
    assert _files(tmp_path / "staging") == ["1-00.png"]

    async with Checkpoint.open(tmp_path) as checkpoint:
        [image] = checkpoint.images()
        assert image.path.read_bytes() == png(6)
        assert _files(tmp_path / "staging") == []
        assert _files(tmp_path / "lost+found") == []


async def test_a_rejected_file_has_one_name_again_whichever_side_of_its_row_the_kill_was(
    tmp_path: Path,
) -> None:
    def work(story: Story) -> None:
        taken = story.take(job(), run=1)
        written, unwritten = story.draw(taken), story.draw(taken)
        story.store.files.keep_rejected(written.row.file)
        story.store.files.keep_rejected(unwritten.row.file)
        story.write(
            lambda db: judge(
                db,
                candidate=written.row.number,
                state=CandidateState.REJECTED,
                file=written.row.file,
            )
        )

    _killed(tmp_path, work)

    async with Checkpoint.open(tmp_path) as checkpoint:
        rejected, staged = checkpoint.candidates()
        assert rejected.path == tmp_path / "rejected" / "1-00.png"
        assert staged.path == tmp_path / "staging" / "2-00.png"
        assert _files(tmp_path / "rejected") == ["1-00.png"]
        assert _files(tmp_path / "staging") == ["2-00.png"]
        assert _files(tmp_path / "lost+found") == []


async def test_files_nobody_knows_are_moved_and_never_deleted_nor_overwritten(
    tmp_path: Path,
) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        taken = story.take(job(), run=1)
        path = story.accept(taken, story.draw(taken))
    for folder, name in (
        ("images", "holiday.png"),
        ("staging", "holiday.png"),
        ("staging", "99-00.png"),
        ("staging", "²-00.png"),
        ("lost+found", "holiday.png"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(f"{folder} {name}")
    (tmp_path / "staging" / "folder.part").mkdir()
    (tmp_path / "images" / "nowhere.png").symlink_to(tmp_path / "missing")
    abandon(tmp_path)

    async with Checkpoint.open(tmp_path):
        pass

    lost = tmp_path / "lost+found"
    contents = {file.read_text() for file in lost.iterdir() if file.is_file()}
    assert contents == {
        "images holiday.png",
        "staging holiday.png",
        "staging 99-00.png",
        "staging ²-00.png",
        "lost+found holiday.png",
    }
    assert (lost / "folder.part").is_dir()
    assert (lost / "nowhere.png").is_symlink()
    assert path.is_file()
    assert _files(tmp_path / "staging") == []


async def test_a_copy_made_with_hard_links_does_not_make_a_stranger_disposable(
    tmp_path: Path,
) -> None:
    async with Checkpoint.open(tmp_path / "run"):
        pass
    stranger = tmp_path / "run" / "staging" / "99-00.png"
    stranger.write_bytes(png(3))
    (tmp_path / "backup.png").hardlink_to(stranger)
    abandon(tmp_path / "run")

    async with Checkpoint.open(tmp_path / "run"):
        pass

    assert (tmp_path / "run" / "lost+found" / "99-00.png").read_bytes() == png(3)


async def test_half_a_file_is_removed(tmp_path: Path) -> None:
    def work(story: Story) -> None:
        taken = story.take(job(), run=1)
        _, call = story.begin(taken)
        (story.store.files.staging / f"{call}-00.png.part").write_bytes(png()[:20])

    _killed(tmp_path, work)

    async with Checkpoint.open(tmp_path) as checkpoint:
        assert _files(tmp_path / "staging") == []
        assert _files(tmp_path / "lost+found") == []
        assert list(checkpoint.candidates()) == []
        assert checkpoint.spend.unknown_usd == Decimal("0.12")


async def test_a_paid_judge_that_was_asked_is_unknown_money_too(tmp_path: Path) -> None:
    def work(story: Story) -> None:
        taken = story.take(job(), run=1)
        drawn = story.draw(taken)
        story.begin(taken, slot=drawn.slot, kind=LineKind.JUDGE)

    _killed(tmp_path, work)

    async with Checkpoint.open(tmp_path) as checkpoint:
        line = list(checkpoint.ledger())[-1]
        again = Story(checkpoint.store).take(job(), run=2)
        assert (line.kind, line.outcome) == (LineKind.JUDGE, Outcome.UNKNOWN)
        assert checkpoint.spend.unknown_usd == Decimal("0.12")
        assert len(again.leftovers) == 1


async def test_a_picked_draft_whose_finish_was_cut_waits_for_its_finish_again(
    tmp_path: Path,
) -> None:
    def work(story: Story) -> None:
        taken = story.take(job(route="finish"), run=1)
        draft = story.draw(taken, stage=Stage.DRAFT)
        story.keep(draft)
        story.write(lambda db: move_on(db, draft.slot, SlotState.PICKED))
        story.begin(taken, stage=Stage.FINISH, parent=draft.slot)

    _killed(tmp_path, work)

    async with Checkpoint.open(tmp_path) as checkpoint:
        again = Story(checkpoint.store).take(job(route="finish"), run=2)
        assert [one.is_picked for one in again.in_hand] == [True]


async def test_recovering_again_and_again_changes_nothing(tmp_path: Path) -> None:
    def work(story: Story) -> None:
        taken = story.take(job(want=3), run=1)
        story.accept(taken, story.draw(taken))
        story.draw(taken)
        _, call = story.begin(taken)
        story.stage(call, png(200))
        story.begin(taken)

    _killed(tmp_path, work)
    seen: list[object] = []
    for _ in range(3):
        async with Checkpoint.open(tmp_path) as checkpoint:
            seen.append((list(checkpoint.ledger()), list(checkpoint.candidates())))
        abandon(tmp_path)

    assert seen[0] == seen[1] == seen[2]


async def test_closing_properly_settles_what_is_in_flight_and_adopts_its_image(
    tmp_path: Path,
) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        taken = story.take(job(want=2), run=1)
        story.begin(taken)
        _, call = story.begin(taken)
        story.stage(call, png(8))  # and the settlement could not be written
        linked = story.draw(taken)
        story.store.files.accept(linked.staged, "fox-1", sha256=linked.row.sha256)  # nor its row

    with Checkpoint.read(tmp_path) as reader:
        lines = [line for line in reader.ledger() if line.kind is LineKind.CALL]
        states = [one.state for one in reader.candidates()]
        assert [line.note for line in lines] == [
            "",
            "the run ended before the answer was settled",
            "the run ended before the answer was settled",
        ]
        assert [line.outcome for line in lines[1:]] == [Outcome.UNKNOWN, Outcome.BILLED]
        assert states == [CandidateState.STAGED, CandidateState.STAGED]
        assert _files(tmp_path / "images") == []
        assert reader.verify().is_clean


async def test_a_tidy_close_does_not_look_through_all_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned: list[str] = []
    scandir = os.scandir

    def noted(path: object) -> object:
        scanned.append(str(path))
        return scandir(str(path))

    async with Checkpoint.open(tmp_path) as checkpoint:
        monkeypatch.setattr(os, "scandir", noted)
        story = Story(checkpoint.store)
        taken = story.take(job(want=2), run=1)
        story.accept(taken, story.draw(taken))
        story.keep(story.draw(taken))

    assert str(tmp_path / "staging") in scanned
    assert str(tmp_path / "images") not in scanned


async def test_slots_that_yielded_nothing_end_with_the_run(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        taken = story.take(job(want=3), run=1)
        unbilled = story.begin(taken)
        story.settle(taken, *unbilled, outcome=Outcome.UNBILLED, usd_nano=0)
        empty = story.begin(taken)
        story.settle(taken, *empty)
        waiting = story.draw(taken)

    def states(db: sqlite3.Connection) -> list[tuple[int, str]]:
        return db.execute("SELECT number, state FROM slots ORDER BY number").fetchall()

    async with Checkpoint.open(tmp_path) as checkpoint:
        found = Story(checkpoint.store).write(states)
    assert found == [(unbilled[0], "void"), (empty[0], "rejected"), (waiting.slot, "open")]
