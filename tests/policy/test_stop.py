"""When a prompt does not deserve another call; caps worked out by hand."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest

from nanobatch.errors import ConfigError
from nanobatch.policy import StopRule
from nanobatch.policy.prompts import GoodPrompts, fit_good_prompts


@pytest.mark.parametrize(
    ("passing", "cap"),
    [(0, 6), (1, 12), (2, 18), (10, 66)],
)
def test_every_passing_candidate_earns_six_more_slots(passing: int, cap: int) -> None:
    assert StopRule().cap(passing=passing, wanted=1) == cap
    assert StopRule().cap(passing=passing, wanted=100) == cap


def test_the_number_of_slots_per_accepted_can_be_chosen() -> None:
    assert StopRule(slots_per_accepted=1).cap(passing=0, wanted=5) == 1
    assert StopRule(slots_per_accepted=4).cap(passing=2, wanted=5) == 12


@pytest.mark.parametrize(("wanted", "cap"), [(1, 3), (4, 12)])
def test_want_times_counts_what_is_wanted_and_not_what_passes(wanted: int, cap: int) -> None:
    rule = StopRule.want_times(3)

    assert rule.cap(passing=0, wanted=wanted) == cap
    assert rule.cap(passing=7, wanted=wanted) == cap
    assert rule.hopeless_slots == 30


@pytest.mark.parametrize("name", ["slots_per_accepted", "hopeless_slots", "slots_per_want"])
@pytest.mark.parametrize("value", [0, -3])
def test_a_number_below_one_is_refused(name: str, value: int) -> None:
    wrong: dict[str, Any] = {name: value}

    with pytest.raises(ConfigError, match=rf"StopRule\({name}={value}\): it must be at least 1"):
        StopRule(**wrong)


def test_want_times_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="slots_per_want=0"):
        StopRule.want_times(0)


@dataclass(frozen=True)
class _Job:
    slots: int
    images: tuple[int, ...]


@dataclass(frozen=True)
class _Checkpoint:
    """What `StopRule.fit` reads of one."""

    tallies: list[tuple[int, int]]

    def jobs(self) -> list[_Job]:
        return [_Job(slots, tuple(range(accepted))) for slots, accepted in self.tallies]


def _batch(
    alpha: float, beta: float, *, prompts: int, hopeless: int, seed: int
) -> list[tuple[int, int]]:
    """Run prompts of one to four images under the default rule; some of them never pass."""
    dice = random.Random(seed)
    rates = [dice.betavariate(alpha, beta) for _ in range(prompts)] + [0.0] * hopeless
    tallies: list[tuple[int, int]] = []
    for rate in rates:
        want, slots, accepted = dice.randint(1, 4), 0, 0
        while accepted < want and slots < 6 * (accepted + 1):
            slots += 1
            accepted += dice.random() < rate
        tallies.append((slots, accepted))
    return tallies


@pytest.mark.parametrize(
    ("alpha", "beta", "cap"),
    # The smallest c with (b/(a+b)) ((b+1)/(a+b+1)) ... <= 1 %, by hand.
    [(7, 3, 6), (9, 1, 3), (21, 9, 5), (6, 4, 8)],
)
@pytest.mark.parametrize("seed", range(4))
def test_a_fitted_cap_is_near_what_the_true_rates_ask_for(
    alpha: float, beta: float, cap: int, seed: int
) -> None:
    batch = _batch(alpha, beta, prompts=400, hopeless=40, seed=seed)

    rule = StopRule.fit(_Checkpoint(batch))

    assert abs(rule.slots_per_accepted - cap) <= (1 if cap < 8 else 2)
    assert rule.hopeless_slots == 30


@pytest.mark.parametrize("hopeless", [0, 100, 400])
def test_hopeless_prompts_do_not_make_the_rule_more_patient(hopeless: int) -> None:
    batch = _batch(7, 3, prompts=400, hopeless=hopeless, seed=1)

    assert StopRule.fit(_Checkpoint(batch)).slots_per_accepted in (5, 6)


def test_prompts_that_always_pass_get_three_slots_and_rare_passes_twelve() -> None:
    always, rarely = [(1, 1)] * 200, [(20, 3), (9, 1), (12, 1)] * 60

    assert StopRule.fit(_Checkpoint(always)).slots_per_accepted == 3
    assert StopRule.fit(_Checkpoint(rarely)).slots_per_accepted == 12


@pytest.mark.parametrize("prompts", [0, 19])
def test_too_few_prompts_give_the_default_and_a_warning(prompts: int) -> None:
    untouched = [(0, 0)] * 50

    with pytest.warns(UserWarning, match=f"Only {prompts} prompts have an accepted image, 20 are"):
        rule = StopRule.fit(_Checkpoint([(2, 1)] * prompts + untouched))

    assert rule == StopRule()


def test_the_chance_of_a_streak_of_failures_worked_out_by_hand() -> None:
    good = GoodPrompts(mean=0.7, strength=10, hopeless=0.1)

    assert good.failing(0) == 1
    assert good.failing(1) == pytest.approx(0.3)
    assert good.failing(2) == pytest.approx(0.3 * 4 / 11)
    assert good.failing(6) == pytest.approx(3 * 4 * 5 * 6 * 7 * 8 / (10 * 11 * 12 * 13 * 14 * 15))


def test_the_share_of_hopeless_prompts_is_found() -> None:
    fitted = fit_good_prompts(_batch(7, 3, prompts=800, hopeless=200, seed=3))

    assert fitted.hopeless == pytest.approx(0.2, abs=0.03)
    assert fitted.mean == pytest.approx(0.7, abs=0.03)
