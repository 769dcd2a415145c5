"""Which tier draws a job's next candidate: the one that costs least per passing image so far."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from nanobatch.models import Tier

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Lesson", "Prior", "Router", "SlotsBill", "Tally"]

Z = 1.0
"""Width of the optimism: an upper limit so many standard errors above what was measured."""
POOL_SLOTS = 2
"""Slots that the prior counts for in the pool of all tags."""
TAG_SLOTS = 3
"""Slots that the pool counts for in a tag."""
JOB_SLOTS = 6
"""Slots that the tag counts for in a job.

Source of the four: reference page "Economics of a batch" 6, 2026-11 (simulated); other values were
tried in `benchmarks/economics/` and none was better on all populations.
"""
LAST_PREMIUM = 1.5
"""How much dearer per image the last slot of a job may be, if it is likelier to pass.

Source: simulation, `benchmarks/economics/routing.py`: with 10 % hopeless prompts 0.9 % instead of
1.1 % of the good ones are stopped, and an accepted image costs 0.4 % more.
"""
PRICE_SLOTS = 2
"""Slots that the list price, times what is regenerated, counts for in the measured cost."""
LEAST_BELIEF = 0.02
"""Nothing is expected to pass, or to fail, more surely than this."""
LEAST_RATE = 1e-9
"""What never passes is dear, but still comparable."""
NANO = 1e9
"""Nano-dollars in a dollar."""


@dataclass(slots=True)
class Tally:
    """Settled candidate slots and those of them that passed."""

    slots: int = 0
    passed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What is believed of a tier before anything is measured."""

    accept: float
    """Slots that pass per slot, in (0, 1]."""

    calls_per_slot: float = 1.0
    """Billed calls per slot, >= 1."""


ASSUMED = {Tier.LITE: Prior(accept=0.7), Tier.QUALITY: Prior(accept=0.9)}
"""Hopeful on purpose: a tier that is worse than that is found out by trying it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What settled candidate slots of one tag and tier came to."""

    tag: str
    tier: Tier
    slots: int
    """With a billed call."""
    passed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotsBill:
    """What settled candidate slots of one tier cost; amounts are nano-dollars."""

    tier: Tier
    slots: int
    usd_nano: int
    """All of it: regenerations, thinking, judges."""
    listed_nano: int
    """One image of each slot's size by the price list."""


@dataclass(slots=True)
class _Bill:
    slots: int = 0
    usd_nano: int = 0
    listed_nano: int = 0


class Router:
    """Learns how often each tag passes on each tier, and chooses the tier of the next slot.

    The index of a tier is USD of a slot / probability that it passes: what an image costs there,
    for this prompt, now. The smallest one wins. The probability is an optimistic one, so a tier
    that nobody has tried yet is tried, and one that disappoints is left. Nothing is drawn by lot:
    the same history always gives the same choice.

    ```python
    router = Router()
    for _ in range(20):
        router.learn(Lesson(tag="hands", tier=Tier.LITE, slots=1, passed=0))
    listed = {Tier.LITE: 33_600_000, Tier.QUALITY: 134_400_000}
    router.choose("hands", listed_nano=listed)  # Tier.QUALITY
    router.index("hands", listed_nano=listed)  # why: USD per passing image, by tier
    ```

    Source: a UCB index on cost per success with Wilson limits; reference page "Economics of a
    batch" 0 and 6, 2026-11; measured in `benchmarks/economics/routing.py`.
    """

    def __init__(self, priors: Mapping[Tier, Prior] | None = None) -> None:
        """Begin with nothing measured.

        Args:
            priors: What is believed of a tier; 0.7 (Lite) and 0.9 (quality) where nothing is said.
        """
        self._priors = {**ASSUMED, **(priors or {})}
        self._tags: dict[tuple[str, Tier], Tally] = {}
        self._pools: dict[Tier, Tally] = {}
        self._bills: dict[Tier, _Bill] = {}

    def __eq__(self, other: object) -> bool:
        """Return whether both believe and have learnt the same."""
        if not isinstance(other, Router):
            return NotImplemented
        return (self._priors, self._tags, self._bills) == (
            other._priors,
            other._tags,
            other._bills,
        )

    __hash__ = None  # type: ignore[assignment]  # it changes with every lesson

    def __repr__(self) -> str:
        """Show how much it has learnt."""
        slots = sum(tally.slots for tally in self._pools.values())
        return f"Router({slots} slots of {len({tag for tag, _ in self._tags})} tags)"

    def learn(self, evidence: Lesson | SlotsBill) -> None:
        """Take in what slots came to, or what they cost."""
        self._add(evidence, 1)

    def unlearn(self, evidence: Lesson | SlotsBill) -> None:
        """Take back what was learnt: it counts elsewhere now, the job's tag has changed."""
        self._add(evidence, -1)

    def rate(self, tag: str, tier: Tier, own: Tally | None = None) -> float:
        """Return the optimistic probability that a job's next slot on a tier passes, 0 to 1.

        Args:
            tag: The job's tag.
            tier: Where the slot would be drawn.
            own: What the job's own slots on that tier came to.
        """
        pool = self._pools.get(tier) or Tally()
        believed = POOL_SLOTS * self._priors[tier].accept
        hopes = (believed + pool.passed) / (POOL_SLOTS + pool.slots)
        seen = self._tags.get((tag, tier)) or Tally()
        limit = _wilson_upper(TAG_SLOTS * hopes + seen.passed, TAG_SLOTS + seen.slots)
        own = own or Tally()
        return (JOB_SLOTS * limit + own.passed) / (JOB_SLOTS + own.slots)

    def belief(self, tag: str, tier: Tier, own: Tally | None = None) -> tuple[float, float]:
        """Return what to expect of a job's slots on a tier, as slots that pass and that fail.

        It is no hope but the middle: the accept rate of the pool, of the tag and of the job, each
        shrunk to the one before; both numbers are above 0 and count as a Beta distribution.

        Args:
            tag: As for `rate`.
            tier: As for `rate`.
            own: As for `rate`.
        """
        pool, seen = self._pools.get(tier) or Tally(), self._tags.get((tag, tier)) or Tally()
        rate = self._priors[tier].accept
        for slots, tally in ((POOL_SLOTS, pool), (TAG_SLOTS, seen)):
            rate = (slots * rate + tally.passed) / (slots + tally.slots)
        rate = min(max(rate, LEAST_BELIEF), 1 - LEAST_BELIEF)
        own = own or Tally()
        return JOB_SLOTS * rate + own.passed, JOB_SLOTS * (1 - rate) + own.slots - own.passed

    def usd_per_slot(self, tier: Tier, *, listed_nano: int) -> float:
        """Return what a slot of a tier costs all in: regenerations, thinking and judges included.

        Sizes differ between jobs, so what was measured is the ratio to the list price.

        Args:
            tier: Where the slot would be drawn.
            listed_nano: What an image of the job's size costs there by the list, nano-dollars.
        """
        bill = self._bills.get(tier)
        ratio = self._priors[tier].calls_per_slot
        if bill is not None and bill.listed_nano:  # measured, and the list price is not 0
            measured = bill.usd_nano / bill.listed_nano
            ratio = (PRICE_SLOTS * ratio + bill.slots * measured) / (PRICE_SLOTS + bill.slots)
        return listed_nano * ratio / NANO

    def index(
        self,
        tag: str,
        *,
        listed_nano: Mapping[Tier, int],
        own: Mapping[Tier, Tally] | None = None,
    ) -> dict[Tier, float]:
        """Return USD per passing image by tier, optimistic: why a tier is chosen.

        Args:
            tag: The job's tag.
            listed_nano: The tiers that can draw the job, with the list price of an image of its
                size, nano-dollars.
            own: What the job's own slots came to, by tier.
        """
        own = own or {}
        return {
            tier: self.usd_per_slot(tier, listed_nano=listed)
            / max(self.rate(tag, tier, own.get(tier)), LEAST_RATE)
            for tier, listed in listed_nano.items()
        }

    def choose(
        self,
        tag: str,
        *,
        listed_nano: Mapping[Tier, int],
        own: Mapping[Tier, Tally] | None = None,
        is_last: bool = False,
    ) -> Tier:
        """Return the tier of a job's next slot: the one with the smallest index.

        Of two equal ones the tier that passes more is taken, and of those the first. The last slot
        before the stop rule ends the job goes to the tier that passes most, if its index is hardly
        larger: an image that is missed there is missed for good.

        Args:
            tag: The job's tag.
            listed_nano: As for `index`; at least one tier.
            own: As for `index`.
            is_last: Whether the stop rule allows no further slot as things are.
        """
        own = own or {}
        index = self.index(tag, listed_nano=listed_nano, own=own)
        fails = {tier: 1 - self.rate(tag, tier, own.get(tier)) for tier in index}
        if is_last:
            limit = LAST_PREMIUM * min(index.values())
            return min(
                (tier for tier in index if index[tier] <= limit),
                key=lambda tier: (fails[tier], index[tier]),
            )
        return min(index, key=lambda tier: (index[tier], fails[tier]))

    def _add(self, evidence: Lesson | SlotsBill, sign: int) -> None:
        tier = evidence.tier
        if isinstance(evidence, SlotsBill):
            bill = self._bills.setdefault(tier, _Bill())
            bill.slots += sign * evidence.slots
            bill.usd_nano += sign * evidence.usd_nano
            bill.listed_nano += sign * evidence.listed_nano
            if not bill.slots:
                del self._bills[tier]
            return
        key = (evidence.tag, tier)
        for tally in (self._tags.setdefault(key, Tally()), self._pools.setdefault(tier, Tally())):
            tally.slots += sign * evidence.slots
            tally.passed += sign * evidence.passed
        if not self._tags[key].slots:
            del self._tags[key]


def _wilson_upper(passed: float, slots: float) -> float:
    """Return the upper Wilson limit of a rate, Z standard errors up.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22 (1927).
    """
    rate = passed / slots
    spread = Z * sqrt(max(rate * (1 - rate), 0) / slots + Z * Z / (4 * slots * slots))
    return min((rate + Z * Z / (2 * slots) + spread) / (1 + Z * Z / slots), 1.0)
