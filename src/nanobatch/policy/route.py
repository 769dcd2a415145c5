"""Which tier draws the next candidate of a job whose route is `auto`."""

from __future__ import annotations

from nanobatch.models import Tier

__all__ = ["tier_for_slot"]

LITE_SLOTS = 3
"""Slots of a job drawn on Lite before the quality tier takes over.

Source: the static cascade, 1.05 to 1.23 times the cost of a rule that knows every rate
(simulated; reference page "Economics of a batch" 6, 2026-11). A measured rule replaces it later.
"""


def tier_for_slot(slots_used: int, *, eligible: frozenset[Tier]) -> Tier:
    """Return the tier of a job's next slot.

    Args:
        slots_used: Slots of the job so far, those in flight included.
        eligible: The tiers that can make the image, at least one.
    """
    wanted = Tier.LITE if slots_used < LITE_SLOTS else Tier.QUALITY
    return wanted if wanted in eligible else next(iter(eligible))
