"""Many findings in few words: runs of numbers, and a count instead of the hundredth sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["MAX_SENTENCES", "few", "runs"]

MAX_SENTENCES = 50
"""Sentences per kind of finding; the rest is counted."""


def runs(numbers: Iterable[int]) -> str:
    """Return whole numbers as runs: `1 to 4, 7`."""
    bounds: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if bounds and number == bounds[-1][1] + 1:
            bounds[-1] = (bounds[-1][0], number)
        else:
            bounds.append((number, number))
    return ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in bounds)


def few(sentences: Sequence[str]) -> list[str]:
    """Return the first sentences of a kind, and how many more there are."""
    more = len(sentences) - MAX_SENTENCES
    shown = list(sentences[:MAX_SENTENCES])
    return [*shown, f"There are {more:,} more like the last one."] if more > 0 else shown
