"""What an answered request gives on to the next one, and what it keeps until it is written down."""

from __future__ import annotations

import anyio
import pytest

from nanobatch.pipeline.admission import Admission
from nanobatch.pipeline.control import Control, RunStopped
from nanobatch.pipeline.listening import ignore
from nanobatch.pipeline.purse import Purse
from nanobatch.policy import BudgetGate, Pace, Pacer, Pauses, Permits


def admission(gate: BudgetGate, permits: Permits, pacer: Pacer | None = None) -> Admission:
    control = Control()
    return Admission(
        pauses=Pauses(),
        pacer=pacer or Pacer(Pace()),
        permits=permits,
        purse=Purse(gate, control),
        control=control,
        emit=ignore,
    )


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_cost_above_the_worst_case_raises_the_reserve_with_the_answer(
    concurrency: int,
) -> None:
    gate = BudgetGate(limit_nano=1_000, spent_nano=0)
    permits = Permits(concurrency)
    door = admission(gate, permits)
    ticket = await door.admit("m", worst_nano=100)

    door.answered(ticket, cost_nano=150)

    assert door.foreseen("m", 100) == 150
    assert permits.in_use == (1 if concurrency == 1 else 0)
    assert (gate.spent_nano, gate.reserved_nano) == (0, 150)  # until it is written down

    door.leave(ticket, cost_nano=150)

    assert door.foreseen("m", 100) == 150
    assert permits.in_use == 0
    assert (gate.spent_nano, gate.reserved_nano) == (150, 0)


async def test_a_cost_below_the_worst_case_stays_reserved_until_it_is_written_down() -> None:
    gate = BudgetGate(limit_nano=1_000, spent_nano=0)
    door = admission(gate, Permits(2))
    ticket = await door.admit("m", worst_nano=100)

    door.answered(ticket, cost_nano=40)

    assert (gate.spent_nano, gate.reserved_nano) == (0, 100)

    door.leave(ticket, cost_nano=40)

    assert (gate.spent_nano, gate.reserved_nano) == (40, 0)


async def test_what_is_known_to_be_gone_lets_no_request_in_that_does_not_fit_beside_it() -> None:
    gate = BudgetGate(limit_nano=900, spent_nano=0)
    door = admission(gate, Permits(2))
    ticket = await door.admit("m", worst_nano=100)
    door.answered(ticket, cost_nano=500)

    with anyio.move_on_after(0.05) as waiting:
        await door.admit("m", worst_nano=100)  # 500 is reserved for it by now

    assert waiting.cancelled_caught
    door.leave(ticket, cost_nano=500)
    with pytest.raises(RunStopped):
        await door.admit("m", worst_nano=100)
    assert (gate.spent_nano, gate.reserved_nano) == (500, 0)


async def test_nor_one_that_does_not_keep_the_pace_beside_it() -> None:
    pacer = Pacer(Pace(usd_per_10_minutes="0.0000009"))  # 900 nano-dollars
    door = admission(BudgetGate(limit_nano=None, spent_nano=0), Permits(2), pacer)
    ticket = await door.admit("m", worst_nano=100)

    assert pacer.wait_seconds(500) == 0
    door.answered(ticket, cost_nano=500)

    assert pacer.wait_seconds(500) > 0
    door.leave(ticket, cost_nano=500)
    assert pacer.wait_seconds(500) > 0
    assert pacer.wait_seconds(400) == 0
