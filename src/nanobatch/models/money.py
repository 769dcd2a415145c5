"""Between the two forms of money: `Decimal` USD at the API, whole nano-dollars in storage."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

__all__ = ["nano_of_usd", "usd_of_nano"]

_NANO = Decimal(10) ** -9


def nano_of_usd(usd: Decimal) -> int:
    """Return whole nano-dollars, rounded up: neither a reserve nor a bill is ever too small."""
    return int((usd / _NANO).to_integral_value(rounding=ROUND_CEILING))


def usd_of_nano(nano: int) -> Decimal:
    """Return USD, exactly."""
    return Decimal(nano).scaleb(-9)
