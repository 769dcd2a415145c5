"""Unknown money is settled by a person who looked at the provider's bill; figures by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from nanobatch.checkpoint import Checkpoint
from nanobatch.checkpoint.changes import Settlement, settle
from nanobatch.cost import LineKind, Outcome
from nanobatch.errors import ConfigError
from tests.checkpoint.story import WORST, Drawn, Story, job, png

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def checkpoint(tmp_path: Path) -> AsyncIterator[Checkpoint]:
    async with Checkpoint.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def story(checkpoint: Checkpoint) -> Story:
    return Story(checkpoint.store)


def _timeout(story: Story) -> int:
    """One accepted image for 0.0336 USD, and one call that timed out; return that call."""
    taken = story.take(job(want=2), run=1)
    story.accept(taken, story.draw(taken))
    slot, call = story.begin(taken)
    story.settle(taken, slot, call, outcome=Outcome.UNKNOWN, usd_nano=0, unknown_nano=WORST)
    return call


async def test_a_timeout_that_was_not_billed_costs_nothing(
    checkpoint: Checkpoint, story: Story
) -> None:
    call = _timeout(story)

    checkpoint.settle(call, 0, "not on the bill")

    model = checkpoint.cost_model()
    assert checkpoint.spend.unknown_usd == 0
    assert checkpoint.spend.confirmed_usd == Decimal("0.0336")
    assert (model.slots, model.calls, model.accepted) == (1, 1, 1)
    assert model.usd_per_accepted == Decimal("0.0336")
    line = list(checkpoint.ledger())[-1]
    assert line.outcome is Outcome.UNBILLED
    assert (line.usd, line.unknown_usd) == (Decimal(0), Decimal("-0.12"))
    assert line.note == "settled by hand: not on the bill"


async def test_a_timeout_that_was_billed_is_a_call_and_a_slot(
    checkpoint: Checkpoint, story: Story
) -> None:
    call = _timeout(story)

    checkpoint.settle(call, "0.0664", "line 12 of the bill")

    model = checkpoint.cost_model()
    assert checkpoint.spend.unknown_usd == 0
    assert checkpoint.spend.confirmed_usd == Decimal("0.1")  # 0.0336 + 0.0664
    assert (model.slots, model.calls, model.accepted) == (2, 2, 1)
    assert model.usd_per_accepted == Decimal("0.1")
    result = next(checkpoint.jobs())
    assert (result.slots, result.calls) == (2, 2)


@pytest.mark.parametrize(("usd", "confirmed"), [("0.0336", "0.0336"), (0, "0"), (0.04, "0.04")])
async def test_an_answer_without_usage_stays_one_billed_call_at_whatever_price(
    checkpoint: Checkpoint, story: Story, usd: str | float, confirmed: str
) -> None:
    taken = story.take(job(), run=1)
    slot, call = story.begin(taken)
    rows = story.stage(call, png())
    story.settle(taken, slot, call, usd_nano=0, unknown_nano=WORST, rows=rows)
    story.accept(taken, Drawn(slot=slot, call=call, row=rows[0]))
    before = checkpoint.cost_model()

    checkpoint.settle(call, usd, "the bill")

    after = checkpoint.cost_model()
    result = next(checkpoint.jobs())
    assert (before.slots, before.calls, before.spend_usd) == (1, 1, Decimal(0))
    assert (after.slots, after.calls, after.spend_usd) == (1, 1, Decimal(confirmed))
    assert (result.slots, result.calls) == (1, 1)
    assert next(checkpoint.images()).usd == Decimal(confirmed)
    assert checkpoint.spend.unknown_usd == 0


async def test_an_adopted_image_can_be_settled_after_a_crash(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        _, call = story.begin(story.take(job(), run=1))
        story.stage(call, png())  # closed before it was settled

    async with Checkpoint.open(tmp_path) as checkpoint:
        checkpoint.settle(call, "0.0336", "the bill")
        model = checkpoint.cost_model()
        assert (model.slots, model.calls) == (1, 1)
        assert checkpoint.spend.worst_case_usd == Decimal("0.0336")


async def test_a_paid_judge_can_be_settled_and_is_no_generation_call(
    checkpoint: Checkpoint, story: Story
) -> None:
    taken = story.take(job(), run=1)
    drawn = story.draw(taken)
    _, call = story.begin(taken, slot=drawn.slot, kind=LineKind.JUDGE)
    story.write(lambda db: _judge_unknown(db, taken.number, drawn.slot, call))

    checkpoint.settle(call, "0.0064", "the judge's bill")

    model = checkpoint.cost_model()
    assert (model.slots, model.calls) == (1, 1)
    assert model.spend_usd == Decimal("0.04")  # 0.0336 + 0.0064
    assert checkpoint.spend.unknown_usd == 0
    assert next(checkpoint.jobs()).calls == 1


def _judge_unknown(db: sqlite3.Connection, job_number: int, slot: int, call: int) -> None:
    settle(
        db,
        Settlement(
            call=call,
            slot=slot,
            job=job_number,
            kind=LineKind.JUDGE,
            outcome=Outcome.UNKNOWN,
            unknown_nano=WORST,
        ),
    )


async def test_settling_twice_is_refused_and_counts_once(
    checkpoint: Checkpoint, story: Story
) -> None:
    call = _timeout(story)
    checkpoint.settle(call, "0.05", "the bill")
    before = list(checkpoint.ledger())

    with pytest.raises(ConfigError, match=f"Call {call} has no unknown money"):
        checkpoint.settle(call, "0.05", "the bill, again")

    assert list(checkpoint.ledger()) == before


async def test_only_unknown_money_of_a_finished_call_can_be_settled(
    checkpoint: Checkpoint, story: Story
) -> None:
    taken = story.take(job(), run=1)
    billed = story.draw(taken).call
    _, in_flight = story.begin(taken)

    for call in (billed, 99):
        with pytest.raises(ConfigError, match=f"Call {call} has no unknown money"):
            checkpoint.settle(call, 0, "a guess")
    with pytest.raises(ConfigError, match=f"Call {in_flight} still waits for its answer"):
        checkpoint.settle(in_flight, 0, "a guess")


@pytest.mark.parametrize("usd", ["-0.01", "NaN", "Infinity", "five", "", "1e10", True, None])
async def test_an_amount_that_is_none_is_refused(
    checkpoint: Checkpoint, story: Story, usd: object
) -> None:
    call = _timeout(story)

    with pytest.raises(ConfigError, match=r"it must be USD from 0 to 1,000,000,000"):
        checkpoint.settle(call, usd, "a guess")  # type: ignore[arg-type] # what people try

    assert checkpoint.spend.unknown_usd == Decimal("0.12")


async def test_a_fraction_of_a_nano_dollar_is_rounded_up(
    checkpoint: Checkpoint, story: Story
) -> None:
    call = _timeout(story)

    checkpoint.settle(call, "0.0000000011", "1.1 nano-dollars")

    assert checkpoint.spend.confirmed_usd == Decimal("0.033600002")
