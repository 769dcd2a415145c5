"""Simulated slots whose true cost per accepted image is known, to hold intervals against."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from nanobatch.cost.scatter import SlotOutcome, SlotSums

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

__all__ = ["WORLDS", "Kind", "RunningSums", "World", "rates_for"]

NANO_PER_CALL = 33_600_000
"""A 1K image on Lite, nano-dollars; the intervals have no scale, so any price would do."""


class Kind(NamedTuple):
    """One kind of slot that a world has."""

    share: float
    """How many of the slots are of this kind, 0 to 1."""

    calls: int
    """Billed calls of such a slot."""

    price: float
    """What it costs, in calls."""

    odds: float = 1.0
    """Its accept rate, relative to the other kinds."""


@dataclass(frozen=True)
class World:
    """Slots of a few kinds, at a given accept rate over all of them."""

    name: str
    kinds: tuple[Kind, ...]
    noise: float = 0.0
    """Token noise: the price varies evenly by up to this share to either side."""

    @property
    def nano_per_slot(self) -> float:
        """True mean cost of a slot, nano-dollars."""
        return NANO_PER_CALL * sum(kind.share * kind.price for kind in self.kinds)

    @property
    def regeneration_rate(self) -> float:
        """True mean of billed calls beyond the first."""
        return sum(kind.share * (kind.calls - 1) for kind in self.kinds)

    @property
    def most_accept_rate(self) -> float:
        """The highest accept rate this world can have."""
        mean = sum(kind.share * kind.odds for kind in self.kinds)
        return mean / max(kind.odds for kind in self.kinds)

    def draws(self, random: Random, accept_rate: float, price: float = 1.0) -> Draws:
        """Return an endless source of slots; `price` multiplies all costs."""
        return Draws(self, random, accept_rate, price)


class Draws:
    """Slots of a world, one after the other."""

    def __init__(self, world: World, random: Random, accept_rate: float, price: float) -> None:
        mean = sum(kind.share * kind.odds for kind in world.kinds)
        self._next = random.random
        self._shares = list(accumulate(kind.share for kind in world.kinds))[:-1]
        self._kinds = [
            (price * NANO_PER_CALL * kind.price, kind.calls, accept_rate * kind.odds / mean)
            for kind in world.kinds
        ]
        self._noise = world.noise

    def slot(self) -> tuple[int, int, bool]:
        """Return a slot's cost in nano-dollars, its calls, and whether it was accepted."""
        draw = self._next
        kind = bisect_right(self._shares, draw()) if self._shares else 0
        nano, calls, rate = self._kinds[kind]
        if self._noise:
            nano *= 1 + self._noise * (2 * draw() - 1)
        return int(nano), calls, draw() < rate

    def outcome(self) -> SlotOutcome:
        """Return a slot as a comparison sees it."""
        nano, _, accepted = self.slot()
        return SlotOutcome(nano, accepted)


class RunningSums:
    """What `SlotSums` adds up, slot by slot, so that it can be had after every slot."""

    def __init__(self) -> None:
        self.slots = self.accepted = self.calls = 0
        self.nano = self.square = self.accepted_nano = self.most_calls = 0
        self.least = NANO_PER_CALL * 1_000

    def add(self, nano: int, calls: int, *, accepted: bool) -> None:
        """Take in a slot."""
        self.slots += 1
        self.calls += calls
        self.nano += nano
        self.square += nano * nano
        if accepted:
            self.accepted += 1
            self.accepted_nano += nano
        self.most_calls = max(calls, self.most_calls)
        self.least = min(nano, self.least)

    @property
    def sums(self) -> SlotSums:
        """The library's own form of it."""
        return SlotSums(
            slots=self.slots,
            accepted=self.accepted,
            nano_usd=self.nano,
            square_nano_usd=self.square,
            accepted_nano_usd=self.accepted_nano,
            least_nano_usd=self.least,
            most_calls=self.most_calls,
        )


def rates_for(world: World, accept_rates: Iterable[float]) -> list[float]:
    """Return those of the accept rates that the world can have."""
    return [rate for rate in accept_rates if rate <= world.most_accept_rate]


WORLDS = (
    World("one price", (Kind(1.0, 1, 1.0),)),
    World("token noise", (Kind(1.0, 1, 1.0),), noise=0.1),
    World("two prices", (Kind(0.7, 1, 1.0), Kind(0.3, 1, 2.25))),
    World("dear are accepted", (Kind(0.7, 1, 1.0, 0.7), Kind(0.3, 1, 2.25, 1.0))),
    World("regenerated", (Kind(0.92, 1, 1.0), Kind(0.08, 2, 2.0)), noise=0.03),
    World(
        "broken twice",
        (Kind(0.92, 1, 1.0), Kind(0.06, 2, 2.0), Kind(0.02, 2, 2.0, 0.0)),
        noise=0.03,
    ),
    World("often regenerated", (Kind(0.7, 1, 1.0), Kind(0.3, 2, 2.0))),
    World("cheap refusals", (Kind(0.85, 1, 1.0), Kind(0.15, 1, 0.03, 0.0))),
    World("paid judge", (Kind(0.8, 1, 1.1), Kind(0.2, 1, 1.0, 0.0))),
)
"""Cost models; every price is in calls."""
