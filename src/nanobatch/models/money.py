"""Between the two forms of money: `Decimal` USD at the API, whole nano-dollars in storage."""

from __future__ import annotations

from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, ROUND_CEILING, ROUND_FLOOR, Context, Decimal

__all__ = ["MAX_USD", "nano_of_usd", "nano_within_usd", "usd_of_nano"]

MAX_USD = 10**9
"""Largest amount anybody may enter, USD: its nano-dollars still fit the database's 64 bits."""

# Contexts of our own: the caller's may have a few digits only, and money would follow it.
_UP = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, rounding=ROUND_CEILING)
_DOWN = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, rounding=ROUND_FLOOR)


def nano_of_usd(usd: Decimal) -> int:
    """Return whole nano-dollars, rounded up: neither a reserve nor a bill is ever too small."""
    return int(_UP.to_integral_value(_UP.scaleb(usd, 9)))


def nano_within_usd(usd: Decimal) -> int:
    """Return whole nano-dollars, rounded down: a cap is never too large."""
    return int(_DOWN.to_integral_value(_DOWN.scaleb(usd, 9)))


def usd_of_nano(nano: int) -> Decimal:
    """Return USD, exactly."""
    return _UP.scaleb(Decimal(nano), -9)
