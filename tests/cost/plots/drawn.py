"""Reads what was drawn off the axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from matplotlib.collections import LineCollection

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

XY: TypeAlias = tuple[Any, Any]
"""A point; its numbers are compared with numbers, or with approximate ones."""


def points(line: Line2D) -> list[XY]:
    """Return the points of a line."""
    array: Any = line.get_xydata()
    return [(float(x), float(y)) for x, y in array]


def curves(ax: Axes) -> list[list[XY]]:
    """Return the lines that have the many points of a curve."""
    return [points(line) for line in ax.lines if len(points(line)) > 100]


def dots(ax: Axes, marker: str) -> list[XY]:
    """Return the single points with a marker."""
    return [
        points(line)[0]
        for line in ax.lines
        if line.get_marker() == marker and len(points(line)) == 1
    ]


def bars(ax: Axes) -> list[list[XY]]:
    """Return the bars of intervals, each from its lower to its upper end."""
    return [
        [(float(x), float(y)) for x, y in segment]
        for collection in ax.collections
        if isinstance(collection, LineCollection)
        for segment in collection.get_segments()
    ]


def across(ax: Axes) -> list[float]:
    """Return the heights of the lines across the whole axes."""
    return [y for line in ax.lines for (x, y), (end, _) in [_ends(line)] if (x, end) == (0, 1)]


def down(ax: Axes) -> list[float]:
    """Return the places of the lines from top to bottom."""
    return [
        x
        for line in ax.lines
        for (x, y), (end, top) in [_ends(line)]
        if (y, top) == (0, 1) and x == end and len(points(line)) == 2
    ]


def words(ax: Axes) -> list[str]:
    """Return all texts on and around the axes, line breaks and fixed spaces made plain."""
    legend = ax.get_legend()
    texts = [ax.get_title(loc="left"), *(text.get_text() for text in ax.texts)]
    texts += [] if legend is None else [text.get_text() for text in legend.get_texts()]
    return [" ".join(text.split()) for text in texts]


def _ends(line: Line2D) -> tuple[XY, XY]:
    first, *_, last = points(line) * 2
    return first, last
