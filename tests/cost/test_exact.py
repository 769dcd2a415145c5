from __future__ import annotations

import decimal
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from nanobatch.cost.exact import add_exactly, read_count, read_fraction, to_decimal


@pytest.mark.parametrize("written", ["0.1", 0.1, Decimal("0.1"), Decimal("0.100")])
def test_a_tenth_is_a_tenth_however_it_is_written(written: str | float | Decimal) -> None:
    number = read_fraction("usd_per_call", written, "at least 0")

    assert number == Fraction(1, 10)


def test_a_fraction_with_a_finite_decimal_form_keeps_every_digit() -> None:
    # 1 / 2**40 = 5**40 / 10**40, and 5**40 has 28 digits, 3 / 2**40 one digit more
    value = Fraction(3, 2**40)

    number = to_decimal(value)

    assert Fraction(number) == value
    assert number == Decimal(f"{3 * 5**40}E-40")


def test_a_fraction_without_end_is_rounded_half_even_to_28_digits() -> None:
    assert to_decimal(Fraction(2, 3)) == Decimal("0.6666666666666666666666666667")
    assert to_decimal(Fraction(-200, 3)) == Decimal("-66.66666666666666666666666667")


def test_the_caller_s_decimal_context_changes_no_result() -> None:
    with decimal.localcontext(prec=3, rounding=decimal.ROUND_UP):
        third = to_decimal(Fraction(1, 3))
        exact = to_decimal(Fraction(123_456_789, 1000))
        total = add_exactly(Decimal("1000000.000000001"), Decimal("0.000000001"))

    assert third == Decimal("0.3333333333333333333333333333")
    assert exact == Decimal("123456.789")
    assert total == Decimal("1000000.000000002")


def test_a_float_of_numpy_is_read_as_it_prints() -> None:
    numpy = pytest.importorskip("numpy")

    number = read_fraction("accept_rate", numpy.float64(0.7), "greater than 0 up to 1")

    assert number == Fraction(7, 10)


@pytest.mark.parametrize("written", ["1e999999999", "1e-999999999", Decimal("1e40"), "1e-31"])
def test_a_number_of_absurd_size_is_refused_before_it_is_computed_with(
    written: str | Decimal,
) -> None:
    with pytest.raises(ValueError, match=r"^usd_per_call is .*of ordinary size"):
        read_fraction("usd_per_call", written, "at least 0")


def test_zero_is_zero_whatever_its_exponent() -> None:
    assert read_fraction("usd_per_call", "0e999999999", "at least 0") == 0


@pytest.mark.parametrize("count", [True, 1.0, "3", None, 0, 11])
def test_a_count_is_a_whole_number_in_its_range(count: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^images is .*; it must be a whole number from 1 to 10\.$"
    ):
        read_count("images", count, at_least=1, at_most=10)
