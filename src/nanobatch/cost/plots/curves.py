"""Cost per accepted image against the accept rate: one model, or two tiers and what divides them.

At a given cost of a slot, k, an accepted image costs k / a: a curve over the accept rate a. What
was measured is a point on it, with an interval to either side.
"""

# pyright: reportUnknownMemberType=false
# matplotlib's stubs leave the `**kwargs` of most methods untyped.

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING

from nanobatch.cost.plots.canvas import (
    BLUE,
    VERMILION,
    WORDS_POINTS,
    add_key,
    add_words,
    canvas,
)
from nanobatch.cost.table import show_percent, show_usd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nanobatch.cost.compare import Comparison, Winner
    from nanobatch.cost.model import CostModel

__all__ = ["Drawn", "plot_comparison", "plot_model"]

MODEL_INCHES, COMPARISON_INCHES = 4.2, 4.9

CURVE_POINTS = 200

MOST_TIMES, SHOWN_TIMES = 4.0, 3.0
"""An interval that reaches beyond 4 times the cost is cut off at 3 times, under an arrow."""

MIDDLE = 0.5

DASHES = (0, (5, 3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A cost model in the numbers that are drawn."""

    usd_per_slot: float
    """k, >= 0."""

    accept_rate: float
    """From 0 to 1: images of slots that were never billed count to 1."""

    rate_bounds: tuple[float, float] | None
    """`None` for rates without slots behind them, as `usd_bounds`."""

    usd: float
    """Cost of an accepted image; infinite if there is none."""

    usd_bounds: tuple[float, float] | None

    words: str
    """The cost with its interval, in words."""

    @classmethod
    def of(cls, model: CostModel, *, live: bool = False) -> Drawn:
        """Return a cost model as it is drawn."""
        cost, accept = model.estimate(live=live), model.accept_live if live else model.accept
        usd = model.usd_per_accepted
        return cls(
            usd_per_slot=float(model.usd_per_slot),
            accept_rate=min(1.0, float(model.accept_rate)),
            rate_bounds=None if accept is None else (float(accept.low), float(accept.high)),
            usd=inf if usd is None else float(usd),
            usd_bounds=None if cost is None else (float(cost.low), float(cost.high)),
            words=(
                f"{show_usd(usd)} USD, entered by hand"
                if cost is None and usd is not None
                else str(cost)
            ),
        )

    @property
    def least_usd(self) -> float:
        """Lower bound of the cost."""
        return self.usd if self.usd_bounds is None else self.usd_bounds[0]

    @property
    def reach(self) -> float:
        """The highest cost that a picture of it should show."""
        if not isfinite(self.usd):
            return SHOWN_TIMES * self.least_usd
        high = self.usd if self.usd_bounds is None else self.usd_bounds[1]
        if high > MOST_TIMES * self.usd:
            return SHOWN_TIMES * self.usd
        return max(1.1 * high, 1.8 * self.usd)


def plot_model(
    model: CostModel, *, against: CostModel | None = None, live: bool = False, ax: Axes | None
) -> Axes:
    """Draw a cost model, and what another costs as a line across."""
    ax = canvas(ax, height_inches=MODEL_INCHES)
    drawn = Drawn.of(model, live=live)
    other = None if against is None else Drawn.of(against, live=live)
    top = _top(drawn, *filter(None, [other]))
    _draw_curve(ax, drawn, top=top, color=BLUE)
    _draw_point(ax, drawn, top=top, color=BLUE, marker="o", label=f"this: {drawn.words}")
    dividing = None
    if other is not None:
        _draw_level(ax, other, top=top, label=f"against: {other.words}")
        if drawn.usd_per_slot and other.usd > 0:
            dividing = drawn.usd_per_slot / other.usd  # 0 if that one has no image yet
        add_key(ax)
    has_line = _draw_dividing_line(ax, dividing, name="this is cheaper")
    _finish_axes(ax, top=top)
    add_words(ax, title=_model_title(model), text=_model_text(model, live=live), has_line=has_line)
    return ax


def plot_comparison(comparison: Comparison, *, ax: Axes | None) -> Axes:
    """Draw both tiers, and the accept rate of Lite that divides where one of them is cheaper."""
    ax = canvas(ax, height_inches=COMPARISON_INCHES)
    lite, quality = Drawn.of(comparison.lite), Drawn.of(comparison.quality)
    top = _top(lite, quality)
    for name, drawn, color, marker in (
        ("Lite", lite, BLUE, "o"),
        ("quality", quality, VERMILION, "s"),
    ):
        _draw_curve(ax, drawn, top=top, color=color)
        _draw_point(ax, drawn, top=top, color=color, marker=marker, label=f"{name}: {drawn.words}")
    line = comparison.break_even_accept_rate
    has_line = _draw_dividing_line(
        ax, None if line is None else float(line), name="Lite is cheaper"
    )
    if has_line:
        ax.axhline(quality.usd, color=VERMILION, linewidth=0.9, linestyle=DASHES, zorder=1.5)
    add_key(ax)
    _finish_axes(ax, top=top)
    add_words(ax, title=_verdict(comparison), text=comparison.sentence, has_line=has_line)
    return ax


def _top(*drawn: Drawn) -> float:
    """Return the upper end of the y-axis, USD; a cent where everything is free."""
    return max(one.reach for one in drawn) or 0.01


def _draw_curve(ax: Axes, drawn: Drawn, *, top: float, color: str) -> None:
    """Draw k / a from where it enters the picture."""
    first = drawn.usd_per_slot / top
    if 0 < first < 1:
        step = first ** (-1 / CURVE_POINTS)
        rates = [first * step**number for number in range(CURVE_POINTS)] + [1.0]
        usd = [drawn.usd_per_slot / rate for rate in rates]
        ax.plot(rates, usd, color=color, linewidth=1.8, alpha=0.55)


def _draw_point(ax: Axes, drawn: Drawn, *, top: float, color: str, marker: str, label: str) -> None:
    """Draw what was measured; without an accepted image, what one costs at least."""
    if not isfinite(drawn.usd):
        if drawn.least_usd:
            _draw_least(ax, drawn.least_usd, color=color, label=label)
        return
    if drawn.usd_bounds is not None:
        low, high = drawn.usd_bounds
        ax.errorbar(
            drawn.accept_rate,
            drawn.usd,
            xerr=_around(drawn.accept_rate, drawn.rate_bounds),
            yerr=_around(drawn.usd, (low, min(high, top))),
            fmt="none",
            ecolor=color,
            elinewidth=1.8,
            zorder=3,
            clip_on=False,
        )
        if high > top:
            ax.plot(drawn.accept_rate, top, "^", color=color, markersize=8, clip_on=False, zorder=3)
    ax.plot(
        drawn.accept_rate,
        drawn.usd,
        color=color,
        marker=marker,
        markersize=7,
        linewidth=1.8,
        label=label,
        zorder=3,
        clip_on=False,
    )


def _draw_least(ax: Axes, usd: float, *, color: str, label: str) -> None:
    """Draw a cost that is exceeded at any accept rate, with arrows upward."""
    ax.plot(
        [0, 0.25, 0.5, 0.75, 1],
        [usd] * 5,
        color=color,
        linewidth=1.8,
        linestyle=DASHES,
        marker="^",
        markevery=[1, 2, 3],
        markersize=8,
        label=label,
    )


def _draw_level(ax: Axes, drawn: Drawn, *, top: float, label: str) -> None:
    """Draw what another model costs, with its interval, across all accept rates."""
    if not isfinite(drawn.usd):
        if drawn.least_usd:
            _draw_least(ax, drawn.least_usd, color=VERMILION, label=label)
        return
    if drawn.usd_bounds is not None:
        low, high = drawn.usd_bounds
        ax.axhspan(low, min(high, top), color=VERMILION, alpha=0.1, linewidth=0)
    ax.axhline(drawn.usd, color=VERMILION, linewidth=1.8, linestyle=DASHES, label=label)


def _draw_dividing_line(ax: Axes, rate: float | None, *, name: str) -> bool:
    """Draw the accept rate from which on something is cheaper, and say so above the axes.

    Returns:
        Whether there is such a rate.
    """
    if rate is None or not 0 < rate < 1:
        return False
    ax.axvline(rate, color="0.5", linewidth=1.2, linestyle=":", zorder=1.5)
    ax.annotate(
        f"{name} above {show_percent(rate)}",
        xy=(rate, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="left" if rate < MIDDLE else "right",
        va="bottom",
        fontsize=WORDS_POINTS,
    )
    return True


def _finish_axes(ax: Axes, *, top: float) -> None:
    ax.set_xlim(0, 1)
    ax.set_ylim(0, top)
    ax.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"])
    ax.ticklabel_format(axis="y", style="plain", useOffset=False)
    ax.set_xlabel("accept rate: accepted images per slot")
    ax.set_ylabel("USD per accepted image")
    ax.grid(alpha=0.25, linewidth=0.8)
    ax.set_axisbelow(True)


def _around(value: float, bounds: tuple[float, float] | None) -> list[list[float]] | None:
    """Return how far bounds lie to either side of a value, as matplotlib wants it."""
    return (
        None if bounds is None else [[max(0.0, value - bounds[0])], [max(0.0, bounds[1] - value)]]
    )


def _model_title(model: CostModel) -> str:
    usd = model.usd_per_accepted
    if usd is not None:
        return f"{show_usd(usd)} USD per accepted image"
    return "No slots yet" if model.slots == 0 else "No accepted image yet"


def _model_text(model: CostModel, *, live: bool) -> str:
    """Return what the figures rest on, and what the curve is."""
    if model.slots == 0:
        return "Without slots there is nothing to see."
    accept = model.accept_live if live else model.accept
    cost = model.estimate(live=live)
    if accept is None or cost is None:
        rests = f"Accept rate {show_percent(model.accept_rate)}, entered by hand."
    else:
        rests = f"Cost {cost}. Accept rate {accept}."
    slot = show_usd(model.usd_per_slot)
    return f"{rests} The curve: the cost at other accept rates, at {slot} USD a slot."


def _verdict(comparison: Comparison) -> str:
    """Return who is cheaper, as a title."""
    settled, by_point = comparison.cheaper, comparison.cheaper_by_point
    if settled is not None:
        if by_point not in {None, settled}:
            return "What was settled and today's figures disagree"
        return f"{_name(settled)} is cheaper per accepted image"
    if by_point is not None:
        return f"{_name(by_point)} looks cheaper, but that is not settled"
    has_image = comparison.lite.usd_per_accepted is not None
    return "Lite and quality cost the same" if has_image else "No accepted image yet"


def _name(winner: Winner) -> str:
    return "Lite" if winner == "lite" else "Quality"
