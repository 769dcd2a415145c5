"""What was measured of a model, so that next month's bill can be stated before it is run up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import date
    from decimal import Decimal

__all__ = ["MeasuredRates", "Measurement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRates:
    """Accept and regeneration rate of a role or model, from a `[rates]` table of the config."""

    accept: Decimal
    """Slots that pass per slot, in (0, 1]; of jobs with `best_of` = n only one in n is accepted."""

    regenerate: Decimal
    """Billed calls per slot beyond the first, >= 0, unbounded."""

    slots: int
    """Slots the two rates were measured on, >= 1."""

    measured_on: date
    """Day of the measurement, UTC."""


class Measurement(Protocol):
    """What rates can be taken from: a `CostModel` of a ledger."""

    @property
    def accept_rate(self) -> Decimal:
        """Accepted slots per slot, 0 to 1."""
        ...

    @property
    def regeneration_rate(self) -> Decimal:
        """Billed calls per slot beyond the first, >= 0."""
        ...

    @property
    def slots(self) -> int | None:
        """Slots behind the two; `None` for rates entered by hand."""
        ...
