"""How likely a further slot is one too many; counted out by hand and by brute force."""

from __future__ import annotations

from itertools import product
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobatch.policy import chance_of


@pytest.mark.parametrize(
    ("passing", "rates", "chance"),
    [
        (0, [], 1.0),
        (1, [], 0.0),
        (1, [0.7], 0.7),
        (1, [0.5, 0.5], 0.75),
        (2, [0.7, 0.7, 0.7], 0.784),  # 3 x 0.49 x 0.3 + 0.343
        (2, [0.2, 0.9], 0.18),
        (3, [1.0, 1.0], 0.0),
    ],
)
def test_chances_worked_out_by_hand(passing: int, rates: list[float], chance: float) -> None:
    assert chance_of(passing, rates) == pytest.approx(chance)


@given(st.integers(0, 7), st.lists(st.floats(0, 1), max_size=7))
def test_it_is_the_sum_over_all_outcomes(passing: int, rates: list[float]) -> None:
    by_force = sum(
        prod(rate if passes else 1 - rate for rate, passes in zip(rates, outcome, strict=True))
        for outcome in product((True, False), repeat=len(rates))
        if sum(outcome) >= passing
    )

    assert chance_of(passing, rates) == pytest.approx(by_force, abs=1e-9)
