"""What `auto` is compared with, by the same driver: one who knows more, two who never learn."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

from nanobatch.models import Tier
from nanobatch.policy import Router, Tally

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.economics.populations import Population, Tag

__all__ = ["Always", "LiteThenQuality", "TagOracle"]

POINTS = 61
REACH = 4.0
"""The difficulties an oracle weighs: so many points, up to so many standard deviations away."""


class TagOracle(Router):
    """Knows the true pass rates of every tag, their spread and the share of hopeless prompts.

    What it does not know is a prompt's own difficulty: of that it has the exact posterior, given
    the prompt's results on both tiers. It takes the tier with the smallest USD of a slot /
    posterior mean of the pass rate. So it is what `auto` would be with everything learnt.
    """

    def __init__(self, tags: Sequence[Tag], population: Population) -> None:
        super().__init__()
        self._known = {tag.name: tag for tag in tags}
        self._spread = population.spread
        self._hopeless = population.hopeless
        self._means: dict[tuple[str, int, int, int, int], dict[Tier, float]] = {}

    def choose(
        self,
        tag: str,
        *,
        listed_nano: Mapping[Tier, int],
        own: Mapping[Tier, Tally] | None = None,
        is_last: bool = False,
    ) -> Tier:
        """Return the tier of the next slot."""
        means = self._posterior(tag, own or {})
        return min(listed_nano, key=lambda tier: listed_nano[tier] / means[tier])

    def _posterior(self, tag: str, own: Mapping[Tier, Tally]) -> dict[Tier, float]:
        lite, quality = (own.get(tier) or Tally() for tier in (Tier.LITE, Tier.QUALITY))
        key = (tag, lite.slots, lite.passed, quality.slots, quality.passed)
        if key not in self._means:
            self._means[key] = self._weigh(
                self._known[tag], {Tier.LITE: lite, Tier.QUALITY: quality}
            )
        return self._means[key]

    def _weigh(self, tag: Tag, own: Mapping[Tier, Tally]) -> dict[Tier, float]:
        total = 0.0
        sums = dict.fromkeys(Tier, 0.0)
        usual = 0.0
        for point in range(POINTS):
            deviations = REACH * (2 * point / (POINTS - 1) - 1)
            rates = {tier: tag.rate(tier, deviations * self._spread) for tier in Tier}
            weight = exp(-deviations * deviations / 2)
            usual += weight
            for tier, tally in own.items():
                failed = tally.slots - tally.passed
                weight *= rates[tier] ** tally.passed * (1 - rates[tier]) ** failed
            total += weight
            for tier in Tier:
                sums[tier] += weight * rates[tier]
        share = self._hopeless
        if any(tally.passed for tally in own.values()):
            share = 0.0
        whole = share + (1 - share) * total / usual
        return {tier: (1 - share) * sums[tier] / usual / whole for tier in Tier}


class LiteThenQuality(Router):
    """The static cascade: three Lite slots for each image, then quality until it passes."""

    def choose(
        self,
        tag: str,
        *,
        listed_nano: Mapping[Tier, int],
        own: Mapping[Tier, Tally] | None = None,
        is_last: bool = False,
    ) -> Tier:
        """Return the tier of the next slot."""
        own = own or {}
        passed = sum(tally.passed for tally in own.values())
        lite = own.get(Tier.LITE) or Tally()
        return Tier.LITE if lite.slots < 3 * (passed + 1) else Tier.QUALITY


class Always(Router):
    """One tier for everything."""

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        self._tier = tier

    def choose(
        self,
        tag: str,
        *,
        listed_nano: Mapping[Tier, int],
        own: Mapping[Tier, Tally] | None = None,
        is_last: bool = False,
    ) -> Tier:
        """Return the tier of the next slot."""
        return self._tier
