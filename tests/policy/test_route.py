"""Which tier draws next; indices worked out by hand, and the same formula solved another way."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobatch.models import Tier
from nanobatch.policy import Lesson, Prior, Router, SlotsBill, Tally

if TYPE_CHECKING:
    import random

LITE, QUALITY = Tier.LITE, Tier.QUALITY
FOUR_TIMES = {LITE: 33_600_000, QUALITY: 134_400_000}
TWICE = {LITE: 33_600_000, QUALITY: 67_200_000}

tags = st.sampled_from(["hands", "sky", ""])
lessons = st.builds(
    lambda tag, tier, slots, share: Lesson(
        tag=tag, tier=tier, slots=slots, passed=round(share * slots)
    ),
    tags,
    st.sampled_from(Tier),
    st.integers(1, 40),
    st.floats(0, 1),
)
owns = st.dictionaries(
    st.sampled_from(Tier),
    st.integers(0, 12).flatmap(lambda n: st.builds(Tally, st.just(n), st.integers(0, n))),
)


def _router(*learnt: Lesson | SlotsBill) -> Router:
    router = Router()
    for one in learnt:
        router.learn(one)
    return router


def _failures(slots: int, *, tag: str = "hands", tier: Tier = LITE) -> Lesson:
    return Lesson(tag=tag, tier=tier, slots=slots, passed=0)


def _upper_root(passed: float, slots: float) -> float:
    """Return the larger p with (passed/slots - p)^2 = p (1 - p) / slots: Wilson's limit, z = 1."""
    a, b, c = slots + 1, -(2 * passed + 1), passed * passed / slots
    return (-b + sqrt(b * b - 4 * a * c)) / (2 * a)


def _restated(learnt: list[Lesson], tag: str, tier: Tier, own: Tally | None) -> float:
    pool = [one for one in learnt if one.tier is tier]
    seen = [one for one in pool if one.tag == tag]
    prior = {LITE: 0.7, QUALITY: 0.9}[tier]
    hopes = (2 * prior + sum(one.passed for one in pool)) / (2 + sum(one.slots for one in pool))
    limit = _upper_root(
        3 * hopes + sum(one.passed for one in seen), 3 + sum(one.slots for one in seen)
    )
    return (6 * min(limit, 1) + (own.passed if own else 0)) / (6 + (own.slots if own else 0))


def test_before_anything_is_measured_the_cheap_tier_looks_cheaper() -> None:
    index = Router().index("hands", listed_nano=FOUR_TIMES)

    # Lite: 2.1 of 3, so (0.7 + 1/6 + sqrt(0.07 + 1/36)) / (4/3) = 0.88451.
    # Quality: 2.7 of 3, so (0.9 + 1/6 + sqrt(0.03 + 1/36)) / (4/3) = 0.98028.
    assert index[LITE] == pytest.approx(0.0336 / 0.88451, rel=1e-4)
    assert index[QUALITY] == pytest.approx(0.1344 / 0.98028, rel=1e-4)
    assert Router().choose("hands", listed_nano=FOUR_TIMES) is LITE


def test_a_tag_that_fails_on_lite_goes_to_quality_and_another_tag_still_tries() -> None:
    router = _router(_failures(25))

    assert router.choose("hands", listed_nano=FOUR_TIMES) is QUALITY
    # Pool: 1.4 of 27. The other tag: 3 x 0.051852 of 3 slots, so 0.3216, and 0.0336 / 0.3216.
    assert router.index("sky", listed_nano=FOUR_TIMES)[LITE] == pytest.approx(0.10447, rel=1e-3)
    assert router.choose("sky", listed_nano=FOUR_TIMES) is LITE


def test_a_prompt_of_an_easy_tag_that_keeps_failing_moves_on_alone() -> None:
    router = _router(Lesson(tag="sky", tier=LITE, slots=40, passed=36))
    own = {LITE: Tally(slots=6, passed=0)}

    assert router.choose("sky", listed_nano=TWICE) is LITE
    assert router.choose("sky", listed_nano=TWICE, own=own) is QUALITY


def test_a_measured_rate_of_the_config_takes_the_place_of_the_hope() -> None:
    router = Router({LITE: Prior(accept=0.2, calls_per_slot=1.1)})

    # 0.6 of 3: (0.2 + 1/6 + sqrt(0.16 / 3 + 1/36)) / (4/3) = 0.48860.
    assert router.rate("any", LITE) == pytest.approx(0.48860, rel=1e-4)
    assert router.usd_per_slot(LITE, listed_nano=33_600_000) == pytest.approx(0.0336 * 1.1)
    assert router.rate("any", QUALITY) == pytest.approx(0.98028, rel=1e-4)


def test_what_slots_did_cost_is_scaled_to_the_size_of_the_job() -> None:
    eight = SlotsBill(tier=LITE, slots=8, usd_nano=8 * 50_400_000, listed_nano=8 * 33_600_000)
    router = Router({LITE: Prior(accept=0.7, calls_per_slot=1.08)})

    router.learn(eight)

    ratio = (2 * 1.08 + 8 * 1.5) / 10
    for listed in (33_600_000, 100_800_000):
        usd = router.usd_per_slot(LITE, listed_nano=listed)
        assert usd == pytest.approx(listed / 1e9 * ratio)


def test_a_dear_judge_or_thinking_can_turn_the_choice() -> None:
    dear = SlotsBill(tier=LITE, slots=100, usd_nano=100 * 200_000_000, listed_nano=100 * 33_600_000)

    assert _router(dear).choose("any", listed_nano=FOUR_TIMES) is QUALITY


def test_of_two_free_tiers_the_one_that_passes_more_is_taken() -> None:
    free = {LITE: 0, QUALITY: 0}

    assert Router().choose("any", listed_nano=free) is QUALITY
    assert _router(_failures(9, tier=QUALITY)).choose("hands", listed_nano=free) is LITE


def test_the_last_slot_may_be_a_little_dearer_if_it_is_likelier_to_pass() -> None:
    router = _router(
        Lesson(tag="sky", tier=LITE, slots=1000, passed=600),
        Lesson(tag="sky", tier=QUALITY, slots=1000, passed=960),
    )
    dear = {LITE: TWICE[LITE], QUALITY: 5 * TWICE[QUALITY] // 4}
    index = router.index("sky", listed_nano=dear)

    # 0.0336 / 0.6155 = 0.0546 and 0.0840 / 0.9656 = 0.0870: a factor of 1.59, above 1.5.
    assert index[QUALITY] / index[LITE] == pytest.approx(1.59, abs=0.01)
    assert router.choose("sky", listed_nano=dear, is_last=True) is LITE
    own = {LITE: Tally(slots=1, passed=0)}  # 0.0336 / 0.5276 = 0.0637: a factor of 1.37
    assert router.choose("sky", listed_nano=dear, own=own) is LITE
    assert router.choose("sky", listed_nano=dear, own=own, is_last=True) is QUALITY


@pytest.mark.parametrize("tier", list(Tier))
def test_the_only_tier_there_is_draws_everything(tier: Tier) -> None:
    router = _router(_failures(50, tier=tier))

    assert router.choose("hands", listed_nano={tier: 1}) is tier
    assert router.choose("hands", listed_nano={tier: 1}, is_last=True) is tier


@given(st.lists(lessons, max_size=8), tags, owns)
def test_the_index_is_price_over_the_optimistic_rate(
    learnt: list[Lesson], tag: str, own: dict[Tier, Tally]
) -> None:
    index = _router(*learnt).index(tag, listed_nano=TWICE, own=own)

    for tier, usd in ((LITE, 0.0336), (QUALITY, 0.0672)):
        rate = _restated(learnt, tag, tier, own.get(tier))
        assert index[tier] == pytest.approx(usd / max(rate, 1e-9))


@given(st.lists(lessons, max_size=8), tags, owns, st.sampled_from(Tier))
def test_a_pass_never_makes_a_tier_look_dearer_and_a_failure_never_cheaper(
    learnt: list[Lesson], tag: str, own: dict[Tier, Tally], tier: Tier
) -> None:
    before = _router(*learnt).index(tag, listed_nano=TWICE, own=own)

    for passed in (0, 1):
        one = Lesson(tag=tag, tier=tier, slots=1, passed=passed)
        after = _router(*learnt, one).index(tag, listed_nano=TWICE, own=own)
        tally = own.get(tier, Tally())
        of_its_own = {**own, tier: Tally(tally.slots + 1, tally.passed + passed)}
        for changed in (
            after,
            _router(*learnt).index(tag, listed_nano=TWICE, own=of_its_own),
        ):
            sign = 1 if passed else -1
            assert sign * changed[tier] <= sign * before[tier] * (1 + sign * 1e-12)
            assert all(changed[other] == before[other] for other in Tier if other is not tier)


@given(st.lists(lessons, max_size=8), tags, owns, st.randoms(use_true_random=False))
def test_the_order_of_lessons_changes_nothing(
    learnt: list[Lesson], tag: str, own: dict[Tier, Tally], dice: random.Random
) -> None:
    shuffled = dice.sample(learnt, len(learnt))

    first, second = _router(*learnt), _router(*shuffled)

    assert first == second
    assert first.index(tag, listed_nano=TWICE, own=own) == second.index(
        tag, listed_nano=TWICE, own=own
    )


@given(st.lists(lessons, max_size=5), lessons, st.integers(1, 9))
def test_what_is_unlearnt_leaves_no_trace(learnt: list[Lesson], one: Lesson, priced: int) -> None:
    router = _router(*learnt)
    bill = SlotsBill(tier=one.tier, slots=priced, usd_nano=priced * 7, listed_nano=priced * 5)

    for evidence in (one, bill):
        router.learn(evidence)
    for evidence in (one, bill):
        router.unlearn(evidence)

    assert router == _router(*learnt)
    assert router != _router(*learnt, one)


def test_a_router_says_how_much_it_has_learnt() -> None:
    router = _router(_failures(3), _failures(4, tag="sky", tier=QUALITY))

    assert repr(router) == "Router(7 slots of 2 tags)"
