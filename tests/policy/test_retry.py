"""How long a call waits before it is tried again."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobatch.errors import ConfigError
from nanobatch.policy import Retry
from nanobatch.policy.retry import at_least


def test_three_tries_have_two_waits_of_at_most_one_and_two_seconds() -> None:
    random.seed(5)
    waits = [tuple(Retry().waits()) for _ in range(300)]

    assert {len(one) for one in waits} == {2}
    assert all(0 <= first <= 1 and 0 <= second <= 2 for first, second in waits)
    # Full jitter uses the whole range: 300 draws reach both ends.
    assert min(first for first, _ in waits) < 0.1
    assert max(first for first, _ in waits) > 0.9
    assert min(second for _, second in waits) < 0.2
    assert max(second for _, second in waits) > 1.8


def test_one_try_never_waits() -> None:
    assert list(Retry(tries=1).waits()) == []


@given(
    tries=st.integers(1, 40),
    first=st.floats(0.001, 100),
    most=st.floats(0.001, 100),
)
def test_waits_double_up_to_the_largest(tries: int, first: float, most: float) -> None:
    waits = list(Retry(tries=tries, first_wait_seconds=first, max_wait_seconds=most).waits())

    assert len(waits) == tries - 1
    for number, wait in enumerate(waits):
        assert 0 <= wait <= min(most, first * 2**number)


def test_every_call_has_waits_of_its_own() -> None:
    retry = Retry()
    first, second = retry.waits(), retry.waits()
    list(first)

    assert len(list(second)) == 2


@pytest.mark.parametrize("tries", [0, -1])
def test_no_try_at_all_is_refused(tries: int) -> None:
    with pytest.raises(ConfigError, match=rf"Retry\(tries={tries}\): at least 1"):
        Retry(tries=tries)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["first_wait_seconds", "max_wait_seconds"])
def test_a_wait_that_is_none_is_refused(name: str, seconds: float) -> None:
    wrong: dict[str, Any] = {name: seconds}

    with pytest.raises(ConfigError, match=rf"Retry\({name}="):
        Retry(**wrong)


def test_without_a_wish_of_the_server_the_wait_stays() -> None:
    assert at_least(0.4, None) == 0.4


@given(wait=st.floats(0, 100), asked=st.floats(0, 10_000))
def test_the_wait_is_never_below_what_the_server_asked_and_spread_by_at_most_a_second(
    wait: float, asked: float
) -> None:
    seconds = at_least(wait, asked)

    assert seconds >= max(wait, asked)
    assert seconds <= max(wait, asked + min(1.0, asked / 10))


def test_those_who_were_told_the_same_number_do_not_come_back_together() -> None:
    random.seed(6)

    assert len({at_least(0, 30) for _ in range(100)}) > 90
