"""The rows of one slot on its way: intent, settlement, verdict, acceptance; an honest ledger."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from nanobatch.checkpoint import CandidateState, Checkpoint, JobStatus, SlotState, Spend
from nanobatch.checkpoint.changes import (
    NewFailure,
    common_rejection,
    end_job,
    fail,
    judge,
    move_on,
)
from nanobatch.cost import LineKind, Outcome, Stage
from nanobatch.errors import CheckpointError
from nanobatch.models import Tier
from tests.checkpoint.story import USAGE, Drawn, Story, job, png

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def checkpoint(tmp_path: Path) -> AsyncIterator[Checkpoint]:
    async with Checkpoint.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def story(checkpoint: Checkpoint) -> Story:
    return Story(checkpoint.store)


async def test_a_call_in_flight_is_unknown_money_at_its_worst_case(
    checkpoint: Checkpoint, story: Story
) -> None:
    taken = story.take(job(tag="hands"), run=1)
    slot, call = story.begin(taken)

    line = list(checkpoint.ledger())[-1]
    model = checkpoint.cost_model()

    assert (line.kind, line.outcome, line.slot, line.call) == (
        LineKind.CALL,
        Outcome.UNKNOWN,
        slot,
        call,
    )
    assert (line.usd, line.unknown_usd) == (Decimal(0), Decimal("0.12"))
    assert (line.job_id, line.tag, line.model_id, line.tier) == (
        "fox",
        "hands",
        "painter",
        Tier.LITE,
    )
    assert checkpoint.spend == Spend(unknown_usd=Decimal("0.12"))
    assert (model.slots, model.calls) == (0, 0)
    assert next(checkpoint.jobs()).spend.worst_case_usd == Decimal("0.12")


async def test_a_settled_call_costs_its_price_and_its_image_waits(
    checkpoint: Checkpoint, story: Story
) -> None:
    taken = story.take(job(), run=1)

    drawn = story.draw(taken, png(5))

    line = list(checkpoint.ledger())[-1]
    [candidate] = checkpoint.candidates()
    assert (line.usd, line.unknown_usd) == (Decimal("0.0336"), Decimal(0))
    assert line.usage == USAGE
    assert checkpoint.spend.worst_case_usd == Decimal("0.0336")
    assert (candidate.state, candidate.stage) == (CandidateState.STAGED, Stage.CANDIDATE)
    assert (candidate.width_px, candidate.height_px) == (12, 8)
    assert candidate.path is not None
    assert candidate.path.read_bytes() == png(5)
    assert candidate.sha256 == drawn.row.sha256
    result = next(checkpoint.jobs())
    assert (result.slots, result.calls) == (1, 1)


async def test_a_slot_counts_once_however_often_it_called(
    checkpoint: Checkpoint, story: Story
) -> None:
    taken = story.take(job(), run=1)
    first = story.draw(taken)
    story.draw(taken, slot=first.slot)
    slot, call = story.begin(taken)
    story.settle(taken, slot, call, outcome=Outcome.UNBILLED, usd_nano=0)

    model = checkpoint.cost_model()
    assert (model.slots, model.calls) == (1, 2)  # r = 2/1 - 1; the unbilled slot is void
    assert model.spend_usd == Decimal("0.0672")


async def test_an_accepted_image_has_a_row_a_line_and_one_file(
    checkpoint: Checkpoint, story: Story, tmp_path: Path
) -> None:
    taken = story.take(job(prompt="a fox\u0000 \U0001f98a\n"), run=1)

    path = story.accept(taken, story.draw(taken, png(9)), score=0.5)

    [image] = checkpoint.images()
    [(same, memos)] = checkpoint.images_with_memos()
    assert path == tmp_path / "images" / "fox-1.png"
    assert path.read_bytes() == png(9)
    assert image.path == path
    assert (image.number, image.usd, image.score) == (1, Decimal("0.0336"), 0.5)
    assert image.prompt == "a fox\u0000 \U0001f98a\n"
    assert memos == {"twins": b"\x0a\xff"}
    assert same == image
    assert list((tmp_path / "staging").iterdir()) == []
    assert [line.kind for line in checkpoint.ledger()] == [
        LineKind.WANT,
        LineKind.CALL,
        LineKind.ACCEPTED,
    ]
    assert checkpoint.cost_model().usd_per_accepted == Decimal("0.0336")
    assert next(checkpoint.jobs()).images == (image,)


async def test_a_name_somebody_else_took_is_left_alone(
    checkpoint: Checkpoint, story: Story, tmp_path: Path
) -> None:
    (tmp_path / "images" / "fox-1.png").write_bytes(b"my own fox")
    (tmp_path / "images" / "fox-1~2.png").write_bytes(b"my other fox")
    taken = story.take(job(), run=1)

    path = story.accept(taken, story.draw(taken, png(9)))

    assert path.name == "fox-1~3.png"
    assert path.read_bytes() == png(9)
    assert (tmp_path / "images" / "fox-1.png").read_bytes() == b"my own fox"


async def test_images_nobody_needs_to_judge_become_spares_and_keep_their_files(
    checkpoint: Checkpoint, story: Story
) -> None:
    taken = story.take(job(), run=1)
    slot, call = story.begin(taken)
    rows = story.stage(call, png(1), png(2))
    story.settle(taken, slot, call, rows=rows)
    story.accept(taken, Drawn(slot=slot, call=call, row=rows[0]))

    accepted, spare = checkpoint.candidates()
    assert (accepted.state, spare.state) == (CandidateState.ACCEPTED, CandidateState.SPARE)
    assert spare.path is not None
    assert spare.path.read_bytes() == png(2)
    assert checkpoint.cost_model().accepted == 1


async def test_a_finish_costs_what_draft_and_finish_cost_together_and_spends_the_draft(
    checkpoint: Checkpoint, story: Story
) -> None:
    taken = story.take(job(route="finish"), run=1)
    draft, other = (story.draw(taken, stage=Stage.DRAFT) for _ in range(2))
    story.keep(draft)
    story.keep(other)
    story.write(lambda db: move_on(db, draft.slot, SlotState.PICKED))
    story.write(lambda db: move_on(db, other.slot, SlotState.UNPICKED))
    finish = story.draw(taken, stage=Stage.FINISH, parent=draft.slot)

    story.accept(taken, finish)

    [image] = checkpoint.images()
    states = [one.state for one in checkpoint.candidates()]
    assert image.usd == Decimal("0.0672")
    assert image.tier is Tier.QUALITY
    assert states == [CandidateState.SPENT, CandidateState.UNPICKED, CandidateState.ACCEPTED]
    assert [one.path is not None for one in checkpoint.candidates()] == [True, True, True]
    assert checkpoint.cost_model().usd_per_accepted == Decimal("0.1008")  # three calls, one image
    assert checkpoint.cost_model("lite").spend_usd == Decimal("0.0672")
    assert checkpoint.cost_model("quality").accepted == 1


async def test_a_verdict_is_kept_with_its_thumbnail_and_its_file_if_that_is_wished(
    checkpoint: Checkpoint, story: Story, tmp_path: Path
) -> None:
    taken = story.take(job(), run=1)
    drawn = story.draw(taken, png(4))
    story.store.files.keep_rejected(drawn.row.file)
    story.write(
        lambda db: judge(
            db,
            candidate=drawn.row.number,
            state=CandidateState.REJECTED,
            filter_name="eye",
            reason="blurred (0.3)",
            score=0.3,
            thumbnail=b"small",
            file=drawn.row.file,
        )
    )
    story.store.files.discard(drawn.staged)

    [record] = checkpoint.candidates()
    assert (record.filter_name, record.reason, record.score) == ("eye", "blurred (0.3)", 0.3)
    assert record.thumbnail == b"small"
    assert record.path == tmp_path / "rejected" / drawn.row.file
    assert (tmp_path / "rejected" / drawn.row.file).read_bytes() == png(4)


async def test_a_rejected_file_that_somebody_removed_is_no_reason_to_stop(
    checkpoint: Checkpoint, story: Story, tmp_path: Path
) -> None:
    taken = story.take(job(), run=1)
    drawn = story.draw(taken)
    (tmp_path / drawn.staged).unlink()

    story.store.files.keep_rejected(drawn.row.file)
    story.store.files.discard(drawn.staged)

    with pytest.raises(CheckpointError, match="is missing since it was paid for"):
        story.store.files.read(drawn.staged, sha256=drawn.row.sha256)
    assert list((tmp_path / "rejected").iterdir()) == []


async def test_the_most_common_rejection_ignores_figures_in_brackets(
    checkpoint: Checkpoint, story: Story
) -> None:
    taken = story.take(job(), run=1)
    for reason in ("too small (12 px)", "blurred", "too small (13 px)", "blurred", "too small (9)"):
        story.reject(story.draw(taken), reason)

    assert story.write(lambda db: common_rejection(db, taken.number)) == "too small"
    assert story.write(lambda db: common_rejection(db, 99)) == ""


async def test_failures_and_endings_are_kept_for_people(
    checkpoint: Checkpoint, story: Story
) -> None:
    taken = story.take(job(), run=1)
    slot, call = story.begin(taken)
    failure = NewFailure(
        job=taken.number, slot=slot, kind="rate_limit", message="slower", model_id="painter"
    )
    story.settle(taken, slot, call, outcome=Outcome.UNBILLED, usd_nano=0, failure=failure)
    last = NewFailure(
        job=taken.number,
        slot=None,
        kind="refused",
        message="SAFETY",
        model_id="painter",
        usd_nano=2_000_000_001,
        is_final=True,
    )
    story.write(lambda db: fail(db, last))
    story.write(
        lambda db: end_job(db, taken.number, JobStatus.REFUSED, reason="SAFETY", is_final=True)
    )

    first, second = checkpoint.failures()
    assert (first.job_id, first.slot, first.kind) == ("fox", slot, "rate_limit")
    assert (first.usd, first.is_final) == (Decimal(0), False)
    assert (second.slot, second.usd, second.is_final) == (None, Decimal("2.000000001"), True)
    assert first.at.tzinfo is not None
    assert first.at <= second.at
    result = next(checkpoint.jobs())
    assert (result.status, result.reason) == (JobStatus.REFUSED, "SAFETY")
    assert [one.kind for one in checkpoint.failures_since(1, up_to=1)] == ["rate_limit"]


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE ledger SET usd_nano = 0",
        "DELETE FROM ledger",
        "INSERT OR REPLACE INTO ledger (number, at, kind, job) VALUES (2, 0, 'want', 1)",
    ],
)
async def test_the_ledger_cannot_be_edited_even_by_hand(
    checkpoint: Checkpoint, story: Story, tmp_path: Path, edit: str
) -> None:
    story.draw(story.take(job(), run=1))
    before = list(checkpoint.ledger())

    with (
        closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        db.execute(edit)

    assert list(checkpoint.ledger()) == before


async def test_every_settlement_is_of_a_known_call(checkpoint: Checkpoint, story: Story) -> None:
    taken = story.take(job(), run=1)

    with pytest.raises(CheckpointError, match="FOREIGN KEY"):
        story.settle(taken, 77, 77)

    assert checkpoint.spend.worst_case_usd == 0


async def test_the_raw_body_of_an_answer_nobody_could_read_is_set_aside(
    story: Story, tmp_path: Path
) -> None:
    story.store.files.set_aside(7, b'{"half": ')

    assert [path.read_bytes() for path in (tmp_path / "quarantine").iterdir()] == [b'{"half": ']
