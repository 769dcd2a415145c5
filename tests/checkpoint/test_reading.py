"""Reading goes in pages, yields everything once, and adds up while a run goes on."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from nanobatch.checkpoint import Checkpoint, take
from nanobatch.checkpoint.changes import NewFailure, fail
from nanobatch.cost import LedgerTotals, LineKind, Outcome, Stage
from nanobatch.models import Tier
from tests.checkpoint.story import USAGE, Story, entry, job

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator
    from pathlib import Path

MANY = 1203  # three pages of 500, the last one not full


@pytest.fixture
async def checkpoint(tmp_path: Path) -> AsyncIterator[Checkpoint]:
    async with Checkpoint.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def story(checkpoint: Checkpoint) -> Story:
    return Story(checkpoint.store)


def _fail_often(story: Story, job_number: int, count: int, *, start: int = 0) -> None:
    def change(db: sqlite3.Connection) -> None:
        for number in range(start, start + count):
            fail(
                db,
                NewFailure(
                    job=job_number, slot=None, kind="empty", message=str(number), model_id="painter"
                ),
            )

    story.write(change)


async def test_more_than_a_page_is_yielded_once_and_in_order(
    checkpoint: Checkpoint, story: Story
) -> None:
    _fail_often(story, story.take(job(), run=1).number, MANY)

    messages = [failure.message for failure in checkpoint.failures()]

    assert messages == [str(number) for number in range(MANY)]


@pytest.mark.parametrize("count", [0, 499, 500, 501, 1000])
async def test_the_edge_of_a_page_is_no_edge(
    checkpoint: Checkpoint, story: Story, count: int
) -> None:
    _fail_often(story, story.take(job(), run=1).number, count)

    assert len(list(checkpoint.failures())) == count


async def test_rows_added_between_pages_are_yielded_once_too(
    checkpoint: Checkpoint, story: Story
) -> None:
    taken = story.take(job(), run=1)
    _fail_often(story, taken.number, 700)

    messages: list[str] = []
    for failure in checkpoint.failures():
        messages.append(failure.message)
        if len(messages) in (1, 500):
            _fail_often(story, taken.number, 1, start=10_000 + len(messages))

    assert messages == [*map(str, range(700)), "10001", "10500"]


async def test_many_jobs_come_back_one_by_one(checkpoint: Checkpoint, story: Story) -> None:
    entries = [entry(job(f"j{number}")) for number in range(MANY)]
    story.write(lambda db: take(db, entries, run=1))

    ids = [result.id for result in checkpoint.jobs()]

    assert ids == [f"j{number}" for number in range(MANY)]
    assert list(checkpoint.ids_since(1)) == ids
    assert checkpoint.count_since(1) == (MANY, MANY, 0)


async def test_the_ledger_is_that_of_one_moment_whatever_happens_meanwhile(
    checkpoint: Checkpoint, story: Story
) -> None:
    """No call may be missed, or counted twice, because it settles while lines are read."""
    taken = story.take(job(want=9), run=1)
    story.draw(taken)
    slot, call = story.begin(taken)

    lines = checkpoint.ledger()
    seen = [next(lines)]
    story.settle(taken, slot, call)  # 0.0336 of the 0.12 reserved
    story.begin(taken)
    seen += lines

    then, now = LedgerTotals.of(seen), LedgerTotals.of(checkpoint.ledger())
    assert [line.number for line in seen] == [1, 2, 3]
    assert (then.spend_usd, then.unknown_usd) == (Decimal("0.0336"), Decimal("0.12"))
    assert (now.spend_usd, now.unknown_usd) == (Decimal("0.0672"), Decimal("0.12"))
    assert seen[-1].outcome is Outcome.UNKNOWN
    assert seen[-1].note == "in flight"


async def test_spend_is_the_sum_of_the_ledger_exactly(checkpoint: Checkpoint, story: Story) -> None:
    taken = story.take(job(want=9), run=1)
    for price in (1, 33_600_000, 999_999_999):
        slot, call = story.begin(taken)
        story.settle(taken, slot, call, usd_nano=price)
    story.begin(taken)

    totals = LedgerTotals.of(checkpoint.ledger())

    assert checkpoint.spend.confirmed_usd == Decimal("1.033600000") == totals.spend_usd
    assert checkpoint.spend.unknown_usd == Decimal("0.12") == totals.unknown_usd
    assert checkpoint.spend.worst_case_usd == Decimal("1.1536")


async def test_costs_can_be_asked_by_tag_and_tier(checkpoint: Checkpoint, story: Story) -> None:
    hands, faces = (
        story.take(job("h", tag="hands", want=2), run=1),
        story.take(job("f", tag="faces"), run=1),
    )
    story.accept(hands, story.draw(hands))
    story.reject(story.draw(hands), "blurred")
    story.accept(faces, story.draw(faces))

    assert checkpoint.cost_model(tag="hands").usd_per_accepted == Decimal("0.0672")
    assert checkpoint.cost_model(tag="hands").fill_rate == 0.5
    assert checkpoint.cost_model(tag="faces").usd_per_accepted == Decimal("0.0336")
    assert checkpoint.cost_model(tag="nobody").slots == 0
    assert checkpoint.cost_model(Tier.LITE).slots == 3
    assert checkpoint.cost_model("quality").usd_per_accepted is None
    with pytest.raises(ValueError, match="middle"):
        checkpoint.cost_model("middle")


async def test_numbers_go_on_where_the_last_process_ended(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        first = (await checkpoint.store.new_run(), story.draw(story.take(job(), run=1)))
    async with Checkpoint.open(tmp_path) as checkpoint:
        store = checkpoint.store
        second = (await store.new_run(), store.new_slot(), store.new_call(), store.new_candidate())

    assert (first[0], first[1].slot, first[1].call, first[1].row.number) == (1, 1, 1, 1)
    assert second == (2, 2, 2, 2)


async def test_a_new_run_gives_no_number_twice_to_a_run_beside_it(
    checkpoint: Checkpoint, story: Story
) -> None:
    given = story.store.new_call()  # handed out, not written yet

    await checkpoint.store.new_run()

    assert story.store.new_call() == given + 1


async def test_a_checkpoint_says_where_it_is(checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert checkpoint.root == tmp_path
    assert repr(checkpoint) == f"Checkpoint({str(tmp_path)!r})"
    with Checkpoint.read(str(tmp_path)) as reader:
        assert repr(reader) == f"CheckpointReader({str(tmp_path)!r})"


async def test_wants_are_lines_without_a_slot(checkpoint: Checkpoint, story: Story) -> None:
    story.take(job(want=4, tag="hands"), run=1)

    [line] = checkpoint.ledger()

    assert (line.kind, line.want, line.tag) == (LineKind.WANT, 4, "hands")
    assert (line.slot, line.tier, line.stage, line.call, line.model_id) == (
        None,
        None,
        None,
        None,
        "",
    )


async def test_memos_come_back_with_their_images_from_any_image_on(
    checkpoint: Checkpoint, story: Story
) -> None:
    fox, owl = story.take(job("fox", want=2), run=1), story.take(job("owl"), run=1)
    for taken in (fox, owl, fox):
        story.accept(taken, story.draw(taken))

    everything = list(checkpoint.images_with_memos())
    rest = list(checkpoint.images_with_memos(after=2))

    assert [image for image, _ in everything] == list(checkpoint.images())
    assert [memos for _, memos in everything] == [{"twins": b"\x0a\xff"}] * 3
    assert [(image.job_id, image.number) for image, _ in rest] == [("fox", 2)]


async def test_the_ledger_of_a_moment_stays_what_it_was(
    checkpoint: Checkpoint, story: Story
) -> None:
    taken = story.take(job(want=2), run=1)
    drawn = story.draw(taken)
    slot, call = story.begin(taken)
    then = list(checkpoint.ledger())

    moment = checkpoint.moment()
    story.accept(taken, drawn)
    story.settle(taken, slot, call, usd_nano=5)

    assert list(checkpoint.ledger_at(moment)) == then
    assert [line.note for line in then][-1] == "in flight"
    assert len(list(checkpoint.ledger())) == len(then) + 1  # accepted; the call got its own line


async def test_a_part_of_the_ledger_is_what_the_whole_says_of_it(
    checkpoint: Checkpoint, story: Story
) -> None:
    for run, tag in enumerate(("red", "", "red"), 1):
        taken = story.take(job(f"fox-{run}", tag=tag), run=run)
        story.accept(taken, story.draw(taken))
        story.begin(taken, stage=Stage.FINISH)
    moment = checkpoint.moment()
    whole = list(checkpoint.ledger_at(moment))

    for tier in Tier:
        of_tier = [line for line in whole if line.tier is tier]
        assert of_tier
        assert list(checkpoint.ledger_at(moment, tier=tier)) == of_tier
    for tag in ("red", ""):
        of_tag = [line for line in whole if line.tag == tag]
        assert of_tag
        assert list(checkpoint.ledger_at(moment, tag=tag)) == of_tag
    assert checkpoint.tags() == ["", "red"]


async def test_images_of_a_moment_come_with_what_judging_them_again_needs(
    checkpoint: Checkpoint, story: Story
) -> None:
    taken = story.take(job(tag="red", best_of=1), run=1)
    drawn = story.draw(taken)
    moment = checkpoint.moment()
    story.draw(taken)
    story.accept(taken, drawn)

    (kept,) = checkpoint.kept_candidates(moment)  # the second came later

    assert kept.job == taken.job
    assert kept.record.state == "accepted"  # states are those of now
    assert (kept.image_number, kept.parent, kept.usage) == (1, None, USAGE)
    assert kept.settled_line == moment.last_line
    assert (kept.accepted_line or 0) > moment.last_line
    assert kept.record.path is not None
    assert kept.record.path.is_file()
    assert checkpoint.kept_candidate(kept.record.number) == kept
    assert checkpoint.images_of_call(slot=drawn.slot, call=drawn.call) == 1
