"""A forecast as amounts on one scale: each part, and the whole below them."""

# pyright: reportUnknownMemberType=false
# matplotlib's stubs leave the `**kwargs` of most methods untyped.

from __future__ import annotations

from typing import TYPE_CHECKING

from nanobatch.cost.plots.canvas import BLUE, WORDS_POINTS, add_words, canvas
from nanobatch.cost.table import counted, show_usd
from nanobatch.errors import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nanobatch.cost.forecast import Forecast

__all__ = ["plot_forecast"]

FRAME_INCHES, ROW_INCHES = 1.5, 0.5

MOST_TIMES, SHOWN_TIMES = 4.0, 3.0
"""A bound beyond 4 times the dearest amount is cut off at 3 times, under an arrow."""

NAME_CHARACTERS = 50

LARGE_USD = 10_000


def plot_forecast(forecast: Forecast, *, ax: Axes | None) -> Axes:
    """Draw expected USD and bounds of every part and, last and below a line, of the whole."""
    rows = [*forecast.parts, forecast]
    ax = canvas(ax, height_inches=FRAME_INCHES + ROW_INCHES * len(rows))
    limit = _limit(rows)
    for place, row in enumerate(rows):
        _draw_row(ax, row, place=place, limit=limit, is_whole=row is forecast)
    if forecast.parts:
        ax.axhline(len(rows) - 1.6, color="0.5", linewidth=0.8)
    ax.set_yticks([])
    ax.set_ylim(len(rows) - 0.6, -0.6)
    ax.spines["left"].set_visible(False)
    ax.set_xlim(0, limit)
    ax.locator_params(axis="x", nbins=6)
    if limit < LARGE_USD:
        ax.ticklabel_format(axis="x", style="plain", useOffset=False)
    else:
        ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_xlabel("USD")
    ax.grid(axis="x", alpha=0.25, linewidth=0.8)
    ax.set_axisbelow(True)
    title = f"What {counted(forecast.images, 'accepted image')} will cost"
    add_words(ax, title=title, text=forecast.sentence)
    return ax


def _limit(rows: list[Forecast]) -> float:
    """Return the right end of the axis, USD; a cent where everything is free."""
    dearest = max(
        float(row.expected_usd if row.expected_usd.is_finite() else row.low_usd) for row in rows
    )
    highest = max(float(row.high_usd) for row in rows)
    return (1.08 * highest if highest <= MOST_TIMES * dearest else SHOWN_TIMES * dearest) or 0.01


def _draw_row(ax: Axes, row: Forecast, *, place: int, limit: float, is_whole: bool) -> None:
    """Draw one forecast: what it is in words, and below them a dot and its bounds."""
    low, high = float(row.low_usd), float(row.high_usd)
    ax.hlines(place, low, min(high, limit), color=BLUE, linewidth=4 if is_whole else 2.5, alpha=0.5)
    if high > limit:
        ax.plot(limit, place, ">", color=BLUE, markersize=8, clip_on=False)
    if row.expected_usd.is_finite():
        ax.plot(
            float(row.expected_usd),
            place,
            "o",
            color=BLUE,
            markersize=8 if is_whole else 6,
            clip_on=False,
        )
    ax.annotate(
        f"{_label(row, 'all' if is_whole and row.parts else '')}: {_amounts(row)} USD",
        xy=(0, place),
        xycoords=("axes fraction", "data"),
        xytext=(0, 6),
        textcoords="offset points",
        fontsize=WORDS_POINTS,
        fontweight="bold" if is_whole else "normal",
        parse_math=False,
    )


def _amounts(row: Forecast) -> str:
    """Return the figures of a row."""
    if not row.expected_usd.is_finite():
        return f"{show_usd(row.low_usd)} or more"
    if not row.high_usd.is_finite():
        return f"{show_usd(row.expected_usd)} ({show_usd(row.low_usd)} or more)"
    bounds = f"{show_usd(row.low_usd)} to {show_usd(row.high_usd)}"
    return f"{show_usd(row.expected_usd)} ({bounds})"


def _label(row: Forecast, otherwise: str) -> str:
    """Return the name of a row, cut to what fits, and how many images it is for."""
    name = one_line(row.name or otherwise)
    if len(name) > NAME_CHARACTERS:
        name = f"{name[: NAME_CHARACTERS - 1]}…"
    images = counted(row.images, "image")
    return f"{name}, {images}" if name else images
