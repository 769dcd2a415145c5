"""A forecast: what some accepted images may cost, as an amount and an interval around it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from math import hypot
from typing import TYPE_CHECKING

from nanobatch.cost.exact import add_exactly, from_float
from nanobatch.cost.plots import plot_forecast
from nanobatch.cost.table import counted, html_table, html_text, show_level, show_usd, text_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes

__all__ = ["Forecast"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What some accepted images may cost, USD, and between which bounds that will lie.

    A forecast can be the sum of others: see `sum`.
    """

    images: int
    """Accepted images it is for."""

    low_usd: Decimal
    """Lower bound, finite."""

    expected_usd: Decimal
    """What they cost on average; Infinity when no image has been accepted yet."""

    high_usd: Decimal
    """Upper bound, but never more than the budget if there is one; Infinity when unknown."""

    is_measured: bool
    """Whether every rate used was measured; if not, run a small batch first."""

    level: float = 0.95
    """How often a bill lies between the bounds, between 0 and 1."""

    name: str = ""
    """What it is for: a tier, a tag, a step. For a person."""

    note: str = ""
    """What the bounds do not cover, as a sentence; empty if there is nothing to add."""

    parts: tuple[Forecast, ...] = ()
    """The forecasts it is the sum of; empty if it is not one."""

    hours: float | None = None
    """How long it takes; by batch jobs at most, if the provider keeps its target. `None`: nothing
    was measured that would say."""

    instead: Forecast | None = None
    """The same images in the other mode, at once or by batch jobs; `None` if there is no other."""

    @classmethod
    def sum(
        cls, parts: Iterable[Forecast], *, images: int | None = None, name: str = ""
    ) -> Forecast:
        """Add up forecasts whose errors have nothing to do with each other.

        The amounts add; the distances from the amount to its bounds add in squares, as they do
        for independent errors (Zou and Donner's MOVER). So one part's bad luck is partly made
        good by another's. Two parts that rest on the same measured rates share their error: ask
        for one forecast of all their images instead of adding two.

        Args:
            parts: Forecasts of the same level.
            images: Accepted images the whole is for; by default the sum over the parts. A step
                that only prepares images (drafts that are finished later) must not count twice.
            name: What the whole is for.

        Raises:
            ValueError: The parts have different levels.

        Source: G. Y. Zou and A. Donner, "Construction of confidence limits about effect
            measures", Statistics in Medicine 27 (2008), unverified.
        """
        together = tuple(parts)
        levels = {part.level for part in together}
        if len(levels) > 1:
            raise ValueError(f"Forecasts of different levels {sorted(levels)} do not add up.")
        low, expected, high = _added(together)
        return cls(
            images=sum(part.images for part in together) if images is None else images,
            low_usd=low,
            expected_usd=expected,
            high_usd=high,
            is_measured=all(part.is_measured for part in together),
            level=levels.pop() if levels else 0.95,
            name=name,
            note=" ".join(dict.fromkeys(part.note for part in together if part.note)),
            parts=together,
        )

    def capped(self, limit_usd: Decimal) -> Forecast:
        """Return the same with no amount above `limit_usd`; its parts stay as they are.

        If that changes an amount, the note says that the money may end before the images are made.
        """
        if self.high_usd <= limit_usd:
            return self
        about = f"about {_usd(self.expected_usd)}, up to {_usd(self.high_usd)}"
        budget = f"The budget leaves {_usd(limit_usd)} USD and may not suffice ({about} USD)."
        return replace(
            self,
            note=f"{budget} {self.note}".rstrip(),
            low_usd=min(self.low_usd, limit_usd),
            expected_usd=min(self.expected_usd, limit_usd),
            high_usd=min(self.high_usd, limit_usd),
        )

    @property
    def sentence(self) -> str:
        """The forecast in words, without the table."""
        images = counted(self.images, "image")
        rates = "measured" if self.is_measured else "not measured"
        if not self.expected_usd.is_finite():
            said = f"{images}: no image has been accepted yet; at least {_usd(self.low_usd)} USD"
        else:
            said = (
                f"{images}: about {_usd(self.expected_usd)} USD, {_usd(self.low_usd)} to "
                f"{_usd(self.high_usd)} USD ({show_level(self.level)}, rates {rates})"
            )
        return f"{said}{_time(self)}. {self.note}{self._other_mode()}".rstrip()

    def _other_mode(self) -> str:
        """Say what the other mode would cost and take; its note says how that compares."""
        other = self.instead
        if other is None:
            return ""
        name = other.name[:1].upper() + other.name[1:]
        note = f", {other.note}" if other.note else ""
        return f" {name}: about {_usd(other.expected_usd)} USD{note}{_time(other)}."

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw expected USD and bounds of every part and of the whole, one below the other.

        Args:
            ax: Axes to draw on; those of a new figure by default, as in `CostModel.plot`.

        Returns:
            The axes. Those of a new figure show themselves in a notebook; pyplot is not used.

        Raises:
            ConfigError: matplotlib is not installed; it comes with `nanobatch[plot]`.
        """
        return plot_forecast(self, ax=ax)

    def __str__(self) -> str:
        """Return an aligned table, then the same as a sentence."""
        return f"{text_table([self._header(), *self._rows()], words=1)}\n{self.sentence}"

    def _repr_html_(self) -> str:
        """Return the same for a notebook."""
        return html_table(self._rows(), header=self._header()) + html_text(self.sentence)

    def _header(self) -> tuple[str, ...]:
        level = show_level(self.level)
        return ("", "images", "USD", f"{level} from", f"{level} to")

    def _rows(self) -> list[tuple[str, ...]]:
        modes = [self] if self.instead is None else [self, self.instead]
        return [part._row(part.name) for part in self.parts] + [  # noqa: SLF001 - its own class
            mode._row(mode.name or "all")  # noqa: SLF001 - as above
            for mode in modes
        ]

    def _row(self, name: str) -> tuple[str, ...]:
        amounts = (self.expected_usd, self.low_usd, self.high_usd)
        return (name, f"{self.images:,}", *map(_usd, amounts))


def _time(forecast: Forecast) -> str:
    """Say how long it takes, in words a person plans with."""
    hours = forecast.hours
    if hours is None:
        return ""
    if hours < 1:
        return f", in about {counted(max(1, round(hours * 60)), 'minute')}"
    return f", in about {counted(round(hours), 'hour')}"


def _usd(amount: Decimal) -> str:
    return show_usd(amount) if amount.is_finite() else "unknown"


def _added(parts: tuple[Forecast, ...]) -> tuple[Decimal, Decimal, Decimal]:
    """Return low, expected and high USD of a sum."""
    if len(parts) == 1:
        return parts[0].low_usd, parts[0].expected_usd, parts[0].high_usd
    expected = low = Decimal(0)
    for part in parts:
        expected = add_exactly(expected, part.expected_usd)
        low = add_exactly(low, part.low_usd)
    if not expected.is_finite():
        return low, expected, expected
    below = hypot(*(_distance(part.low_usd, part.expected_usd) for part in parts))
    above = hypot(*(_distance(part.expected_usd, part.high_usd) for part in parts))
    return (
        max(low, add_exactly(expected, from_float(-below))),
        expected,
        add_exactly(expected, from_float(above)),
    )


def _distance(low: Decimal, high: Decimal) -> float:
    return float(add_exactly(high, low.copy_negate()))
