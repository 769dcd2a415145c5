"""A sample of slots: the estimates it yields, and the bill it foresees."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import hypot, inf, sqrt
from typing import TYPE_CHECKING

from nanobatch.cost.estimate import Estimate
from nanobatch.cost.exact import scaled, to_decimal
from nanobatch.cost.interval import (
    anytime_quantile,
    cost_limits,
    damped,
    least_cost,
    live_limits,
    luck_limits,
    quantile,
    wilson_limits,
)
from nanobatch.cost.scatter import Scatter

if TYPE_CHECKING:
    from nanobatch.cost.estimate import Unit
    from nanobatch.cost.formula import Formula
    from nanobatch.cost.ledger import LedgerTotals

__all__ = ["Sample"]

INFINITY = Decimal("Infinity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Rates and prices, and how sure `slots` slots make them."""

    formula: Formula
    scatter: Scatter
    slots: int | None
    """Slots behind the rates, >= 0; `None`: the rates are taken as exact."""

    @classmethod
    def of_totals(cls, formula: Formula, totals: LedgerTotals) -> Sample:
        """Return the sample that a ledger is; without its slots the least scatter is assumed."""
        is_kept = totals.by_slot.slots == totals.slots
        scatter = Scatter.measured(totals.by_slot) if is_kept else Scatter.assumed(formula)
        return cls(formula=formula, scatter=scatter, slots=totals.slots)

    @classmethod
    def of_rates(cls, formula: Formula, slots: int | None) -> Sample:
        """Return the sample behind rates of which only the number of slots is known, or nothing."""
        return cls(formula=formula, scatter=Scatter.assumed(formula), slots=slots)

    def accept(self, *, live: bool, level: float) -> Estimate:
        """Return the accept rate; the rates must not be taken as exact."""
        low, high = self._rate_limits(self.scatter.accept_rate, live=live, level=level)
        return self._estimate(
            self.formula.accept_rate, Fraction(low), Fraction(high), live=live, level=level
        )

    def regeneration(self, *, live: bool, level: float) -> Estimate:
        """Return the regeneration rate; the rates must not be taken as exact.

        As long as no slot takes more than two calls it is a proportion. Else it is the mean of
        numbers from 0 to the most extra calls that a slot took: divided by that, it scatters no
        more than a proportion does.
        """
        most = self.scatter.most_extra_calls
        rate = min(1.0, float(self.formula.regeneration_rate / most))
        low, high = self._rate_limits(rate, live=live, level=level)
        return self._estimate(
            self.formula.regeneration_rate,
            Fraction(low) * most,
            Fraction(high) * most,
            live=live,
            level=level,
        )

    def usd_per_accepted(self, *, live: bool, level: float) -> Estimate:
        """Return the cost of an accepted image, USD; the rates must not be taken as exact."""
        usd = self.formula.usd_per_accepted
        if usd is None:
            return Estimate(
                value=INFINITY,
                low=self._least_usd(self._z(live=live, level=level)),
                high=INFINITY,
                n=self.slots or 0,
                level=level,
                live=live,
                unit="usd",
            )
        low, high = self._cost_limits(self._z(live=live, level=level))
        return self._estimate(
            usd,
            usd * Fraction(low),
            None if high == inf else usd * Fraction(high),
            live=live,
            level=level,
            unit="usd",
        )

    def bill(self, images: int, level: float) -> tuple[Decimal, Decimal, Decimal]:
        """Return low, expected and high USD of `images` accepted images yet to be made.

        The distances of the two sources of error to the mean, the sampled rates and the luck of
        the draw, add in squares.
        """
        z = quantile(level)
        usd = self.formula.usd_per_accepted
        if images == 0:
            return Decimal(0), Decimal(0), Decimal(0)
        if usd is None:
            high_rate = wilson_limits(0.0, self.slots or 0, z)[1]
            luck, _ = self._luck_limits(images, rate=high_rate, z=z)
            return scaled(Fraction(self._least_usd(z)) * images, luck), INFINITY, INFINITY
        low, high = (1.0, 1.0) if self.slots is None else self._cost_limits(z)
        least_luck, most_luck = self._luck_limits(images, rate=self.scatter.accept_rate, z=z)
        below = max(self._least_bill(images, z), 1 - hypot(1 - low, 1 - least_luck))
        above = 1 + hypot(high - 1, most_luck - 1)
        total = usd * images
        expected = to_decimal(total)
        return min(expected, scaled(total, below)), expected, max(expected, scaled(total, above))

    def _z(self, *, live: bool, level: float) -> float:
        return anytime_quantile(max(1, self.slots or 0), level) if live else quantile(level)

    def _rate_limits(self, rate: float, *, live: bool, level: float) -> tuple[float, float]:
        slots = self.slots or 0
        if live:
            return live_limits(rate, slots, level)
        return wilson_limits(rate, slots, quantile(level))

    def _cost_limits(self, z: float) -> tuple[float, float]:
        """Return the bounds of the cost as multiples of its value."""
        slots, scatter = self.slots or 0, self.scatter
        if slots == 0 or scatter.accept_rate == 0:  # accepted in slots that were void
            return 0.0, inf
        return cost_limits(
            rate=scatter.accept_rate,
            slots=slots,
            relative_variance=scatter.relative_variance,
            covariance=scatter.covariance,
            z=z,
        )

    def _luck_limits(self, images: int, *, rate: float, z: float) -> tuple[float, float]:
        if rate == 0:
            return 0.0, inf
        return luck_limits(
            images=images,
            rate=rate,
            relative_variance=self.scatter.relative_variance,
            covariance=damped(self.scatter.covariance, self.slots or 0, z),
            z=z,
        )

    def _least_bill(self, images: int, z: float) -> float:
        """Return the cost of as many slots as images, at least, as a multiple of the mean bill."""
        scatter = self.scatter
        slots = 1 / images + (1 / self.slots if self.slots else 0.0)
        cheap = max(scatter.cheapest, 1 - z * sqrt(scatter.relative_variance * slots))
        return scatter.accept_rate * cheap

    def _least_usd(self, z: float) -> Decimal:
        """Return the least that an image costs when none was accepted: cheap slots, luckless."""
        least = least_cost(
            slots=self.slots or 0, relative_variance=self.scatter.relative_variance, z=z
        )
        return scaled(self.formula.usd_per_slot, least)

    def _estimate(
        self,
        value: Fraction,
        low: Fraction,
        high: Fraction | None,
        *,
        live: bool,
        level: float,
        unit: Unit = "rate",
    ) -> Estimate:
        shown = to_decimal(value)
        return Estimate(
            value=shown,
            low=min(shown, scaled(low, 1.0)),
            high=INFINITY if high is None else max(shown, scaled(high, 1.0)),
            n=self.slots or 0,
            level=level,
            live=live,
            unit=unit,
        )
