from __future__ import annotations

import pickle
import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest

from nanobatch.cost import LedgerLine, LedgerTotals, LineKind, Outcome
from nanobatch.cost.formula import Formula
from nanobatch.cost.scatter import TRAIL_SLOTS, Scatter, SlotOutcome, SlotSums
from tests.cost.slots import Slot, ledger

AT = datetime(2026, 11, 24, tzinfo=UTC)


def three_slots() -> SlotSums:
    """Costs 1, 3 and 8, the first two accepted."""
    slots = [Slot((1,), accepted=True), Slot((1, 2), accepted=True), Slot((8,), accepted=False)]
    return LedgerTotals.of(ledger(slots)).by_slot


def test_slots_are_summed_in_whole_nano_dollars() -> None:
    assert three_slots() == SlotSums(
        slots=3,
        accepted=2,
        nano_usd=12,
        square_nano_usd=74,
        accepted_nano_usd=4,
        least_nano_usd=1,
        most_calls=2,
        trail=(SlotOutcome(1, True), SlotOutcome(3, True), SlotOutcome(8, False)),
    )


def test_scatter_is_relative_to_the_mean() -> None:
    scatter = Scatter.measured(three_slots())

    # mean 4; deviations -3, -1, 4: variance 26/2 = 13, of 16; with acceptance, whose deviations
    # are 1/3, 1/3, -2/3: (-1 - 1/3 - 8/3) / 2 = -2, of 4
    assert scatter.relative_variance == 13 / 16
    assert scatter.covariance == -1 / 2
    assert scatter.accept_rate == pytest.approx(2 / 3)
    assert scatter.cheapest == 1 / 4


def test_one_slot_scatters_by_as_much_as_its_mean() -> None:
    scatter = Scatter.measured(LedgerTotals.of(ledger([Slot((5,), accepted=True)])).by_slot)

    assert (scatter.relative_variance, scatter.covariance, scatter.cheapest) == (1, 0, 0)


def test_rates_alone_scatter_between_the_two_nearest_numbers_of_calls() -> None:
    formula = Formula(
        usd_per_call=Fraction(2),
        regeneration_rate=Fraction(5, 4),
        accept_rate=Fraction(1, 2),
        usd_other_per_slot=Fraction(1, 2),
    )

    scatter = Scatter.assumed(formula)

    # two calls or three: 4.5 USD in 3 slots of 4, 6.5 USD in one: mean 5, variance 3/16 x 4
    assert scatter.relative_variance == pytest.approx(0.75 / 25)
    assert scatter.cheapest == pytest.approx(4.5 / 5)
    assert scatter.most_extra_calls == 2


def test_a_judgement_belongs_to_the_cost_of_its_slot_and_a_void_slot_to_none() -> None:
    lines = [
        *ledger([Slot((5,), accepted=True)]),
        LedgerLine(number=9, at=AT, kind=LineKind.JUDGE, slot=1, usd=Decimal("2E-9")),
        LedgerLine(number=9, at=AT, kind=LineKind.JUDGE, slot=2, usd=Decimal("4E-9")),
        LedgerLine(number=9, at=AT, kind=LineKind.JUDGE, usd=Decimal("8E-9")),
        LedgerLine(number=9, at=AT, kind=LineKind.CALL, slot=3, call=7, outcome=Outcome.UNBILLED),
    ]

    totals = LedgerTotals.of(lines)

    assert totals.by_slot.trail == ((7, True),)
    assert totals.spend_usd == Decimal("19E-9")


def test_the_trail_is_in_the_order_of_slots_not_of_lines() -> None:
    lines = ledger([Slot((5,), accepted=False), Slot((6,), accepted=True)])

    assert LedgerTotals.of(reversed(lines)).by_slot.trail == ((5, False), (6, True))


def test_only_the_first_slots_are_kept_one_by_one() -> None:
    extra = 1_000
    lines = ledger(Slot((number + 1,), accepted=True) for number in range(TRAIL_SLOTS + extra))

    tracemalloc.start()
    totals = LedgerTotals.of(lines)
    kept_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert totals.by_slot.slots == TRAIL_SLOTS + extra
    assert len(totals.by_slot.trail) == TRAIL_SLOTS
    assert totals.by_slot.trail[-1].nano_usd == TRAIL_SLOTS
    assert kept_bytes < TRAIL_SLOTS * 150


def test_totals_with_their_slots_are_a_value() -> None:
    totals = LedgerTotals.of(ledger([Slot((5,), accepted=True), Slot((6, 7), accepted=False)]))

    copy: LedgerTotals = pickle.loads(pickle.dumps(totals))  # noqa: S301 - our own bytes

    assert copy == totals
    assert hash(copy) == hash(totals)
    assert "trail" not in repr(totals)
