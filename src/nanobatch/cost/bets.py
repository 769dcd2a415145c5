"""Bets on a difference between two tiers: what their stakes grow to is the evidence for one."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, log
from typing import TYPE_CHECKING

from nanobatch.cost.scatter import TRAIL_SLOTS

if TYPE_CHECKING:
    from nanobatch.cost.scatter import SlotOutcome

__all__ = ["WIN", "Bets"]

WIN = 20.0
"""Wealth from which a tier is named: a fair bet gets there at most once in twenty."""

STAKES = (0.07, 0.18, 0.35, 0.6, 0.95)
"""Shares of its wealth that a bet can lose on one pair, one bet each on either side.

Small stakes win where tiers are close, large ones where they are far apart; their mean loses to
the best of them by a factor of ten at most, which is some ten pairs.
"""

HEADROOM, FIRST_HEADROOM = 1.1, 4.0
"""How far above the dearest of n earlier slots the next may cost: 1.1 + 4/n times as much.

Token counts vary by a few percent; that the first regeneration is still to come (a slot of twice
the price) gets less likely with every slot that had none.
"""

SLOTS_BEFORE_BETTING = 3
"""Slots of a tier that only show what one costs, where nobody has named a bound.

One of them must have yielded an image: a slot without one may have been cheap.
"""

MOST_WEALTH = 1e200


class Bound:
    """The most that the next slot of a tier may cost, known before it is drawn."""

    def __init__(self, named: float | None) -> None:
        self._named = named
        self._slots = 0
        self._dearest = 0
        self._has_image = False

    @property
    def next(self) -> float | None:
        """The bound for the next slot, nano-dollars; `None` while nothing is known."""
        if self._named is not None:
            return self._named
        if self._slots < SLOTS_BEFORE_BETTING or not self._has_image:
            return None
        return (HEADROOM + FIRST_HEADROOM / self._slots) * self._dearest

    def add(self, slot: SlotOutcome) -> None:
        """Take in what a slot cost."""
        self._slots += 1
        self._dearest = max(self._dearest, slot.nano_usd)
        self._has_image = self._has_image or slot.accepted


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """What a tier's next slot is like: its accept rate and its mean cost, nano-dollars."""

    accept_rate: float
    cost: float


class Bets:
    """Wealth of bets that one tier is cheaper, pair by pair.

    A pair moves z = cost of quality x Lite accepted - cost of Lite x quality accepted. A bet on
    Lite multiplies its wealth by 1 + stake/bound x z, `bound` being the most that the Lite slot
    may cost: it then loses its stake at most. A bet on quality is its mirror image. When both
    tiers cost the same per accepted image, z is 0 on average, and wealth cannot be expected to
    grow.

    Args:
        most_lite: The most that a Lite slot costs, nano-dollars, if somebody knows it.
        most_quality: The same of a quality slot.
    """

    def __init__(
        self, *, most_lite: float | None = None, most_quality: float | None = None
    ) -> None:
        self.pairs = 0
        self.best = 1.0
        """The most that all bets together have been worth, their stakes being 1."""
        self.best_is_lite = False
        """Whether the bets on Lite were worth more then."""
        self._bounds = Bound(most_lite), Bound(most_quality)
        self._wealth = [1.0] * len(STAKES), [1.0] * len(STAKES)

    def add(self, lite: SlotOutcome, quality: SlotOutcome) -> None:
        """Settle the bets on the next pair."""
        shift = (quality.nano_usd if lite.accepted else 0) - (
            lite.nano_usd if quality.accepted else 0
        )
        bounds = self._next_bounds()
        self.pairs += 1
        for bound, outcome in zip(self._bounds, (lite, quality), strict=True):
            bound.add(outcome)
        if not shift:
            return
        for wealth, most, gain in zip(self._wealth, bounds, (shift, -shift), strict=True):
            if most:
                for number, stake in enumerate(STAKES):
                    grown = wealth[number] * (1 + stake / most * gain)
                    wealth[number] = min(max(grown, 0.0), MOST_WEALTH)
        on_lite, on_quality = map(sum, self._wealth)
        worth = (on_lite + on_quality) / (2 * len(STAKES))
        if worth > self.best:
            self.best, self.best_is_lite = worth, on_lite > on_quality

    def pairs_to_win(self, lite: Odds, quality: Odds) -> int | None:
        """Return how many more pairs it takes on average until the bets have won.

        Every bet is taken to grow at its mean rate. `None` if that is not enough, or takes more
        slots than a ledger keeps.
        """
        growth = self._growth(lite, quality)
        waiting = SLOTS_BEFORE_BETTING if None in self._next_bounds() else 0

        def has_won(pairs: int) -> bool:
            # 2 ln(20) / 10 bets and more: an exponent above 500 has won whatever it starts from
            logs = [log(wealth) + pairs * rate for wealth, rate in growth if wealth and rate > -inf]
            return sum(exp(min(one, 500.0)) for one in logs) >= WIN * 2 * len(STAKES)

        low, high = 0, TRAIL_SLOTS - self.pairs - waiting
        if not any(rate > 0 for _, rate in growth) or not has_won(high):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if has_won(middle) else (middle, high)
        return high + waiting

    def _next_bounds(self) -> tuple[float | None, float | None]:
        """Return the bounds of Lite and quality; a free tier takes that of the other."""
        lite, quality = (bound.next for bound in self._bounds)
        return quality if lite == 0 else lite, lite if quality == 0 else quality

    def _growth(self, lite: Odds, quality: Odds) -> list[tuple[float, float]]:
        """Return each bet's wealth and the mean logarithm of its factor, pair by pair."""
        known = self._next_bounds()
        assumed = (
            2 * HEADROOM * (lite.cost or quality.cost),
            2 * HEADROOM * (quality.cost or lite.cost),
        )
        outcomes = [
            (lite.accept_rate * (1 - quality.accept_rate), quality.cost),
            (lite.accept_rate * quality.accept_rate, quality.cost - lite.cost),
            ((1 - lite.accept_rate) * quality.accept_rate, -lite.cost),
        ]
        growth: list[tuple[float, float]] = []
        for wealth, bound, other, sign in zip(self._wealth, known, assumed, (1, -1), strict=True):
            scale = sign / (bound or other) if bound or other else 0.0
            for worth, stake in zip(wealth, STAKES, strict=True):
                rate = sum(p * _log(1 + stake * scale * shift) for p, shift in outcomes if p > 0)
                growth.append((worth, rate))
        return growth


def _log(factor: float) -> float:
    return log(factor) if factor > 0 else -inf
