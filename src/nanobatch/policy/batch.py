"""How much to order at half price when the answer takes hours: not so much that a lot is left."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from math import comb, exp, lgamma

from nanobatch.errors import ConfigError

__all__ = ["BatchOptions", "expected_slots", "slots_to_order"]

ENOUGH_AT_LAST = 0.5
"""How likely the last round's order has to be enough: 1 - batch price / interactive price.

Source: the marginal rule of the newsvendor; a surplus image costs one batch call, a missing one a
call at twice the price. Reference page "Economics of a batch" 5, 2026-11 (simulated).
"""
ENOUGH_BEFORE = 0.02
"""The same for earlier rounds: what is missing then costs no more than now, so hardly any surplus
is worth its price. Source: as above."""

MOST_PER_IMAGE = 6
"""Most slots ordered per missing image: as many as the stop rule gives a prompt for its first."""

LARGE_WANT = 200
"""Images of one job above which surplus and top-up are below 2 % of its slots."""
CERTAIN = 10_000
"""Slots that make a belief in a rate next to certain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """How a run uses the provider's batch service: half the price, hours instead of seconds.

    ```python
    BatchOptions()  # two rounds, then what is missing at the full price
    BatchOptions(rounds=3, top_up=False)  # patience instead of money
    BatchOptions(max_wait_seconds=0)  # order, and leave: running again collects
    ```

    Raises:
        ConfigError: A number is out of range.

    Source: what rounds cost is simulated, reference page "Economics of a batch" 5, 2026-11, and
        measured by `nox -s economics`.
    """

    rounds: int = 2
    """Orders a job may place for candidates, and as many for finishes; each waits for the one
    before. 1 or more; two cost 8 % more than the cheapest possible, each further one saves some of
    that and takes up to another day."""

    top_up: bool = True
    """Whether what is missing after the last round is drawn at once, at the full price; if not,
    such jobs stay pending."""

    poll_seconds: float = 30.0
    """Seconds between two looks at the batch jobs, above 0."""

    max_wait_seconds: float | None = None
    """After how long a run ends as `waiting` if batch jobs are still on their way; running again
    collects them. `None`: it waits until all is done."""

    shard_images: int | None = None
    """Most images per batch job, >= 1; by default as many as can be downloaded with ease, about
    512 MiB: 190 at 1K, 48 at 2K, 12 at 4K."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        if self.rounds < 1:
            raise ConfigError(f"BatchOptions(rounds={self.rounds}): it must be at least 1.")
        if not 0 < self.poll_seconds < math.inf:
            raise ConfigError(
                f"BatchOptions(poll_seconds={self.poll_seconds}): it must be above 0 and finite."
            )
        if self.max_wait_seconds is not None and not self.max_wait_seconds >= 0:
            raise ConfigError(
                f"BatchOptions(max_wait_seconds={self.max_wait_seconds}): it must be 0 or more."
            )
        if self.shard_images is not None and self.shard_images < 1:
            raise ConfigError(
                f"BatchOptions(shard_images={self.shard_images}): it must be at least 1."
            )


def slots_to_order(needed: int, *, passed: float, failed: float, is_last: bool) -> int:
    """Return how many slots to order so that enough of them pass, but not too many.

    It is the smallest number with which at least `needed` pass with probability 1/2 in the last
    round (so the median is enough), and with 2 % before that. At an accept rate of 0.7 the last
    round orders 1, 3, 4 and 5 slots for 1, 2, 3 and 4 images.

    Args:
        needed: Passing candidates the job still lacks, >= 0.
        passed: Belief in the accept rate, as slots that passed, above 0.
        failed: The same, as slots that did not pass, above 0.
        is_last: Whether what is missing afterwards costs the full price.

    Source: the tail of a beta-binomial distribution; reference page "Economics of a batch" 5.
    """
    enough = ENOUGH_AT_LAST if is_last else ENOUGH_BEFORE
    if needed <= 0:
        return 0
    most = MOST_PER_IMAGE * needed
    low, high = needed - 1, needed  # `low` is not enough
    while high < most and _chance(high, needed, passed, failed) < enough:
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        if _chance(middle, needed, passed, failed) < enough:
            low = middle
        else:
            high = middle
    return high


@lru_cache(maxsize=1024)
def expected_slots(needed: int, *, rate: float, rounds: int) -> tuple[float, float]:
    """Return how many slots some images take on average: by batch jobs, and at once after them.

    Args:
        needed: Passing candidates that one job lacks, >= 0.
        rate: Its accept rate, known, above 0 and at most 1.
        rounds: Orders it may place, >= 0; what is missing after them is drawn at once.
    """
    if needed <= 0:
        return 0.0, 0.0
    if rounds == 0:
        return 0.0, needed / rate
    if needed > LARGE_WANT:  # the orders fit so well that nothing worth counting is left over
        return needed / rate, 0.0
    slots = slots_to_order(
        needed, passed=CERTAIN * rate, failed=CERTAIN * (1 - rate) + 1, is_last=rounds == 1
    )
    by_batch, at_once = float(slots), 0.0
    for passing in range(needed):
        chance = comb(slots, passing) * rate**passing * (1 - rate) ** (slots - passing)
        later = expected_slots(needed - passing, rate=rate, rounds=rounds - 1)
        by_batch += chance * later[0]
        at_once += chance * later[1]
    return by_batch, at_once


def _chance(slots: int, needed: int, passed: float, failed: float) -> float:
    """Return the probability that at least `needed` of so many slots pass."""
    whole = _log_beta(passed, failed)
    return 1.0 - sum(
        exp(
            lgamma(slots + 1)
            - lgamma(number + 1)
            - lgamma(slots - number + 1)
            + _log_beta(passed + number, failed + slots - number)
            - whole
        )
        for number in range(needed)
    )


def _log_beta(one: float, other: float) -> float:
    return lgamma(one) + lgamma(other) - lgamma(one + other)
