"""Money changes its form without changing its amount, whatever the caller's decimal context."""

from __future__ import annotations

from decimal import ROUND_DOWN, Context, Decimal, Inexact, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobatch.models.money import MAX_USD, nano_of_usd, nano_within_usd, usd_of_nano

CRUDE = Context(prec=3, rounding=ROUND_DOWN, Emax=5, Emin=-5, traps=[])
STRICT = Context(prec=3, traps=[Inexact])


@pytest.mark.parametrize(
    ("usd", "up", "down"),
    [
        ("0", 0, 0),
        ("0.0336", 33_600_000, 33_600_000),
        ("25", 25_000_000_000, 25_000_000_000),
        ("0.0000000001", 1, 0),
        ("0.0336000001", 33_600_001, 33_600_000),
        ("1E-999999", 1, 0),
        ("-0.0000000005", 0, -1),
        ("123456789.123456789", 123_456_789_123_456_789, 123_456_789_123_456_789),
    ],
)
def test_a_price_is_rounded_up_and_a_cap_is_rounded_down(usd: str, up: int, down: int) -> None:
    assert nano_of_usd(Decimal(usd)) == up
    assert nano_within_usd(Decimal(usd)) == down


def test_nano_dollars_are_shown_exactly() -> None:
    assert usd_of_nano(33_600_000) == Decimal("0.0336")
    assert usd_of_nano(-1) == Decimal("-0.000000001")
    assert usd_of_nano(10**40 + 1) == Decimal("10000000000000000000000000000000.000000001")


@pytest.mark.parametrize("context", [CRUDE, STRICT], ids=["three digits", "no rounding"])
def test_the_callers_decimal_context_changes_nothing(context: Context) -> None:
    with localcontext(context):
        up = nano_of_usd(Decimal("123456789.1234567891"))
        down = nano_within_usd(Decimal("123456789.1234567891"))
        usd = usd_of_nano(123_456_789_123_456_789)

    assert up == 123_456_789_123_456_790
    assert down == 123_456_789_123_456_789
    assert usd == Decimal("123456789.123456789")


def test_the_largest_amount_fits_sixty_four_bits() -> None:
    assert nano_of_usd(Decimal(MAX_USD)) == 10**18 < 2**63


@settings(max_examples=300, deadline=None, database=None)
@given(st.integers(-(2**70), 2**70))
def test_there_and_back_is_the_same(nano: int) -> None:
    with localcontext(CRUDE):
        usd = usd_of_nano(nano)

    assert nano_of_usd(usd) == nano_within_usd(usd) == nano
