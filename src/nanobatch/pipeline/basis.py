"""What a forecast may take as known: measured rates where there are some, else stated guesses."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from nanobatch.models import MeasuredRates, Tier

if TYPE_CHECKING:
    from datetime import date

    from nanobatch.checkpoint import CheckpointReader
    from nanobatch.models import Model, ModelRegistry

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
    """Rates and token counts of one tier."""

    rates: MeasuredRates
    is_measured: bool
    text_tokens_per_call: Decimal
    usd_other_per_slot: Decimal
    source: str
    """Where it comes from, as a sentence."""


def basis_of(
    tier: Tier,
    model: Model,
    registry: ModelRegistry,
    checkpoint: CheckpointReader | None,
    *,
    today: date,
) -> Basis:
    """Return the best that is known of a tier.

    The checkpoint's own slots come first, unless the config's rates rest on more. Where both are
    silent, assumed rates and the few slots there are count together.
    """
    config = registry.rates.get(tier) or registry.rates.get(model.id)
    accept, regenerate = ASSUMED_ACCEPT[tier], ASSUMED_REGENERATE
    assumed = ASSUMED_SLOTS
    slots, calls, accepted = 0, 0, 0
    text_tokens, other = Decimal(ASSUMED_TEXT_TOKENS), Decimal(0)
    if checkpoint is not None:
        cost = checkpoint.cost_model(tier=tier)
        slots, calls, accepted = cost.slots or 0, cost.calls or 0, cost.accepted or 0
        other = cost.usd_other_per_slot
        text_tokens = checkpoint.text_tokens_per_call(tier) or text_tokens
    if slots >= MIN_SLOTS and accepted and slots >= (config.slots if config else 0):
        assumed, source = 0, f"{tier}: the rates of the {slots:,} slots in this checkpoint."
    elif config is not None:
        return Basis(
            rates=config,
            is_measured=True,
            text_tokens_per_call=text_tokens,
            usd_other_per_slot=other,
            source=f"{tier}: the rates of {config.slots:,} slots, measured {config.measured_on}.",
        )
    else:
        source = f"{tier}: assumed are {accept:.0%} accepted and {regenerate:.0%} drawn again."
    every = assumed + slots
    return Basis(
        rates=MeasuredRates(
            accept=(assumed * accept + accepted) / every,
            regenerate=(assumed * (1 + regenerate) + calls) / every - 1,
            slots=every,
            measured_on=today,
        ),
        is_measured=not assumed,
        text_tokens_per_call=text_tokens,
        usd_other_per_slot=other,
        source=source.replace("%", " %"),
    )
