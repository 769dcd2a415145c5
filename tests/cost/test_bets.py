"""Bets on a difference between two tiers, with a stake of t = 7, 18, 35, 60 and 95 % a side."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobatch.cost.bets import STAKES, WIN, Bets, Odds
from nanobatch.cost.scatter import SlotOutcome

HUNDREDS = settings(max_examples=200, deadline=None, database=None)

BOTH, LITE_ONLY, QUALITY_ONLY = (True, True), (True, False), (False, True)


def settled(
    pairs: list[tuple[bool, bool]], *, lite_nano: int = 1, quality_nano: int = 1, **most: float
) -> Bets:
    bets = Bets(most_lite=most.get("lite"), most_quality=most.get("quality"))
    for lite, quality in pairs:
        bets.add(SlotOutcome(lite_nano, lite), SlotOutcome(quality_nano, quality))
    return bets


def test_wealth_is_the_product_of_what_each_pair_made_of_the_stakes() -> None:
    bets = settled([LITE_ONLY, LITE_ONLY], quality_nano=4, lite=2, quality=8)

    # z = 4 twice: a bet on Lite is multiplied by 1 + 4t/2, one on quality by 1 - 4t/8
    on_lite = sum((1 + 2 * t) ** 2 for t in STAKES)
    on_quality = sum((1 - t / 2) ** 2 for t in STAKES)
    assert bets.best == pytest.approx((on_lite + on_quality) / 10)
    assert bets.best_is_lite


def test_the_evidence_is_the_most_that_the_bets_have_been_worth() -> None:
    won = settled([QUALITY_ONLY] * 5, lite=1, quality=1)
    lost_again = settled([QUALITY_ONLY] * 5 + [LITE_ONLY] * 5, lite=1, quality=1)

    assert lost_again.best == won.best > 1
    assert not lost_again.best_is_lite


def test_a_tier_that_costs_the_same_slot_by_slot_moves_nothing() -> None:
    bets = settled([BOTH] * 50 + [(False, False)] * 50)

    assert bets.best == 1


def test_the_expected_wealth_of_a_tie_is_its_stake_whatever_came_before() -> None:
    # Lite accepts 1 of 2 at 1, quality 1 of 1 at 2: a tie. All 2^5 stories have the same chance.
    worth = 0.0
    for story in itertools.product([True, False], repeat=5):
        bets = settled([(lite, True) for lite in story], quality_nano=2, lite=1, quality=2)
        worth += sum(map(sum, bets._wealth)) / 10 / 2**5

    assert worth == pytest.approx(1)


def test_before_a_tier_has_three_slots_and_an_image_nothing_is_bet_on_it() -> None:
    assert settled([LITE_ONLY] * 3).best == 1
    assert settled([LITE_ONLY] * 4).best > 1
    # quality has no image: nothing is bet on it, and Lite has none either
    assert settled([(False, False)] * 10 + [LITE_ONLY]).best == 1


def test_a_bet_that_loses_more_than_it_has_is_out_for_good() -> None:
    bets = settled([BOTH] * 100)  # bounds: 1.1 + 4/100 times 1
    bets.add(SlotOutcome(1_000, accepted=False), SlotOutcome(1, accepted=True))

    on_lite, on_quality = bets._wealth
    assert on_lite == [0] * 5
    assert all(wealth > 1 for wealth in on_quality)


@HUNDREDS
@given(
    slots=st.lists(
        st.tuples(st.integers(0, 10**12), st.booleans(), st.integers(0, 10**12), st.booleans()),
        max_size=40,
    )
)
def test_wealth_is_never_negative_whatever_slots_cost(
    slots: list[tuple[int, bool, int, bool]],
) -> None:
    bets = Bets()

    for lite_nano, lite, quality_nano, quality in slots:
        bets.add(SlotOutcome(lite_nano, lite), SlotOutcome(quality_nano, quality))

    assert bets.best >= 1
    assert all(0 <= wealth < float("inf") for side in bets._wealth for wealth in side)


@HUNDREDS
@given(
    pairs=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60),
    factor=st.integers(2, 10**6),
)
def test_evidence_has_no_scale_and_is_the_same_for_tiers_that_trade_places(
    pairs: list[tuple[bool, bool]], factor: int
) -> None:
    bets = settled(pairs, lite_nano=3, quality_nano=5)
    dear = settled(pairs, lite_nano=3 * factor, quality_nano=5 * factor)
    swapped = settled([(quality, lite) for lite, quality in pairs], lite_nano=5, quality_nano=3)

    assert dear.best == pytest.approx(bets.best)
    assert swapped.best == pytest.approx(bets.best)


def test_how_many_pairs_it_takes_follows_from_the_mean_growth_of_the_bets() -> None:
    bets = Bets(most_lite=1, most_quality=1)

    pairs = bets.pairs_to_win(Odds(accept_rate=1, cost=1), Odds(accept_rate=0, cost=1))

    # Lite always accepted, quality never, at one price: each bet on Lite grows by 1 + t a pair,
    # and sum((1 + t)^n) first reaches 10 x 20 at n = 8: 1.95^8 = 209 (1.95^7 + ... = 107 + 27 + ...
    # = 147)
    assert pairs == 8
    assert settled([LITE_ONLY] * 7, lite=1, quality=1).best < WIN
    assert settled([LITE_ONLY] * 8, lite=1, quality=1).best >= WIN


@pytest.mark.parametrize(
    ("lite", "quality"),
    [
        (Odds(accept_rate=0.5, cost=1), Odds(accept_rate=0.5, cost=1)),
        (Odds(accept_rate=0.475, cost=1), Odds(accept_rate=0.95, cost=2)),
        (Odds(accept_rate=0.5, cost=1), Odds(accept_rate=0.501, cost=1)),
        (Odds(accept_rate=0, cost=1), Odds(accept_rate=0, cost=1)),
        (Odds(accept_rate=0.5, cost=0), Odds(accept_rate=0.9, cost=0)),
    ],
)
def test_ties_and_near_ties_are_never_settled(lite: Odds, quality: Odds) -> None:
    assert Bets().pairs_to_win(lite, quality) is None
