"""What an answered request gives on to the next one, and what it keeps until it is written down."""

from __future__ import annotations

import pytest

from nanobatch.pipeline.admission import Admission
from nanobatch.pipeline.control import Control
from nanobatch.pipeline.listening import ignore
from nanobatch.pipeline.purse import Purse
from nanobatch.policy import BudgetGate, Pace, Pacer, Pauses, Permits


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_cost_above_the_worst_case_raises_the_reserve_with_the_answer(
    concurrency: int,
) -> None:
    control = Control()
    gate = BudgetGate(limit_nano=1_000, spent_nano=0)
    permits = Permits(concurrency)
    admission = Admission(
        pauses=Pauses(),
        pacer=Pacer(Pace()),
        permits=permits,
        purse=Purse(gate, control),
        control=control,
        emit=ignore,
    )
    ticket = await admission.admit("m", worst_nano=100)

    admission.answered(ticket, cost_nano=150)

    assert admission.foreseen("m", 100) == 150
    assert permits.in_use == (1 if concurrency == 1 else 0)
    assert (gate.spent_nano, gate.reserved_nano) == (0, 100)  # until it is written down

    admission.leave(ticket, cost_nano=150)

    assert admission.foreseen("m", 100) == 150
    assert permits.in_use == 0
    assert (gate.spent_nano, gate.reserved_nano) == (150, 0)
