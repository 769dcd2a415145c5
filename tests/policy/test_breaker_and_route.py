"""When the provider is down, and which tier draws next."""

from __future__ import annotations

import pytest

from nanobatch.models import Tier
from nanobatch.policy import OutageBreaker, tier_for_slot

BOTH = frozenset({Tier.LITE, Tier.QUALITY})


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


def test_auto_draws_three_on_lite_and_then_on_quality() -> None:
    tiers = [tier_for_slot(used, eligible=BOTH) for used in range(5)]

    assert tiers == [Tier.LITE, Tier.LITE, Tier.LITE, Tier.QUALITY, Tier.QUALITY]


@pytest.mark.parametrize("tier", list(Tier))
def test_the_only_tier_there_is_draws_everything(tier: Tier) -> None:
    assert {tier_for_slot(used, eligible=frozenset({tier})) for used in range(9)} == {tier}
