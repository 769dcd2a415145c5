"""Numbers of the cost formulas: read as exact fractions, shown as decimals, never as floats."""

from __future__ import annotations

from decimal import (
    MAX_EMAX,
    MAX_PREC,
    MIN_EMIN,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    Inexact,
    InvalidOperation,
)
from fractions import Fraction
from math import isinf
from operator import index
from reprlib import repr as short_repr
from typing import Literal, SupportsIndex, TypeAlias

__all__ = [
    "Number",
    "add_exactly",
    "from_float",
    "read_count",
    "read_fraction",
    "scaled",
    "to_decimal",
]

Number: TypeAlias = Decimal | int | str | float
"""What a caller may write for a number; a float is read as it prints, `0.1` as one tenth."""

Range: TypeAlias = Literal["at least 0", "greater than 0", "from 0 to 1", "greater than 0 up to 1"]
"""The ranges an argument can be held to, in the words of the error message."""

SIGNIFICANT_DIGITS = 28
"""Digits of a result that has no finite decimal form; the default of `decimal` itself."""

LARGEST_EXPONENT = 30
"""Leading digits stand from 1e-30 to 1e30: `"1e999999999"` would be a gigabyte of them."""

MEASURED_DIGITS = 12
"""Digits of a bound: it was computed in floats, of which more mean nothing."""

_ROUNDED = Context(prec=SIGNIFICANT_DIGITS, rounding=ROUND_HALF_EVEN)
_MEASURED = Context(prec=MEASURED_DIGITS, rounding=ROUND_HALF_EVEN)
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation])


def read_fraction(name: str, value: Number, allowed: Range) -> Fraction:
    """Return `value` as an exact fraction.

    Args:
        name: The argument's name, for the error message.
        value: A Decimal, int, numeric string or float; a bool is none of them.
        allowed: The range it must lie in.

    Raises:
        ValueError: It is not a finite number of ordinary size in that range; the message names
            the argument, its value and the range.
    """
    number = _read_decimal(value)
    if number is None or not number.is_finite() or not _is_within(number, allowed):
        raise ValueError(f"{name} is {short_repr(value)}; it must be a number {allowed}.")
    if number == 0:
        return Fraction(0)
    if abs(number.adjusted()) > LARGEST_EXPONENT:
        raise ValueError(
            f"{name} is {short_repr(value)}; it must be a number {allowed} "
            f"of ordinary size (0, or between 1e-{LARGEST_EXPONENT} and 1e{LARGEST_EXPONENT})."
        )
    return Fraction(number)


def read_count(name: str, value: SupportsIndex, *, at_least: int, at_most: int) -> int:
    """Return a whole number as an int.

    Raises:
        ValueError: It is not a whole number (a bool is none) from `at_least` to `at_most`.
    """
    try:
        count = None if isinstance(value, bool) else index(value)
    except TypeError:
        count = None
    if count is None or not at_least <= count <= at_most:
        raise ValueError(
            f"{name} is {short_repr(value)}; "
            f"it must be a whole number from {at_least:,} to {at_most:,}."
        )
    return count


def to_decimal(value: Fraction) -> Decimal:
    """Return `value` exactly if it has a finite decimal form, else to 28 significant digits.

    The caller's decimal context plays no part, so that a sum shown twice is the same twice.
    """
    numerator, denominator = value.as_integer_ratio()
    places = _decimal_places(denominator)
    if places is None:
        return _ROUNDED.divide(Decimal(numerator), Decimal(denominator))
    return Decimal(numerator * 10**places // denominator).scaleb(-places, _EXACT)


def add_exactly(left: Decimal, right: Decimal) -> Decimal:
    """Return the sum of two amounts with every digit, whatever the caller's decimal context."""
    return _EXACT.add(left, right)


def from_float(value: float) -> Decimal:
    """Return a computed bound as a decimal of 12 significant digits; Infinity stays what it is."""
    return _MEASURED.create_decimal_from_float(value)


def scaled(value: Fraction, factor: float) -> Decimal:
    """Return `value` x `factor` >= 0 to 12 significant digits; Infinity for an infinite factor."""
    if isinf(factor):
        return Decimal("Infinity")
    numerator, denominator = (value * Fraction(factor)).as_integer_ratio()
    return _MEASURED.divide(Decimal(numerator), Decimal(denominator))


def _read_decimal(value: object) -> Decimal | None:
    """Return `value` as a decimal, or `None` if it is no number at all."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return Decimal(float.__repr__(value))  # of a subclass too: NumPy's repr is no number
    if isinstance(value, (Decimal, int, str)):
        try:
            return Decimal(value)
        except InvalidOperation:
            return None
    return None


def _is_within(number: Decimal, allowed: Range) -> bool:
    """Say whether a finite number lies in the range."""
    if number < 0 or (number == 0 and allowed.startswith("greater")):
        return False
    return number <= 1 or not allowed.endswith("1")


def _decimal_places(denominator: int) -> int | None:
    """Return how many decimal places 1/denominator needs; `None` if it has no end."""
    twos = (denominator & -denominator).bit_length() - 1
    rest = denominator >> twos
    fives = 0
    while rest % 5 == 0:
        rest //= 5
        fives += 1
    return max(twos, fives) if rest == 1 else None
