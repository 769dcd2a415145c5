"""How slots scatter around their means: what intervals need beside the means themselves."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING, NamedTuple

from nanobatch.models.money import nano_of_usd

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from nanobatch.cost.formula import Formula

__all__ = ["NO_SLOTS", "TRAIL_SLOTS", "Scatter", "SlotOutcome", "SlotSums"]

TRAIL_SLOTS = 4_096
"""Slots of a ledger whose outcomes are kept one by one, the first ones.

A comparison of two tiers that these do not settle concerns a difference of a few percent. They
are about 400 KB of memory.
"""


class SlotOutcome(NamedTuple):
    """What became of one slot."""

    nano_usd: int
    """All it cost, nano-dollars."""

    accepted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotSums:
    """Sums over the slots of a ledger that have a billed call, in whole numbers: exact.

    A cost below one nano-dollar is rounded up to one, once per slot.
    """

    slots: int = 0
    accepted: int = 0
    """Slots with a billed call that yielded an accepted image."""

    nano_usd: int = 0
    square_nano_usd: int = 0
    """Sum of the squares of the slots' costs."""

    accepted_nano_usd: int = 0
    """Cost of the accepted slots."""

    least_nano_usd: int = 0
    """Cost of the cheapest slot."""

    most_calls: int = 0
    """Most billed calls in one slot."""

    trail: tuple[SlotOutcome, ...] = ()
    """The first 4,096 slots one by one, in the order of their numbers."""

    @classmethod
    def of(
        cls,
        *,
        slots_of_calls: Iterable[int],
        usd_of_slot: Mapping[int, Decimal],
        accepted_slots: Collection[int],
    ) -> SlotSums:
        """Add up the slots.

        Args:
            slots_of_calls: The slot of each billed call.
            usd_of_slot: What each slot cost.
            accepted_slots: The slots that yielded an image.
        """
        calls = Counter(slots_of_calls)
        outcomes = [
            SlotOutcome(nano_of_usd(usd_of_slot.get(slot, Decimal(0))), slot in accepted_slots)
            for slot in sorted(calls)
        ]
        return cls(
            slots=len(outcomes),
            accepted=sum(one.accepted for one in outcomes),
            nano_usd=sum(one.nano_usd for one in outcomes),
            square_nano_usd=sum(one.nano_usd**2 for one in outcomes),
            accepted_nano_usd=sum(one.nano_usd for one in outcomes if one.accepted),
            least_nano_usd=min((one.nano_usd for one in outcomes), default=0),
            most_calls=max(calls.values(), default=0),
            trail=tuple(outcomes[:TRAIL_SLOTS]),
        )


NO_SLOTS = SlotSums()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """The scatter of one slot, without units, so that it is the same at any price."""

    accept_rate: float
    """Accepted per slot, 0 to 1."""

    relative_variance: float
    """Variance of a slot's cost over the square of its mean."""

    covariance: float
    """Covariance of acceptance and a slot's cost over its mean."""

    cheapest: float
    """Cost of the cheapest slot over the mean, 0 to 1; 0 if it is not known."""

    most_extra_calls: int
    """Most billed calls beyond the first that a slot takes, >= 1."""

    @classmethod
    def measured(cls, sums: SlotSums) -> Scatter:
        """Return the scatter of a ledger's slots.

        One slot says nothing of scatter: its cost is then taken to vary by as much as its mean.
        """
        n, total = sums.slots, sums.nano_usd
        variance, covariance, cheapest = 1.0, 0.0, 0.0
        if total <= 0:
            variance = 0.0
        elif n > 1:
            # sums of products of deviations over n - 1, divided by the mean cost twice and once
            variance = n * (n * sums.square_nano_usd - total**2) / ((n - 1) * total**2)
            covariance = (n * sums.accepted_nano_usd - total * sums.accepted) / ((n - 1) * total)
            cheapest = max(0.0, n * sums.least_nano_usd / total)
        return cls(
            accept_rate=sums.accepted / n if n else 0.0,
            relative_variance=variance,
            covariance=covariance,
            cheapest=cheapest,
            most_extra_calls=max(1, sums.most_calls - 1),
        )

    @classmethod
    def assumed(cls, formula: Formula) -> Scatter:
        """Return the least scatter that rates allow when nobody kept the slots.

        Every call costs the same, a slot takes the two whole numbers of calls nearest to its
        mean, and whether it is accepted has nothing to do with what it cost.
        """
        extra = formula.regeneration_rate
        share = extra - floor(extra)
        variance = cheapest = Fraction(0)
        if formula.usd_per_slot:
            call = formula.usd_per_call / formula.usd_per_slot
            variance = share * (1 - share) * call**2
            cheapest = 1 - share * call
        return cls(
            accept_rate=min(1.0, float(formula.accept_rate)),
            relative_variance=float(variance),
            covariance=0.0,
            cheapest=float(cheapest),
            most_extra_calls=max(1, ceil(extra)),
        )
