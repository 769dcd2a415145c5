"""What all plots share: where they draw, the words above and below, and two colours."""

# pyright: reportUnknownMemberType=false
# matplotlib's stubs leave the `**kwargs` of most methods untyped.

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

from nanobatch.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "BLUE",
    "FAINT",
    "VERMILION",
    "WORDS_POINTS",
    "add_key",
    "add_words",
    "canvas",
]

BLUE, VERMILION = "#0072B2", "#D55E00"
"""Two colours that colour-blind people tell apart, and that stand out on light and dark.

Source: M. Okabe and K. Ito, "Color Universal Design" (2008), https://jfly.uni-koeln.de/color/,
unverified.
"""

FAINT = 0.72
"""Opacity of words that come second."""

POINTS_PER_INCH = 72

TITLE_POINTS, WORDS_POINTS = 12.0, 9.0

LINE_POINTS = 1.3 * WORDS_POINTS
"""Height of a line of words."""

CHARACTER_POINTS = 0.52 * WORDS_POINTS
"""Width of a character, rather too much than too little."""

KEY_POINTS = 38.0
"""Distance of the key from the axes: the numbers and the label of the x-axis are between."""


def canvas(ax: Axes | None, *, height_inches: float) -> Axes:
    """Return the axes to draw on, cleared of what nobody needs.

    Raises:
        ConfigError: No axes were given, and matplotlib is not installed.
    """
    if ax is None:
        try:
            from nanobatch.cost.plots.shown import new_axes  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as missing:
            raise ConfigError(
                f"Plots need matplotlib ({missing}). Install the extra: "
                "pip install 'nanobatch[plot]'."
            ) from missing
        ax = new_axes(height_inches)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def add_words(ax: Axes, *, title: str, text: str, has_line: bool = False) -> None:
    """Put a title above the axes and, if the figure makes room for it, a text below the title.

    Args:
        ax: The axes.
        title: A short line.
        text: Sentences; they are broken into lines.
        has_line: Whether a line of words stands right above the axes already.
    """
    above = 6 + (LINE_POINTS if has_line else 0)
    if not _has_room(ax):
        ax.set_title(title, loc="left", fontweight="bold", pad=above, parse_math=False)
        return
    width_points = POINTS_PER_INCH * ax.get_window_extent().width / ax.figure.dpi
    whole = text.replace(" %", "\N{NO-BREAK SPACE}%").replace(" USD", "\N{NO-BREAK SPACE}USD")
    lines = fill(whole, max(30, int(width_points / CHARACTER_POINTS)))
    ax.annotate(
        lines,
        xy=(0, 1),
        xycoords="axes fraction",
        xytext=(0, above),
        textcoords="offset points",
        va="bottom",
        fontsize=WORDS_POINTS,
        linespacing=1.3,
        alpha=FAINT,
        parse_math=False,
    )
    ax.set_title(
        title,
        loc="left",
        fontsize=TITLE_POINTS,
        fontweight="bold",
        pad=above + LINE_POINTS * (1 + lines.count("\n")) + 5,
        parse_math=False,
    )


def add_key(ax: Axes) -> None:
    """Say what is what: below the axes, where it covers nothing, if the figure makes room."""
    if not ax.get_legend_handles_labels()[0]:
        return
    if not _has_room(ax):
        ax.legend(fontsize=WORDS_POINTS)
        return
    from matplotlib.transforms import offset_copy  # noqa: PLC0415 - an extra

    ax.legend(
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=offset_copy(
            ax.transAxes, fig=ax.get_figure(root=True), y=-KEY_POINTS, units="points"
        ),
        borderaxespad=0,
        borderpad=0,
        frameon=False,
        fontsize=WORDS_POINTS,
    )


def _has_room(ax: Axes) -> bool:
    """Return whether the figure moves its axes until all words fit."""
    figure = ax.get_figure(root=True)
    return figure is not None and figure.get_layout_engine() is not None
