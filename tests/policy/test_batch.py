"""How much is ordered from batch jobs: against the figures of the reference simulation."""

from __future__ import annotations

from math import inf, nan

import pytest

from nanobatch import BatchOptions, ConfigError, Tier
from nanobatch.policy import Lesson, Router, Tally, expected_slots, slots_to_order

CERTAIN = 100_000
ACCEPT = {"passed": 0.7 * CERTAIN, "failed": 0.3 * CERTAIN}


@pytest.mark.parametrize(("needed", "slots"), [(0, 0), (1, 1), (2, 3), (3, 4), (4, 5), (300, 428)])
def test_the_last_order_is_the_median_rule(needed: int, slots: int) -> None:
    assert slots_to_order(needed, **ACCEPT, is_last=True) == slots


@pytest.mark.parametrize(("needed", "slots"), [(1, 1), (2, 2), (4, 4), (300, 402)])
def test_an_earlier_order_risks_next_to_no_surplus(needed: int, slots: int) -> None:
    assert slots_to_order(needed, **ACCEPT, is_last=False) == slots


def test_a_rate_known_from_fifty_slots_only_orders_less_before_the_last_round() -> None:
    assert slots_to_order(300, passed=36.4, failed=15.6, is_last=True) == 427
    assert slots_to_order(300, passed=36.4, failed=15.6, is_last=False) == 362


def test_an_order_for_what_next_to_never_passes_has_an_end() -> None:
    assert slots_to_order(2, passed=0.02, failed=100, is_last=True) == 12


@pytest.mark.parametrize(("rounds", "usd"), [(1, 1.80), (2, 1.55), (3, 1.47), (4, 1.44)])
def test_the_cost_of_an_image_in_batch_calls_is_that_of_the_reference(
    rounds: int, usd: float
) -> None:
    """Prompts that want 1 to 4 images at an accept rate of 0.7; a call at once costs two."""
    each = [expected_slots(want, rate=0.7, rounds=rounds) for want in (1, 2, 3, 4)]

    assert sum(batch + 2 * at_once for batch, at_once in each) / 10 == pytest.approx(usd, abs=0.03)


def test_a_single_image_is_topped_up_as_often_as_both_orders_fail() -> None:
    by_batch, at_once = expected_slots(1, rate=0.7, rounds=2)

    assert by_batch == pytest.approx(1 + 0.3)
    assert at_once == pytest.approx(0.3 * 0.3 / 0.7)


def test_what_always_passes_is_ordered_once() -> None:
    assert expected_slots(3, rate=1.0, rounds=2) == (3.0, 0.0)
    assert expected_slots(0, rate=0.5, rounds=2) == (0.0, 0.0)


@pytest.mark.parametrize(
    "options",
    [
        {"rounds": 0},
        {"poll_seconds": 0},
        {"poll_seconds": inf},
        {"poll_seconds": nan},
        {"max_wait_seconds": -1},
        {"max_wait_seconds": nan},
        {"shard_images": 0},
    ],
)
def test_options_that_cannot_be_meant_are_refused_by_name(options: dict[str, float]) -> None:
    (name,) = options

    with pytest.raises(ConfigError, match=rf"BatchOptions\({name}="):
        BatchOptions(**options)  # type: ignore[arg-type]  # one of them, of its type


def test_the_belief_in_a_rate_is_no_hope() -> None:
    """Ten slots of the tag, five of them passed, five of the job's own, none of them passed."""
    router = Router()
    router.learn(Lesson(tag="hands", tier=Tier.LITE, slots=10, passed=5))
    pool = (2 * 0.7 + 5) / (2 + 10)
    tag = (3 * pool + 5) / (3 + 10)

    passed, failed = router.belief("hands", Tier.LITE, Tally(slots=5, passed=0))

    assert passed == pytest.approx(6 * tag)
    assert failed == pytest.approx(6 * (1 - tag) + 5)
    assert passed / (passed + failed) < router.rate("hands", Tier.LITE, Tally(slots=5, passed=0))
