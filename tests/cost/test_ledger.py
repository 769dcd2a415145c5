from __future__ import annotations

import pickle
import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from nanobatch.cost import LedgerLine, LedgerTotals, LineKind, Outcome, Stage
from nanobatch.models import Tier

if TYPE_CHECKING:
    from collections.abc import Iterator

AT = datetime(2026, 11, 24, tzinfo=UTC)


def line(kind: LineKind, **fields: Any) -> LedgerLine:
    return LedgerLine(number=1, at=AT, kind=kind, **fields)


def call(
    number: int, outcome: Outcome, *, slot: int = 1, usd: str = "0", unknown_usd: str = "0"
) -> LedgerLine:
    return line(
        LineKind.CALL,
        slot=slot,
        call=number,
        outcome=outcome,
        usd=Decimal(usd),
        unknown_usd=Decimal(unknown_usd),
    )


def want(job_id: str, change: int) -> LedgerLine:
    return line(LineKind.WANT, job_id=job_id, want=change)


def accepted(job_id: str, slot: int) -> LedgerLine:
    return line(LineKind.ACCEPTED, job_id=job_id, slot=slot)


def test_no_lines_add_up_to_nothing_and_nothing_wanted_is_filled() -> None:
    totals = LedgerTotals.of([])

    assert totals == LedgerTotals()
    assert totals.spend_usd == 0
    assert totals.fill_rate == 1.0


def test_a_regenerated_slot_is_one_slot_of_two_calls() -> None:
    totals = LedgerTotals.of(
        [call(1, Outcome.BILLED, usd="0.0336"), call(2, Outcome.BILLED, usd="0.0337")]
    )

    assert (totals.slots, totals.calls) == (1, 2)
    assert totals.generation_usd == Decimal("0.0673")


def test_a_slot_of_unbilled_failures_only_is_void() -> None:
    totals = LedgerTotals.of([call(1, Outcome.UNBILLED), call(2, Outcome.UNBILLED)])

    assert (totals.slots, totals.calls) == (0, 0)
    assert totals.spend_usd == 0


def test_a_call_of_unknown_outcome_is_money_at_risk_but_neither_slot_nor_call() -> None:
    totals = LedgerTotals.of([call(1, Outcome.UNKNOWN, unknown_usd="0.1229")])

    assert (totals.slots, totals.calls) == (0, 0)
    assert totals.spend_usd == 0
    assert totals.unknown_usd == Decimal("0.1229")


def test_settling_an_unknown_call_as_billed_puts_it_into_slots_and_calls() -> None:
    totals = LedgerTotals.of(
        [
            call(1, Outcome.UNKNOWN, unknown_usd="0.1229"),
            call(1, Outcome.BILLED, usd="0.0336", unknown_usd="-0.1229"),
        ]
    )

    assert (totals.slots, totals.calls) == (1, 1)
    assert totals.spend_usd == Decimal("0.0336")
    assert totals.unknown_usd == 0


def test_settling_an_unknown_call_as_free_leaves_nothing() -> None:
    totals = LedgerTotals.of(
        [
            call(1, Outcome.UNKNOWN, unknown_usd="0.1229"),
            call(1, Outcome.UNBILLED, unknown_usd="-0.1229"),
        ]
    )

    assert totals == LedgerTotals()


def test_the_last_line_of_a_call_decides_even_against_an_earlier_bill() -> None:
    totals = LedgerTotals.of(
        [
            call(1, Outcome.BILLED, unknown_usd="0.1229"),
            call(2, Outcome.BILLED, usd="0.0336"),
            call(1, Outcome.UNBILLED, unknown_usd="-0.1229"),
        ]
    )

    assert (totals.slots, totals.calls) == (1, 1)


def test_an_answer_without_usage_is_a_call_whose_money_is_unknown() -> None:
    totals = LedgerTotals.of([call(1, Outcome.BILLED, unknown_usd="0.1229")])

    assert (totals.slots, totals.calls) == (1, 1)
    assert totals.spend_usd == 0
    assert totals.unknown_usd == Decimal("0.1229")


def test_judgements_are_other_money() -> None:
    judged = line(LineKind.JUDGE, slot=1, usd=Decimal("0.002"))

    totals = LedgerTotals.of([call(1, Outcome.BILLED, usd="0.0336"), judged, judged])

    assert (totals.generation_usd, totals.other_usd) == (Decimal("0.0336"), Decimal("0.004"))
    assert totals.spend_usd == Decimal("0.0376")


def test_an_accepted_image_that_is_lost_is_accepted_no_more_and_its_cost_stays() -> None:
    lost = line(LineKind.LOST, job_id="fox", slot=1)
    lines = [
        want("fox", 2),
        call(1, Outcome.BILLED, usd="0.0336"),
        call(2, Outcome.BILLED, slot=2, usd="0.0336"),
        accepted("fox", 1),
        accepted("fox", 2),
        lost,
    ]

    totals = LedgerTotals.of(lines)
    twice = LedgerTotals.of([*lines, lost])

    assert (totals.slots, totals.accepted, totals.delivered) == (2, 1, 1)
    assert totals.spend_usd == Decimal("0.0672")
    assert twice == totals


def test_a_slot_is_accepted_at_most_once() -> None:
    totals = LedgerTotals.of([want("fox", 2), accepted("fox", 7), accepted("fox", 7)])

    assert (totals.accepted, totals.delivered) == (1, 1)


def test_surplus_of_one_job_fills_no_other_job() -> None:
    totals = LedgerTotals.of(
        [
            want("fox", 1),
            want("owl", 3),
            accepted("fox", 1),
            accepted("fox", 2),
            accepted("owl", 3),
        ]
    )

    assert (totals.accepted, totals.delivered, totals.wanted) == (3, 2, 4)
    assert totals.fill_rate == 0.5


def test_a_want_that_changed_counts_as_it_stands_now() -> None:
    totals = LedgerTotals.of(
        [accepted("fox", 1), want("fox", 4), want("fox", -2), want("owl", 3), want("owl", -3)]
    )

    assert (totals.wanted, totals.delivered) == (2, 1)


def test_a_want_below_nothing_takes_nothing_from_other_jobs() -> None:
    totals = LedgerTotals.of([want("fox", -2), want("owl", 1), accepted("owl", 1)])

    assert (totals.wanted, totals.delivered) == (1, 1)


def test_accepted_images_nobody_wants_are_accepted_but_not_delivered() -> None:
    totals = LedgerTotals.of([accepted("fox", 1)])

    assert (totals.accepted, totals.delivered, totals.fill_rate) == (1, 0, 1.0)


@pytest.mark.parametrize("missing", ["call", "slot", "outcome"])
def test_a_call_line_that_lacks_what_it_must_name_is_refused(missing: str) -> None:
    fields: dict[str, Any] = {"call": 1, "slot": 1, "outcome": Outcome.BILLED, missing: None}

    with pytest.raises(ValueError, match=r"^Ledger line 1 is a call, but lacks"):
        LedgerTotals.of([line(LineKind.CALL, **fields)])


def test_an_accepted_line_without_its_slot_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Ledger line 1 accepts an image, but lacks its slot"):
        LedgerTotals.of([line(LineKind.ACCEPTED, job_id="fox")])


def test_money_is_summed_to_the_last_digit() -> None:
    totals = LedgerTotals.of(
        [
            call(1, Outcome.BILLED, usd="1000000000000000000"),
            call(2, Outcome.BILLED, usd="0.000000000000001"),
            line(LineKind.JUDGE, usd=Decimal("0.000000000000000000001")),
        ]
    )

    assert totals.spend_usd == Decimal("1000000000000000000.000000000000001000001")


def test_lines_are_read_one_at_a_time_and_not_kept() -> None:
    def corrections(count: int) -> Iterator[LedgerLine]:
        for number in range(count):
            yield LedgerLine(
                number=number,
                at=AT,
                kind=LineKind.CALL,
                slot=1,
                call=1,
                outcome=Outcome.BILLED,
                usd=Decimal("0.0001"),
            )

    tracemalloc.start()
    totals = LedgerTotals.of(corrections(20_000))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (totals.calls, totals.spend_usd) == (1, Decimal(2))
    assert peak_bytes < 200_000  # 20,000 kept lines of about 200 bytes would be 4 MB


def test_a_line_survives_pickling() -> None:
    before = line(LineKind.CALL, slot=1, stage=Stage.FINISH, tier=Tier.QUALITY, call=1)

    after: LedgerLine = pickle.loads(pickle.dumps(before))  # noqa: S301 - our own bytes

    assert after == before
