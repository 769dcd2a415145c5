"""The cost formula in exact fractions: USD per accepted image = (x (1 + r) + h) / a."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanobatch.cost.ledger import LedgerTotals

__all__ = ["Formula"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """The four numbers that a cost per accepted image is made of.

    Read from a ledger it is an identity, not an estimate. With N slots, B billed calls and A
    accepted slots, x = generation USD / B, 1 + r = B / N, h = other USD / N and a = A / N, so
    (x (1 + r) + h) / a = (generation USD + other USD) / A: spend over accepted, exactly.
    """

    usd_per_call: Fraction
    """x: mean USD of a billed generation call, >= 0."""

    regeneration_rate: Fraction
    """r: billed calls per slot beyond the first, >= 0 and unbounded."""

    accept_rate: Fraction
    """a: accepted images per slot, 0 to 1."""

    usd_other_per_slot: Fraction
    """h: USD per slot that is not generation (paid judgements)."""

    @classmethod
    def of(cls, totals: LedgerTotals) -> Formula:
        """Return the formula of a ledger; all zero while it has no slot."""
        if totals.slots == 0:
            nothing = Fraction(0)
            return cls(
                usd_per_call=nothing,
                regeneration_rate=nothing,
                accept_rate=nothing,
                usd_other_per_slot=nothing,
            )
        return cls(
            usd_per_call=Fraction(totals.generation_usd) / totals.calls,
            regeneration_rate=Fraction(totals.calls, totals.slots) - 1,
            accept_rate=Fraction(totals.accepted, totals.slots),
            usd_other_per_slot=Fraction(totals.other_usd) / totals.slots,
        )

    @property
    def usd_per_slot(self) -> Fraction:
        """All-in USD of one slot: k = x (1 + r) + h."""
        return self.usd_per_call * (1 + self.regeneration_rate) + self.usd_other_per_slot

    @property
    def usd_per_accepted(self) -> Fraction | None:
        """USD per accepted image: C = k / a; `None` when nothing was accepted."""
        return self.usd_per_slot / self.accept_rate if self.accept_rate else None

    @property
    def multiplier(self) -> Fraction | None:
        """Billed calls per accepted image: (1 + r) / a; `None` when nothing was accepted."""
        return (1 + self.regeneration_rate) / self.accept_rate if self.accept_rate else None
