"""Dated prices and the exact arithmetic on them: a bill is never off by a rounding."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow

__all__ = ["PriceRow", "check_batch_factor", "check_rate", "utc_day"]

MAX_USD_PER_MILLION_TOKENS = 1_000_000
"""Dearest rate that is taken for a price and not for a slip of the pen."""

MAX_DECIMALS = 12
"""Finest rate and batch factor, in decimals; with it every product below stays exact."""

_EXACT = Context(prec=200, traps=[Inexact, InvalidOperation, Overflow])
"""Raises instead of rounding, and does not care what precision the caller's own context has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRow:
    """What one model costs from one day on.

    Rows are appended, never edited: yesterday's run must still cost what it cost.

    Raises:
        ValueError: A rate is negative, not a number, above one dollar a token or finer than
            12 decimals; or the batch factor is outside (0, 1].
    """

    effective_from: date
    """First day of this price, UTC."""

    input_usd_per_million_tokens: Decimal
    """Prompt tokens, text and images alike."""

    text_output_usd_per_million_tokens: Decimal
    """Text and thinking tokens."""

    image_output_usd_per_million_tokens: Decimal
    """Output tokens of modality IMAGE."""

    batch_factor: Decimal = Decimal("0.5")
    """What a call through the Batch API costs, as a share of the same call sent directly."""

    def __post_init__(self) -> None:
        """Refuse rates nobody charges."""
        for name, check in _CHECKS.items():
            try:
                check(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None

    def usd(
        self,
        *,
        input_tokens: int = 0,
        text_tokens: int = 0,
        image_tokens: int = 0,
        batch: bool = False,
    ) -> Decimal:
        """Return what these token counts cost, USD, exact to the last digit."""
        micro_usd = Decimal(0)
        for tokens, rate in (
            (input_tokens, self.input_usd_per_million_tokens),
            (text_tokens, self.text_output_usd_per_million_tokens),
            (image_tokens, self.image_output_usd_per_million_tokens),
        ):
            micro_usd = _EXACT.add(micro_usd, _EXACT.multiply(Decimal(tokens), rate))
        if batch:
            micro_usd = _EXACT.multiply(micro_usd, self.batch_factor)
        return _shortest(micro_usd.scaleb(-6, _EXACT))


def check_rate(usd_per_million_tokens: Decimal) -> Decimal:
    """Return the rate if it can be a price.

    Raises:
        ValueError: It is not; the message goes on where the name of the field ends.
    """
    _check_number(usd_per_million_tokens)
    if usd_per_million_tokens < 0:
        raise ValueError(f"must not be negative, but is {usd_per_million_tokens}")
    if usd_per_million_tokens > MAX_USD_PER_MILLION_TOKENS:
        raise ValueError(
            f"must be USD per million tokens, and {usd_per_million_tokens} is over a dollar a token"
        )
    return usd_per_million_tokens


def check_batch_factor(factor: Decimal) -> Decimal:
    """Return the factor if it is in (0, 1].

    Raises:
        ValueError: It is not; the message goes on where the name of the field ends.
    """
    _check_number(factor)
    if not 0 < factor <= 1:
        raise ValueError(f"must be above 0 and at most 1, not {factor}")
    return factor


def utc_day(on: date | None) -> date:
    """Return the day to look prices up for: `on`, or today in UTC."""
    if on is None:
        return datetime.now(UTC).date()
    if isinstance(on, datetime):  # a `date` to the type checker, but not comparable with one
        return on.astimezone(UTC).date()
    return on


def _check_number(number: Decimal) -> None:
    exponent = number.as_tuple().exponent
    if isinstance(exponent, str):  # how the decimal module marks NaN and the infinities
        raise ValueError(f"must be a number, not {number}")  # noqa: TRY004 - the type is right
    if exponent < -MAX_DECIMALS:
        raise ValueError(f"must have at most {MAX_DECIMALS} decimals, unlike {number}")


def _shortest(usd: Decimal) -> Decimal:
    """Drop trailing zeros after the point, so that 0.033600 is shown as 0.0336 and 20 as 20."""
    if usd == usd.to_integral_value():
        return usd.quantize(Decimal(1), context=_EXACT)
    return usd.normalize(_EXACT)


_CHECKS = {
    "input_usd_per_million_tokens": check_rate,
    "text_output_usd_per_million_tokens": check_rate,
    "image_output_usd_per_million_tokens": check_rate,
    "batch_factor": check_batch_factor,
}
