"""Two tiers: what an image drafted on one and finished on the other costs, and which is cheaper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanobatch.cost.exact import Number, read_count, read_fraction, to_decimal

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["break_even_accept_rate", "two_tier_usd_per_accepted"]


def two_tier_usd_per_accepted(
    *,
    usd_per_draft_slot: Number,
    pick_rate: Number,
    usd_per_finish_slot: Number,
    finish_accept_rate: Number,
    max_finish_slots: int = 1,
    share_finished: Number = 1,
    fallback_share: Number = 0,
) -> Decimal:
    """Return USD per accepted image when drafts are picked and the picks are finished.

    With k_L, k_Q the USD of a draft and of a finish slot, d the pick rate, s the share finished,
    M finish slots at most, each accepted with probability b, and f the fallback share: a finish
    takes m = (1 - (1-b)^M) / b slots on average and succeeds with a = 1 - (1-b)^M, so

        C = (k_L / d + s m k_Q) / (1 - s (1 - a) (1 - f))

    Args:
        usd_per_draft_slot: All-in USD of a draft slot (`CostModel.usd_per_slot`), >= 0.
        pick_rate: Picks per draft slot, above 0 up to 1; 1/n when the best of n is picked.
        usd_per_finish_slot: All-in USD of a finish slot, >= 0.
        finish_accept_rate: Accepted images per finish slot, above 0 up to 1.
        max_finish_slots: Finish slots that one pick may use before it is given up, 1 to 1,000.
        share_finished: Share of the picks that is finished, 0 to 1; the others are accepted as
            they are.
        fallback_share: Share of the given-up picks whose draft is delivered instead, 0 to 1.

    Raises:
        ValueError: An argument is outside its range; the message says which and why.
    """
    draft = read_fraction("usd_per_draft_slot", usd_per_draft_slot, "at least 0")
    picked = read_fraction("pick_rate", pick_rate, "greater than 0 up to 1")
    finish = read_fraction("usd_per_finish_slot", usd_per_finish_slot, "at least 0")
    accepted = read_fraction("finish_accept_rate", finish_accept_rate, "greater than 0 up to 1")
    slots = read_count("max_finish_slots", max_finish_slots, at_least=1, at_most=1_000)
    share = read_fraction("share_finished", share_finished, "from 0 to 1")
    fallback = read_fraction("fallback_share", fallback_share, "from 0 to 1")

    finished = 1 - (1 - accepted) ** slots
    finish_slots_per_pick = share * finished / accepted
    accepted_per_pick = 1 - share * (1 - finished) * (1 - fallback)
    return to_decimal((draft / picked + finish_slots_per_pick * finish) / accepted_per_pick)


def break_even_accept_rate(
    *, usd_per_slot: Number, other_usd_per_slot: Number, other_accept_rate: Number
) -> Decimal:
    """Return the accept rate above which one tier is cheaper per accepted image than another.

    It is `other_accept_rate x usd_per_slot / other_usd_per_slot`. Above 1 it cannot be reached:
    the other tier is always cheaper.

    Args:
        usd_per_slot: All-in USD of a slot on the tier in question, usually Lite, >= 0.
        other_usd_per_slot: All-in USD of a slot on the other tier, > 0.
        other_accept_rate: Accepted images per slot on the other tier, above 0 up to 1.

    Raises:
        ValueError: An argument is outside its range; the message says which and why.
    """
    usd = read_fraction("usd_per_slot", usd_per_slot, "at least 0")
    other_usd = read_fraction("other_usd_per_slot", other_usd_per_slot, "greater than 0")
    other_accepted = read_fraction("other_accept_rate", other_accept_rate, "greater than 0 up to 1")
    return to_decimal(other_accepted * usd / other_usd)
