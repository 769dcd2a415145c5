"""Cost models next to each other, one column each, as text for a terminal or a notebook."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

from nanobatch.cost.table import html_table, html_text, show_percent, show_usd, text_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nanobatch.cost import CostModel

__all__ = ["Rows", "as_html", "as_text", "cost_rows", "show_cost"]

Rows: TypeAlias = "list[tuple[str, ...]]"
"""A table: its header first, and words in its first column."""

NONE = "-"


def cost_rows(columns: Sequence[tuple[str, CostModel]]) -> Rows:
    """Return what the cost models of ledgers say, a column each, by the head of the column."""
    models = [model for _, model in columns]
    return [
        ("", *(head for head, _ in columns)),
        ("USD per accepted image", *map(show_cost, models)),
        ("Accept rate", *(show_percent(model.accept_rate) for model in models)),
        ("Accepted", *(f"{model.accepted:,}" for model in models)),
        ("Delivered of wanted", *(f"{model.delivered:,} of {model.wanted:,}" for model in models)),
        ("Fill rate", *(show_percent(model.fill_rate or 0.0) for model in models)),
        ("USD per call", *(show_usd(model.usd_per_call) for model in models)),
        ("Confirmed USD", *(show_usd(model.spend_usd or Decimal(0)) for model in models)),
        ("Unknown USD, at most", *(show_usd(model.unknown_usd or Decimal(0)) for model in models)),
    ]


def show_cost(model: CostModel) -> str:
    """Return the USD per accepted image for a person; a dash if none was accepted."""
    usd = model.usd_per_accepted
    return NONE if usd is None else show_usd(usd)


def as_text(tables: Iterable[Rows], sentences: Iterable[str]) -> str:
    """Return tables, the first of them with the sentences about it, for a terminal."""
    first, *further = [text_table(rows, words=1) for rows in tables]
    return "\n\n".join(["\n".join([first, *sentences]), *further])


def as_html(tables: Iterable[Rows], sentences: Iterable[str]) -> str:
    """Return the same for a notebook."""
    first, *further = [html_table(rows[1:], header=rows[0]) for rows in tables]
    return "".join([first, *map(html_text, sentences), *further])
