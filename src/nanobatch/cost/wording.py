"""A cost model in words: every measured figure with its interval and its count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanobatch.cost.table import counted, show_level, show_percent, show_usd

if TYPE_CHECKING:
    from decimal import Decimal

    from nanobatch.cost.estimate import Estimate
    from nanobatch.cost.ledger import LedgerTotals
    from nanobatch.cost.model import CostModel

__all__ = ["forecast_note", "model_rows", "model_text"]


def model_text(model: CostModel, totals: LedgerTotals | None) -> str:
    """Return the cost, how it comes about and, if it was measured, on what it rests."""
    sentences = [_cost_sentence(model)]
    if model.accept is not None and model.accept.n:
        sentences.append(f"accept rate {model.accept}; regeneration rate {model.regeneration}")
    if totals is not None:
        sentences.append(_basis_sentence(totals))
    return "\n".join(sentences)


def model_rows(model: CostModel, totals: LedgerTotals | None) -> list[tuple[str, str]]:
    """Return the same as labels and values."""
    multiplier = model.multiplier
    rows = [
        ("USD per accepted image", _cost(model) or "none accepted yet"),
        ("USD per call", show_usd(model.usd_per_call)),
        ("Regeneration rate", _rate(model.regeneration_rate, model.regeneration)),
        ("Accept rate", _rate(model.accept_rate, model.accept)),
        ("Other USD per slot", show_usd(model.usd_other_per_slot)),
        ("Calls per accepted image", "-" if multiplier is None else f"{multiplier:.2f}"),
    ]
    return rows if totals is None else rows + _basis_rows(totals)


def forecast_note(slots: int | None) -> str:
    """Return what the bounds of a forecast cover."""
    if slots is None:
        return "The rates were entered by hand and taken as exact: the bounds show luck only."
    return f"The rates rest on {counted(slots, 'slot')}."


def _cost(model: CostModel) -> str | None:
    """Return the cost of an accepted image, with its interval if it has one."""
    usd, estimate = model.usd_per_accepted, model.estimate()
    if usd is None:
        return None
    return show_usd(usd) if estimate is None else str(estimate).removesuffix(" USD")


def _rate(rate: Decimal, estimate: Estimate | None) -> str:
    return show_percent(rate) if estimate is None else str(estimate)


def _cost_sentence(model: CostModel) -> str:
    cost = _cost(model)
    if cost is None:
        return f"No accepted image yet, so no cost per accepted image{_least(model.estimate())}."
    slot = f"{show_usd(model.usd_per_call)} x (1 + {show_percent(model.regeneration_rate)})"
    if model.usd_other_per_slot:
        slot = f"({slot} + {show_usd(model.usd_other_per_slot)})"
    return f"USD {cost} per accepted image: {slot} / {show_percent(model.accept_rate)}"


def _least(estimate: Estimate | None) -> str:
    """Return what an image costs at least while none was accepted, if the slots say so."""
    if estimate is None or not estimate.low:
        return ""
    level = show_level(estimate.level)
    return f": USD {show_usd(estimate.low)} or more ({level}, n = {estimate.n:,})"


def _basis_rows(totals: LedgerTotals) -> list[tuple[str, str]]:
    """Return what a ledger's figures rest on, as labels and values."""
    wanted = [
        ("Delivered of wanted", f"{totals.delivered:,} of {totals.wanted:,}"),
        ("Fill rate", show_percent(totals.fill_rate)),
    ]
    return [
        ("Slots", f"{totals.slots:,}"),
        ("Billed calls", f"{totals.calls:,}"),
        ("Accepted", f"{totals.accepted:,}"),
        *(wanted if totals.wanted else ()),  # the lines of one tier want nothing
        ("Confirmed USD", show_usd(totals.spend_usd)),
        ("Unknown USD, at most", show_usd(totals.unknown_usd)),
    ]


def _basis_sentence(totals: LedgerTotals) -> str:
    """Return what a ledger's figures rest on, as one sentence."""
    unknown = (
        f" and at most USD {show_usd(totals.unknown_usd)} unknown" if totals.unknown_usd else ""
    )
    wanted = (
        f"; fill rate {show_percent(totals.fill_rate)} "
        f"({totals.delivered:,} of {totals.wanted:,} wanted)"
        if totals.wanted
        else ""
    )
    return (
        f"USD {show_usd(totals.spend_usd)} confirmed{unknown}; {totals.slots:,} slots, "
        f"{totals.calls:,} calls, {totals.accepted:,} accepted{wanted}"
    )
