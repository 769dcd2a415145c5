"""Plain text for a terminal of 80 columns: tables, sentences and amounts."""

from __future__ import annotations

import os
import sys
import textwrap
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

__all__ = ["counted", "percent", "printable", "say", "sentence", "table", "usd"]

WIDTH = 79
"""One less than the terminal: some wrap a full line."""
GAP = "  "
MIN_TEXT_WIDTH = 20


def say(text: str = "") -> None:
    """Print a text at once; once the reader has left (`... | head`), the batch goes on silently."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)  # Python flushes once more when it exits
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def usd(amount: Decimal | None) -> str:
    """Return an amount with four decimals."""
    return "n/a" if amount is None else f"{amount:,.4f}"


def percent(rate: Decimal | float) -> str:
    """Return a rate as a percentage, `70.0 %`."""
    return f"{100 * rate:.1f} %"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, `1 image` or `3 images`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def printable(text: str) -> str:
    """Return a text without what a terminal would obey: escapes, new lines, changes of direction.

    Ids come from data sets and reasons may quote a model.
    """
    return "".join(c if c.isprintable() else " " for c in text)


def sentence(text: str) -> str:
    """Return a text in lines that fit; a path is never broken."""
    return textwrap.fill(printable(text), WIDTH, break_long_words=False, break_on_hyphens=False)


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, left: frozenset[int] = frozenset({0})
) -> str:
    """Return an aligned table whose last column wraps, so that it fits.

    Args:
        header: Names of the columns.
        rows: As many cells each.
        left: Columns that are aligned to the left; the others hold numbers.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    last = len(header) - 1
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    room = WIDTH - sum(widths[:last]) - len(GAP) * last
    widths[last] = min(widths[last], max(room, MIN_TEXT_WIDTH))
    rule = ["-" * width for width in widths]
    return "\n".join(_row(cells, widths, left) for cells in (header, rule, *rows))


def _row(cells: Sequence[str], widths: Sequence[int], left: frozenset[int]) -> str:
    columns = [[cell] for cell in cells[:-1]] + [textwrap.wrap(cells[-1], widths[-1]) or [""]]
    lines = zip_longest(*columns, fillvalue="")
    return "\n".join(
        GAP.join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
