from __future__ import annotations

import decimal
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobatch.models import PriceRow
from nanobatch.models.price import utc_day

RATES = st.decimals(min_value=0, max_value=1_000, places=9, allow_nan=False, allow_infinity=False)
FACTORS = st.decimals(min_value="0.001", max_value=1, places=3)
COUNTS = st.tuples(*[st.integers(min_value=0, max_value=10**12)] * 3)


def row(
    input_rate: str | Decimal = "0.25",
    text_rate: str | Decimal = "1.50",
    image_rate: str | Decimal = "30",
    batch_factor: str | Decimal = "0.5",
) -> PriceRow:
    return PriceRow(
        effective_from=date(2026, 1, 1),
        input_usd_per_million_tokens=Decimal(input_rate),
        text_output_usd_per_million_tokens=Decimal(text_rate),
        image_output_usd_per_million_tokens=Decimal(image_rate),
        batch_factor=Decimal(batch_factor),
    )


def bill(price: PriceRow, counts: tuple[int, int, int], *, batch: bool) -> Fraction:
    input_tokens, text_tokens, image_tokens = counts
    return Fraction(
        price.usd(
            input_tokens=input_tokens,
            text_tokens=text_tokens,
            image_tokens=image_tokens,
            batch=batch,
        )
    )


@given(RATES, RATES, RATES, FACTORS, COUNTS, st.booleans())
def test_a_bill_is_the_exact_sum_of_counts_times_rates(
    input_rate: Decimal,
    text_rate: Decimal,
    image_rate: Decimal,
    factor: Decimal,
    counts: tuple[int, int, int],
    batch: bool,
) -> None:
    price = row(input_rate, text_rate, image_rate, factor)

    usd = bill(price, counts, batch=batch)

    rates = (Fraction(input_rate), Fraction(text_rate), Fraction(image_rate))
    direct = sum(count * rate for count, rate in zip(counts, rates, strict=True)) / 1_000_000
    assert usd == (direct * Fraction(factor) if batch else direct)


@given(RATES, RATES, RATES, COUNTS, COUNTS, st.booleans())
def test_two_calls_cost_what_one_call_with_both_their_tokens_costs(
    input_rate: Decimal,
    text_rate: Decimal,
    image_rate: Decimal,
    one: tuple[int, int, int],
    other: tuple[int, int, int],
    batch: bool,
) -> None:
    price = row(input_rate, text_rate, image_rate)
    both = (one[0] + other[0], one[1] + other[1], one[2] + other[2])

    together = bill(price, both, batch=batch)

    assert together == bill(price, one, batch=batch) + bill(price, other, batch=batch)


def test_the_caller_s_decimal_context_changes_no_bill() -> None:
    with decimal.localcontext(prec=3, rounding=decimal.ROUND_UP):
        usd = row().usd(input_tokens=1_234_567, image_tokens=10**12)

    # 1,234,567 x 0.25 / 10^6 = 0.30864175; 10^12 x 30 / 10^6 = 30,000,000
    assert usd == Decimal("30000000.30864175")


def test_half_a_nano_dollar_is_kept() -> None:
    usd = row(input_rate="0.001").usd(input_tokens=1, batch=True)

    assert usd == Decimal("0.0000000005")


@pytest.mark.parametrize(
    ("image_tokens", "shown"), [(0, "0"), (1120, "0.0336"), (10**6, "30"), (10**8, "3000")]
)
def test_a_bill_is_written_without_zeros_nobody_needs(image_tokens: int, shown: str) -> None:
    usd = row().usd(image_tokens=image_tokens)

    assert str(usd) == shown


@pytest.mark.parametrize("rate", ["0", "0.000000000001", "1000000"])
def test_rates_from_free_to_a_dollar_a_token_are_prices(rate: str) -> None:
    price = row(input_rate=rate)

    assert Fraction(price.usd(input_tokens=10**12)) == Fraction(rate) * 10**6


@pytest.mark.parametrize(
    ("rate", "complaint"),
    [
        ("-0.01", "must not be negative, but is -0.01"),
        ("NaN", "must be a number, not NaN"),
        ("sNaN", "must be a number, not sNaN"),
        ("Infinity", "must be a number, not Infinity"),
        ("1000000.01", "must be USD per million tokens, and 1000000.01 is over a dollar a token"),
        ("0.0000000000001", "must have at most 12 decimals, unlike 1E-13"),
    ],
)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_rate_nobody_charges_is_refused_by_name(rate: str, complaint: str, position: int) -> None:
    rates = ["1", "1", "1"]
    rates[position] = rate
    name = ("input", "text_output", "image_output")[position] + "_usd_per_million_tokens"

    with pytest.raises(ValueError, match="must") as caught:
        row(*rates)

    assert str(caught.value) == f"{name} {complaint}"


@pytest.mark.parametrize("factor", ["0", "-0.5", "1.01"])
def test_a_batch_factor_outside_0_to_1_is_refused(factor: str) -> None:
    with pytest.raises(ValueError, match="batch_factor must be above 0 and at most 1, not"):
        row(batch_factor=factor)


def test_a_moment_counts_as_its_day_in_utc() -> None:
    # half past one in the morning, two hours east of Greenwich: still the day before in UTC
    moment = datetime(2026, 10, 29, 1, 30, tzinfo=timezone(timedelta(hours=2)))

    assert utc_day(moment) == date(2026, 10, 28)
    assert utc_day(date(2026, 10, 29)) == date(2026, 10, 29)


def test_without_a_day_prices_are_those_of_today() -> None:
    before = datetime.now(UTC).date()

    day = utc_day(None)

    assert before <= day <= datetime.now(UTC).date()
