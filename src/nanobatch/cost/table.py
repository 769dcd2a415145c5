"""How amounts are shown: rounded only here, as text for a terminal or as HTML for a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from decimal import Decimal

__all__ = [
    "CostTable",
    "html_table",
    "html_text",
    "show_percent",
    "show_usd",
    "text_table",
]


@dataclass(frozen=True, slots=True)
class CostTable:
    """What some numbers of images cost; iterating yields `(images, usd)`, as does `rows`."""

    rows: tuple[tuple[int, Decimal], ...]
    """Images and their USD, exact, in the order asked for."""

    def __iter__(self) -> Iterator[tuple[int, Decimal]]:
        """Yield `(images, usd)`."""
        return iter(self.rows)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __str__(self) -> str:
        """Return an aligned table, USD rounded to show."""
        return text_table([("images", "USD"), *self._cells()])

    def _repr_html_(self) -> str:
        """Return the same table for a notebook."""
        return html_table(self._cells(), header=("images", "USD"))

    def _cells(self) -> list[tuple[str, str]]:
        places = max((_places(usd) for _, usd in self.rows), default=2)
        return [(f"{images:,}", show_usd(usd, places=places)) for images, usd in self.rows]


def show_usd(usd: Decimal, *, places: int | None = None) -> str:
    """Return an amount for a person: cents, or three significant digits below one dollar."""
    return f"{usd:,.{_places(usd) if places is None else places}f}"


def show_percent(rate: Decimal | float) -> str:
    """Return a rate as a percentage with one decimal, `"70.0 %"`."""
    return f"{rate:.1%}".replace("%", " %")


def text_table(rows: Sequence[Sequence[str]], *, words: int = 0) -> str:
    """Return rows of text as aligned columns, the first `words` of them to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def html_text(text: str) -> str:
    """Return a paragraph of escaped text."""
    return f"<p>{escape(text)}</p>"


def html_table(rows: Iterable[Iterable[str]], *, header: Iterable[str] = ()) -> str:
    """Return a plain HTML table of escaped text."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{_html_cells(row)}</tr>" for row in rows)
    return (
        f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"
    )


def _html_cells(row: Iterable[str]) -> str:
    return "".join(f"<td>{escape(cell)}</td>" for cell in row)


def _places(usd: Decimal) -> int:
    """Return the decimals that show an amount: 2, or below a dollar 4 or three significant."""
    return 2 if usd == 0 or abs(usd) >= 1 else max(4, 2 - usd.adjusted())
