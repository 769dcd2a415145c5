"""When the provider is down."""

from __future__ import annotations

import pytest

from nanobatch.policy import OutageBreaker


@pytest.mark.parametrize(("concurrency", "limit"), [(1, 50), (16, 50), (17, 51), (100, 300)])
def test_an_outage_is_fifty_faults_or_three_rounds_without_a_success(
    concurrency: int, limit: int
) -> None:
    breaker = OutageBreaker(concurrency=concurrency)

    answers = [breaker.failed() for _ in range(limit)]

    assert answers == [False] * (limit - 1) + [True]


def test_one_success_begins_the_count_anew() -> None:
    breaker = OutageBreaker(concurrency=1)
    early = [breaker.failed() for _ in range(49)]

    breaker.succeeded()

    assert not any(early)
    assert [breaker.failed() for _ in range(50)] == [False] * 49 + [True]
