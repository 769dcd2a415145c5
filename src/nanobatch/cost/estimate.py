"""An estimate: a measured figure that never goes without its interval and its count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from nanobatch.cost.table import show_level, show_percent, show_usd

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["Estimate", "Unit"]

Unit: TypeAlias = Literal["rate", "usd"]
"""What an estimate is of: a rate, shown in percent, or an amount in USD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure read from slots, and the range in which its true value may well lie.

    ```python
    accept = checkpoint.cost_model().accept
    print(accept)  # 70.0 % (56.2 to 80.9 %, 95 %, n = 50)
    ```
    """

    value: Decimal
    """What the slots say: a rate >= 0, or USD. Infinity: nothing was accepted, so no cost."""

    low: Decimal
    """Lower bound, 0 <= `low` <= `value`; finite."""

    high: Decimal
    """Upper bound, >= `value`; Infinity when the slots set none."""

    n: int
    """Slots it rests on, >= 0."""

    level: float = 0.95
    """How often an interval made like this one holds the true value, between 0 and 1."""

    live: bool = False
    """Whether it may be looked at again and again while slots come in.

    If not, `level` holds for one look at a number of slots chosen beforehand.
    """

    unit: Unit = "rate"

    def __str__(self) -> str:
        """Show the value with its interval, its level and its count."""
        how = f"{show_level(self.level)}{' live' if self.live else ''}, n = {self.n:,}"
        if self.unit == "rate":
            low = show_percent(self.low).removesuffix(" %")
            return f"{show_percent(self.value)} ({low} to {show_percent(self.high)}, {how})"
        if not self.value.is_finite():
            return f"unknown ({show_usd(self.low)} or more, {how}) USD"
        if not self.high.is_finite():
            return f"{show_usd(self.value)} ({show_usd(self.low)} or more, {how}) USD"
        return f"{show_usd(self.value)} ({show_usd(self.low)} to {show_usd(self.high)}, {how}) USD"
