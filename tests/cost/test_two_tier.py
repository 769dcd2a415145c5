"""Numbers worked out with the formulas beside them; Q and L are quality and Lite, k their USD."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from nanobatch.cost import break_even_accept_rate, two_tier_usd_per_accepted


def test_finishing_every_pick_costs_its_drafts_and_its_finish_over_the_finish_rate() -> None:
    usd = two_tier_usd_per_accepted(
        usd_per_draft_slot=1, pick_rate=0.7, usd_per_finish_slot=4, finish_accept_rate=0.95
    )

    # (1 / 0.7 + 4) / 0.95 = (38/7) / (19/20) = 40/7
    assert usd == Decimal("5.714285714285714285714285714")


def test_finishing_near_misses_can_be_cheaper_than_lite_alone() -> None:
    usd = two_tier_usd_per_accepted(
        usd_per_draft_slot=1,
        pick_rate="0.8",
        usd_per_finish_slot=4,
        finish_accept_rate="0.95",
        share_finished="0.75",
    )

    # Of 10 drafts 2 pass as they are and 6 near misses are finished: 0.8 picked, 0.75 of them
    # finished. (1 / 0.8 + 0.75 x 4) / (1 - 0.75 x 0.05) = 4.25 / 0.9625 = 340/77
    assert usd == Decimal("4.415584415584415584415584416")
    # Lite alone: k_L / a_L = 1 / 0.2
    assert usd < 5


def test_a_second_finish_slot_is_used_only_after_the_first_failed() -> None:
    usd = two_tier_usd_per_accepted(
        usd_per_draft_slot=1,
        pick_rate=0.5,
        usd_per_finish_slot=4,
        finish_accept_rate=0.5,
        max_finish_slots=2,
    )

    # m = 1 + 0.5 = 1.5 slots, finished = 1 - 0.25 = 0.75: (1 / 0.5 + 1.5 x 4) / 0.75 = 8 / 0.75
    assert usd == Decimal("10.66666666666666666666666667")


def test_drafts_delivered_after_a_failed_finish_lower_the_cost() -> None:
    usd = two_tier_usd_per_accepted(
        usd_per_draft_slot="0.0336",
        pick_rate="0.5",
        usd_per_finish_slot="0.134",
        finish_accept_rate="0.8",
        fallback_share=1,
    )

    # every pick ends as an image: 0.0336 / 0.5 + 0.134
    assert usd == Decimal("0.2012")


def test_finishing_nothing_is_lite_alone() -> None:
    usd = two_tier_usd_per_accepted(
        usd_per_draft_slot="0.036288",
        pick_rate="0.7",
        usd_per_finish_slot="0.134",
        finish_accept_rate="0.95",
        share_finished=0,
    )

    assert usd == Decimal("0.05184")


@pytest.mark.parametrize(
    ("price_ratio", "break_even"), [(4, "0.2375"), (2, "0.475"), (1, "0.95"), ("0.5", "1.9")]
)
def test_lite_breaks_even_at_the_quality_accept_rate_over_the_price_ratio(
    price_ratio: int | str, break_even: str
) -> None:
    rate = break_even_accept_rate(
        usd_per_slot=1, other_usd_per_slot=price_ratio, other_accept_rate=0.95
    )

    # a_Q k_L / k_Q = 0.95 / ratio
    assert rate == Decimal(break_even)


def test_at_the_break_even_of_finishing_both_ways_cost_the_same() -> None:
    # d = 1 / (rho (a_F / a_Q - 1)) = 1 / (4 (0.95 / 0.7 - 1)) = 0.7 for rho 4, a_Q 0.7, a_F 0.95
    two_tier = two_tier_usd_per_accepted(
        usd_per_draft_slot=1, pick_rate="0.7", usd_per_finish_slot=4, finish_accept_rate="0.95"
    )

    # quality alone: k_Q / a_Q = 4 / 0.7 = 40/7
    assert two_tier == Decimal(40) / Decimal(7)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("usd_per_draft_slot", -1),
        ("pick_rate", 0),
        ("pick_rate", 1.1),
        ("usd_per_finish_slot", "nan"),
        ("finish_accept_rate", 0),
        ("max_finish_slots", 0),
        ("max_finish_slots", 1.5),
        ("max_finish_slots", 1001),
        ("share_finished", -0.1),
        ("share_finished", 1.01),
        ("fallback_share", True),
    ],
)
def test_a_two_tier_argument_out_of_range_is_refused_by_name(name: str, value: object) -> None:
    arguments: dict[str, Any] = {
        "usd_per_draft_slot": 1,
        "pick_rate": 0.7,
        "usd_per_finish_slot": 4,
        "finish_accept_rate": 0.95,
        name: value,
    }

    with pytest.raises(ValueError, match=rf"^{name} is .*; it must be a "):
        two_tier_usd_per_accepted(**arguments)


@pytest.mark.parametrize(
    ("name", "value"),
    [("usd_per_slot", -1), ("other_usd_per_slot", 0), ("other_accept_rate", 0)],
)
def test_a_break_even_argument_out_of_range_is_refused_by_name(name: str, value: object) -> None:
    arguments: dict[str, Any] = {
        "usd_per_slot": 1,
        "other_usd_per_slot": 4,
        "other_accept_rate": 0.95,
        name: value,
    }

    with pytest.raises(ValueError, match=rf"^{name} is .*; it must be a "):
        break_even_accept_rate(**arguments)
