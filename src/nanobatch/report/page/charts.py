"""Where the lines of the page's charts run; a template draws them, so nothing else is needed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor, isfinite, log10
from typing import TYPE_CHECKING, Final

from nanobatch.cost.plots.curves import Drawn
from nanobatch.cost.table import show_percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from decimal import Decimal

    from nanobatch.cost import Comparison, CostModel, Estimate
    from nanobatch.report.page.figures import Course, Part

__all__ = [
    "CostChart",
    "Curve",
    "Interval",
    "SpendChart",
    "cost_chart",
    "interval",
    "spend_chart",
    "usd_top",
]

LEFT, RIGHT, TOP, BOTTOM = 58, 702, 26, 276
"""Of the field that is drawn in, in the units of the drawing; `figures.html` draws its frame."""

POINTS: Final = 240
"""Points of a line, at most: more than a phone has pixels for."""

TICKS: Final = 5
"""Steps of an axis, at most."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    place: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate on a scale from 0 to 100."""

    low: float
    value: float | None
    """`None`: there is no value, only a lower bound."""
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One tier in the chart of costs: what an image costs at each accept rate, and the point."""

    name: str
    words: str
    line: str
    """Points of the curve, as SVG writes them."""
    x: float
    y: float | None
    """Place of what was measured; `None` if nothing was accepted."""
    x_bounds: tuple[float, float] | None
    y_bounds: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostChart:
    """USD per accepted image against the accept rate."""

    curves: tuple[Curve, ...]
    level: float | None
    """Height of the line at what a quality image costs; `None` for one tier."""
    break_even: float | None
    """Place of the accept rate from which on Lite is cheaper; `None` if it is outside 0 to 1."""
    break_even_text: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendChart:
    """Spend over time."""

    confirmed: str
    """Points of the line, as SVG writes them."""
    worst: str
    """The same with unknown money; empty if there is none."""
    area: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def interval(estimate: Estimate | None, *, top: Decimal | float) -> Interval | None:
    """Return an estimate on a scale that ends at `top`; `None` without slots behind it."""
    if estimate is None or not estimate.n or not top:
        return None
    low, value, high = (
        min(100.0, 100 * float(one) / float(top))
        for one in (estimate.low, estimate.value, estimate.high)
    )
    return Interval(low=low, value=value if estimate.value.is_finite() else None, high=high)


def usd_top(parts: Iterable[Part]) -> float:
    """Return where a scale of USD per accepted image ends, for all parts; 0 without a cost."""
    costs = (part.model.usd_per_accepted for part in parts)
    return 1.5 * max((float(usd) for usd in costs if usd is not None), default=0.0)


def cost_chart(whole: CostModel, comparison: Comparison | None) -> CostChart | None:
    """Return both tiers and what divides them, or the whole run if there is only one.

    Returns:
        `None` as long as no slot was billed.
    """
    if comparison is None:
        named = [("This run", whole)] if whole.slots else []
    else:
        named = [("Lite", comparison.lite), ("Quality", comparison.quality)]
    drawn = [(name, Drawn.of(model)) for name, model in named]
    if not drawn:
        return None
    top = max(one.reach for _, one in drawn) or 0.01
    dividing = None if comparison is None else comparison.break_even_accept_rate
    if dividing is not None and not 0 < dividing < 1:
        dividing = None  # outside of the field
    level = drawn[-1][1].usd if comparison is not None else None
    return CostChart(
        curves=tuple(_curve(name, one, top) for name, one in drawn),
        level=None if level is None or not isfinite(level) else _y(level, top),
        break_even=None if dividing is None else _x(float(dividing)),
        break_even_text="" if dividing is None else f"above {show_percent(dividing)}",
        x_ticks=tuple(Tick(_x(share), f"{share:.0%}".replace("%", " %")) for share in _fifths()),
        y_ticks=_usd_ticks(top),
    )


def spend_chart(course: Course) -> SpendChart | None:
    """Return the money over time; `None` as long as there is none."""
    if not course.at:
        return None
    begin, end = course.at[0], course.at[-1]
    span = (end - begin) or 1.0
    top = max(course.worst_usd) or 0.01
    step = max(1, len(course.at) // POINTS)
    chosen = [*range(0, len(course.at), step), len(course.at) - 1]

    def points(usd: Sequence[float]) -> list[tuple[float, float]]:
        return [(_x((course.at[n] - begin) / span), _y(usd[n], top)) for n in chosen]

    confirmed = points(course.confirmed_usd)
    has_unknown = course.worst_usd[-1] - course.confirmed_usd[-1] > top / 1000
    first, last = confirmed[0][0], confirmed[-1][0]
    return SpendChart(
        confirmed=_steps(confirmed),
        worst=_steps(points(course.worst_usd)) if has_unknown else "",
        area=f"{_steps(confirmed)} {last:.1f},{BOTTOM} {first:.1f},{BOTTOM}",
        x_ticks=_time_ticks(begin, end),
        y_ticks=_usd_ticks(top),
    )


def _curve(name: str, drawn: Drawn, top: float) -> Curve:
    first = max(drawn.usd_per_slot / top, 0.001)
    rates = [first ** (1 - n / POINTS) for n in range(POINTS + 1)] if first < 1 else []
    bounds = drawn.usd_bounds
    return Curve(
        name=name,
        words=drawn.words,
        line=_line([(_x(rate), _y(drawn.usd_per_slot / rate, top)) for rate in rates]),
        x=_x(drawn.accept_rate),
        y=_y(drawn.usd, top) if isfinite(drawn.usd) else None,
        x_bounds=drawn.rate_bounds and (_x(drawn.rate_bounds[0]), _x(drawn.rate_bounds[1])),
        y_bounds=bounds and (_y(bounds[0], top), _y(bounds[1], top)),
    )


def _x(share: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * share, 1)


def _y(usd: float, top: float) -> float:
    """Return the height of an amount; what is above the field is drawn at its upper edge."""
    return round(BOTTOM - (BOTTOM - TOP) * min(1.0, usd / top), 1)


def _line(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _steps(points: Sequence[tuple[float, float]]) -> str:
    """Return a line that stays as it was until something is paid."""
    corners = [points[0]]
    for x, y in points[1:]:
        corners += [(x, corners[-1][1]), (x, y)]
    return _line(corners)


def _fifths() -> list[float]:
    return [n / 5 for n in range(6)]


def _usd_ticks(top: float) -> tuple[Tick, ...]:
    """Return round amounts from 0 up to the top: a step of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** floor(log10(top / TICKS))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= top / TICKS)
    places = max(0, -floor(log10(step)))
    count = floor(top / step * 1.0001)
    return tuple(Tick(_y(n * step, top), f"{n * step:,.{places}f}") for n in range(count + 1))


def _time_ticks(begin: float, end: float) -> tuple[Tick, ...]:
    """Return the begin, the middle and the end, as short as they stay clear."""
    times = [datetime.fromtimestamp(at, UTC) for at in (begin, (begin + end) / 2, end)]
    day = 86_400
    if end - begin < 120:  # noqa: PLR2004 - seconds matter within two minutes
        form = "%H:%M:%S"
    elif times[0].date() == times[2].date():
        form = "%H:%M"
    elif end - begin < 30 * day:
        form = "%d %b %H:%M"
    else:
        form = "%d %b %Y"
    return tuple(
        Tick(_x(share), at.strftime(form)) for share, at in zip((0.0, 0.5, 1.0), times, strict=True)
    )
