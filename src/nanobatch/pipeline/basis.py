"""What a forecast may take as known: measured rates where there are some, else stated guesses."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from nanobatch.models import MeasuredRates, Tier

if TYPE_CHECKING:
    from datetime import date

    from nanobatch.checkpoint import StageFigures

__all__ = ["Basis", "basis_of"]

ASSUMED_ACCEPT = {Tier.LITE: Decimal("0.70"), Tier.QUALITY: Decimal("0.90")}
ASSUMED_REGENERATE = Decimal("0.08")
ASSUMED_SLOTS = 10
"""An assumption counts as much as ten slots would: its accept rate may be off by a quarter."""

ASSUMED_TEXT_TOKENS = 359
"""Text tokens beside one image: the middle of 88 to 630.

Source: reference page "Gemini image API: facts" 0.11, collected 2026-11-23, unverified.
"""

MIN_SLOTS = 20
"""From so many slots on a checkpoint's own rates count as measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """Rates and token counts of one stage on one tier."""

    rates: MeasuredRates
    """`accept` is the share of slots whose candidate passes."""

    is_measured: bool
    text_tokens_per_call: Decimal
    usd_other_per_slot: Decimal
    source: str
    """Where the rates come from, as a sentence."""


def basis_of(
    name: str,
    tier: Tier,
    config: MeasuredRates | None,
    figures: StageFigures | None,
    *,
    today: date,
) -> Basis:
    """Return the best that is known of a stage on a tier.

    The checkpoint's own slots come first, unless the config's rates rest on more. Where both are
    silent, assumed rates and the few slots there are count together.

    Args:
        name: What the stage is called.
        tier: The tier.
        config: What the config says was measured of it.
        figures: What the checkpoint's slots came to.
        today: Day in UTC.
    """
    slots = figures.slots if figures else 0
    is_own = slots >= max(MIN_SLOTS, config.slots if config else 0)
    text_tokens, other = Decimal(ASSUMED_TEXT_TOKENS), Decimal(0)
    if figures is not None:
        other = figures.other_usd / figures.slots
        if figures.counted_calls:
            text_tokens = Decimal(figures.text_tokens) / figures.counted_calls
    if figures is not None and figures.passed and is_own:
        rates = _measured(figures, today)
        source = f"{name}: the rates of the {slots:,} slots in this checkpoint."
    elif config is not None:
        rates = config
        source = f"{name}: the rates of {config.slots:,} slots, measured {config.measured_on}."
    else:
        accept, regenerate = ASSUMED_ACCEPT[tier], ASSUMED_REGENERATE
        rates, is_own = _assumed(accept, regenerate, figures, today), False
        source = f"{name}: assumed are {accept:.0%} passing and {regenerate:.0%} drawn again."
    return Basis(
        rates=rates,
        is_measured=config is not None or is_own,
        text_tokens_per_call=text_tokens,
        usd_other_per_slot=other,
        source=source.replace("%", " %"),
    )


def _measured(figures: StageFigures, today: date) -> MeasuredRates:
    return MeasuredRates(
        accept=Decimal(figures.passed) / figures.slots,
        regenerate=Decimal(figures.calls) / figures.slots - 1,
        slots=figures.slots,
        measured_on=today,
    )


def _assumed(
    accept: Decimal, regenerate: Decimal, figures: StageFigures | None, today: date
) -> MeasuredRates:
    """Return assumed rates together with the slots there are."""
    slots, calls, passed = (figures.slots, figures.calls, figures.passed) if figures else (0, 0, 0)
    every = ASSUMED_SLOTS + slots
    return MeasuredRates(
        accept=(ASSUMED_SLOTS * accept + passed) / every,
        regenerate=(ASSUMED_SLOTS * (1 + regenerate) + calls) / every - 1,
        slots=every,
        measured_on=today,
    )
