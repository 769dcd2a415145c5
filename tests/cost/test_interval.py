from __future__ import annotations

from functools import cache
from math import inf, sqrt

import pytest

from nanobatch.cost.interval import (
    anytime_quantile,
    cost_limits,
    damped,
    least_cost,
    live_limits,
    luck_limits,
    quantile,
    wilson_limits,
)

Z = 1.959963984540054


def test_the_quantiles_are_those_of_the_normal_distribution_and_of_its_mixture() -> None:
    assert quantile(0.95) == pytest.approx(Z)
    # z_any of the reference page
    assert [anytime_quantile(n, 0.95) for n in (10, 20, 50, 200)] == pytest.approx(
        [3.3638877258, 3.1237790917, 3.0352089904, 3.1271141437]
    )


@pytest.mark.parametrize("rate", [0.02, 0.2, 0.5, 0.7, 0.95])
def test_live_bounds_of_a_rate_hold_at_every_look_in_95_paths_of_100(rate: float) -> None:
    bounds = cache(lambda hits, slots: live_limits(hits / slots, slots, 0.95))

    # The chance of every number of hits among the paths that were never wrong, slot by slot.
    chances = {0: 1.0}
    for slots in range(1, 201):
        after: dict[int, float] = {}
        for hits, chance in chances.items():
            after[hits] = after.get(hits, 0.0) + chance * (1 - rate)
            after[hits + 1] = after.get(hits + 1, 0.0) + chance * rate
        chances = {
            hits: chance
            for hits, chance in after.items()
            if bounds(hits, slots)[0] <= rate <= bounds(hits, slots)[1]
        }

    assert sum(chances.values()) >= 0.95


@pytest.mark.parametrize("q", [0.1, 0.88])
def test_the_bets_behind_a_live_bound_are_no_better_on_a_mean_than_on_a_rate(q: float) -> None:
    # (q/p)^y ((1-q)/(1-p))^(1-y) for a y that is 0, 1/2 or 1 with mean p: below 1 on average
    p = 0.4

    def factor(y: float) -> float:
        return float((q / p) ** y * ((1 - q) / (1 - p)) ** (1 - y))

    assert 0.3 * factor(0) + 0.6 * factor(0.5) + 0.1 * factor(1) < 1


def test_no_slots_leave_a_rate_anywhere() -> None:
    assert wilson_limits(0.0, 0, Z) == live_limits(0.0, 0, 0.95) == (0, 1)
    assert least_cost(slots=0, relative_variance=1.0, z=Z) == 0


def mover(rate: float, slots: int, variance: float, correlation: float) -> tuple[float, float]:
    """MOVER for the ratio of two correlated means, written down once more."""
    below, above = (abs(bound - rate) for bound in wilson_limits(rate, slots, Z))
    error = Z * sqrt(variance / slots)

    def root(distance: float, sign: int) -> float:
        b = rate - correlation * error * distance
        a, c = rate**2 - distance**2, 1 - error**2
        return (b + sign * sqrt(b**2 - a * c)) / a * rate

    return root(above, -1), root(below, 1)


def test_a_link_that_widens_the_bounds_counts_in_full() -> None:
    # standard deviations sqrt(0.2) and sqrt(0.21 x 50/49): correlation -0.05 / (their product)
    correlation = -0.05 / sqrt(0.2 * 0.21 * 50 / 49)

    found = cost_limits(rate=0.7, slots=50, relative_variance=0.2, covariance=-0.05, z=Z)

    assert found == pytest.approx(mover(0.7, 50, 0.2, correlation))


def test_a_link_that_narrows_the_bounds_is_damped_by_as_many_slots_as_wilson_adds() -> None:
    correlation = 0.15 / sqrt(0.2 * 0.21 * 50 / 49) * 50 / (50 + Z**2)

    found = cost_limits(rate=0.7, slots=50, relative_variance=0.2, covariance=0.15, z=Z)

    assert found == pytest.approx(mover(0.7, 50, 0.2, correlation))
    assert damped(-0.15, 50, Z) == -0.15
    assert damped(0.15, 0, Z) == 0


def test_slots_that_are_accepted_if_and_only_if_they_are_dear_leave_a_cost_some_room() -> None:
    # 9 slots at 1 accepted, 1 at 0 refused: every accepted image has cost exactly 1 so far
    found = cost_limits(rate=0.9, slots=10, relative_variance=1 / 9, covariance=0.1, z=Z)

    assert found[0] < 0.95
    assert found[1] > 1.05


def test_at_a_small_accept_rate_the_lower_bound_is_still_the_slot_over_the_upper_rate() -> None:
    _, most = wilson_limits(0.02, 50, Z)

    low, _ = cost_limits(rate=0.02, slots=50, relative_variance=0.0, covariance=0.0, z=Z)

    assert low == pytest.approx(0.02 / most)


def test_luck_is_nothing_where_every_slot_is_accepted_at_one_price() -> None:
    assert luck_limits(images=9, rate=1.0, relative_variance=0, covariance=0, z=Z) == (1, 1)


def test_the_luck_of_ever_more_images_narrows_as_the_root_of_their_number() -> None:
    def width(images: int) -> float:
        low, high = luck_limits(images=images, rate=0.5, relative_variance=0.1, covariance=0, z=Z)
        return high - low

    # 2 z sqrt(variance of slot cost - C x accepted, 0.1 + 1, over the images / rate)
    assert width(10**6) == pytest.approx(2 * Z * sqrt(1.1 / 2e6), rel=1e-6)
    assert width(10**6) == pytest.approx(width(10**8) * 10, rel=1e-4)
    assert width(1) < inf
