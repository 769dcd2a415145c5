"""When a prompt does not deserve another call; caps worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from nanobatch.errors import ConfigError
from nanobatch.policy import StopRule


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
