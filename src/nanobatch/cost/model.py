"""What one accepted image costs, from rates somebody entered or from a ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanobatch.cost.exact import Number, read_count, read_fraction, to_decimal
from nanobatch.cost.forecast import Forecast
from nanobatch.cost.formula import Formula
from nanobatch.cost.ledger import LedgerTotals
from nanobatch.cost.plots import plot_model
from nanobatch.cost.sample import Sample
from nanobatch.cost.table import CostTable, html_table
from nanobatch.cost.wording import forecast_note, model_rows, model_text
from nanobatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from matplotlib.axes import Axes

    from nanobatch.cost.estimate import Estimate
    from nanobatch.cost.ledger import LedgerLine
    from nanobatch.cost.scatter import SlotOutcome
    from nanobatch.models import MeasuredRates, ModelRegistry

__all__ = ["CostModel"]

MAX_IMAGES = 10**15
"""Largest number of images a cost is stated for."""


@dataclass(frozen=True, init=False, repr=False)
class CostModel:
    """The bill of a batch: USD per call x (1 + regeneration rate) / accept rate.

    Computed in exact fractions. A result that has a finite decimal form is exact, any other has
    28 significant digits. Immutable, comparable, hashable, and it pickles.
    """

    _formula: Formula
    _totals: LedgerTotals | None
    _measured_slots: int | None
    """Slots that rates out of a config were measured on; `None` for a ledger, and by hand."""

    def __init__(
        self,
        *,
        usd_per_call: Number,
        regeneration_rate: Number,
        accept_rate: Number,
        usd_other_per_slot: Number = 0,
    ) -> None:
        """Enter the rates by hand.

        Args:
            usd_per_call: Mean USD of one billed generation call, >= 0.
            regeneration_rate: Billed calls per slot beyond the first, >= 0.
            accept_rate: Accepted images per slot, above 0 up to 1.
            usd_other_per_slot: USD per slot beside generation (paid judgements), >= 0.

        Raises:
            ValueError: An argument is not a number in its range; the message says which and why.
        """
        formula = Formula(
            usd_per_call=read_fraction("usd_per_call", usd_per_call, "at least 0"),
            regeneration_rate=read_fraction("regeneration_rate", regeneration_rate, "at least 0"),
            accept_rate=read_fraction("accept_rate", accept_rate, "greater than 0 up to 1"),
            usd_other_per_slot=read_fraction(
                "usd_other_per_slot", usd_other_per_slot, "at least 0"
            ),
        )
        object.__setattr__(self, "_formula", formula)
        object.__setattr__(self, "_totals", None)
        object.__setattr__(self, "_measured_slots", None)

    @classmethod
    def from_ledger(cls, lines: Iterable[LedgerLine]) -> CostModel:
        """Return what the lines of a ledger, or of one tier or tag of it, cost.

        `usd_per_accepted` is then their confirmed spend divided by their accepted images, exactly.
        """
        return cls.from_totals(LedgerTotals.of(lines))

    @classmethod
    def from_totals(cls, totals: LedgerTotals) -> CostModel:
        """Return the cost model of a ledger that is already added up."""
        model = cls.__new__(cls)
        object.__setattr__(model, "_formula", Formula.of(totals))
        object.__setattr__(model, "_totals", totals)
        object.__setattr__(model, "_measured_slots", None)
        return model

    @classmethod
    def from_registry(
        cls, registry: ModelRegistry, role: str, *, size: str = "1K", batch: bool = False
    ) -> CostModel:
        """Return the cost model of a role: today's image price and the rates measured for it.

        Prompt and thinking tokens are not in the image price; a ledger has them. The intervals
        rest on the slots that the rates were measured on. The config does not say how the slots
        scattered, so every call is taken to cost the same, and regeneration to have nothing to
        do with acceptance.

        Args:
            registry: Where prices and measured rates are.
            role: `"lite"`, `"quality"`, a role of your own, or a model's id or alias. Rates of
                the role come before rates of its model.
            size: Image size, `"1K"`.
            batch: Whether the price is that of the Batch API.

        Raises:
            ConfigError: No rates have been measured for the role, or the model is unknown or has
                no price for that size.
        """
        model = registry.resolve(role)
        usd_per_call = model.usd_per_image(size, batch=batch)
        rates = registry.rates.get(role) or registry.rates.get(model.id)
        if rates is None:
            raise ConfigError(
                f"No rates have been measured for {str(role)!r}. Enter them by hand, as "
                f"CostModel(usd_per_call={str(usd_per_call)!r}, regeneration_rate=..., "
                f"accept_rate=...), or measure them with a calibration run."
            )
        return cls.from_rates(rates, usd_per_call=usd_per_call)

    @classmethod
    def from_rates(
        cls, rates: MeasuredRates, *, usd_per_call: Number, usd_other_per_slot: Number = 0
    ) -> CostModel:
        """Return the cost model of measured rates at a price; its intervals rest on their slots.

        Args:
            rates: What was measured.
            usd_per_call: Mean USD of one billed generation call, >= 0.
            usd_other_per_slot: USD per slot beside generation (paid judgements), >= 0.

        Raises:
            ValueError: A price is not a number >= 0.
        """
        cost = cls(
            usd_per_call=usd_per_call,
            regeneration_rate=rates.regenerate,
            accept_rate=rates.accept,
            usd_other_per_slot=usd_other_per_slot,
        )
        object.__setattr__(cost, "_measured_slots", rates.slots)
        return cost

    @property
    def usd_per_call(self) -> Decimal:
        """Mean USD of one billed generation call, x; 0 for a ledger without slots."""
        return to_decimal(self._formula.usd_per_call)

    @property
    def regeneration_rate(self) -> Decimal:
        """Billed calls per slot beyond the first, r >= 0; 0 for a ledger without slots."""
        return to_decimal(self._formula.regeneration_rate)

    @property
    def accept_rate(self) -> Decimal:
        """Accepted images per slot, a, 0 to 1; 0 for a ledger without slots."""
        return to_decimal(self._formula.accept_rate)

    @property
    def usd_other_per_slot(self) -> Decimal:
        """USD per slot beside generation, h; 0 for a ledger without slots."""
        return to_decimal(self._formula.usd_other_per_slot)

    @property
    def usd_per_slot(self) -> Decimal:
        """All-in USD of one slot: k = x (1 + r) + h."""
        return to_decimal(self._formula.usd_per_slot)

    @property
    def multiplier(self) -> Decimal | None:
        """Billed calls per accepted image: (1 + r) / a; `None` when nothing was accepted."""
        exact = self._formula.multiplier
        return None if exact is None else to_decimal(exact)

    @property
    def usd_per_accepted(self) -> Decimal | None:
        """USD per accepted image: C = k / a; `None` when nothing was accepted."""
        exact = self._formula.usd_per_accepted
        return None if exact is None else to_decimal(exact)

    def estimate(self, *, live: bool = False, level: float = 0.95) -> Estimate | None:
        """Return USD per accepted image with its interval; `None` for rates entered by hand.

        Args:
            live: Whether the figure is looked at again and again while slots come in. The
                interval then is wider, and holds at every look from about ten slots on.
            level: How often such an interval holds the true cost, above 0 and below 1.

        Raises:
            ValueError: `level` is not between 0 and 1.
        """
        return self._estimate(Sample.usd_per_accepted, live=live, level=level)

    @property
    def accept(self) -> Estimate | None:
        """Accept rate with Wilson's interval, for one look; `None` for rates entered by hand."""
        return self._estimate(Sample.accept)

    @property
    def accept_live(self) -> Estimate | None:
        """Accept rate with an interval that holds at every look; `None` as `accept`."""
        return self._estimate(Sample.accept, live=True)

    @property
    def regeneration(self) -> Estimate | None:
        """Regeneration rate with an interval for one look; `None` for rates entered by hand.

        As long as no slot took more than two billed calls it is a proportion. Beyond that it is a
        mean, and the interval assumes that no slot takes more calls than the most seen so far.
        """
        return self._estimate(Sample.regeneration)

    @property
    def regeneration_live(self) -> Estimate | None:
        """Regeneration rate with an interval that holds at every look; as `regeneration`."""
        return self._estimate(Sample.regeneration, live=True)

    def forecast(self, wants: int | Iterable[int], *, level: float = 0.95) -> Forecast:
        """Return what that many more accepted images will cost, with a predictive interval.

        It covers the luck of the draw and, for measured rates, that they were measured on a
        limited number of slots. Rates entered by hand are taken as exact. All prompts are taken
        to be accepted at the one rate, and each to be drawn until it has its images. It is a
        closed form: the same question has the same answer.

        Args:
            wants: Accepted images, or how many of each prompt.
            level: How often a bill lies between the bounds, above 0 and below 1.

        Raises:
            ValueError: A want is no whole number >= 0, or `level` is not between 0 and 1.
        """
        each = wants if isinstance(wants, Iterable) else [wants]
        images = sum(read_count("wants", one, at_least=0, at_most=MAX_IMAGES) for one in each)
        low, expected, high = self._sample.bill(images, _read_level(level))
        return Forecast(
            images=images,
            low_usd=low,
            expected_usd=expected,
            high_usd=high,
            is_measured=bool(self._sample.slots),
            level=level,
            note=forecast_note(self._sample.slots),
        )

    @property
    def _sample(self) -> Sample:
        if self._totals is None:
            return Sample.of_rates(self._formula, self._measured_slots)
        return Sample.of_totals(self._formula, self._totals)

    def _estimate(
        self, figure: Callable[..., Estimate], *, live: bool = False, level: float = 0.95
    ) -> Estimate | None:
        """Return a figure of the sample; `None` if there is none behind the rates."""
        _read_level(level)
        sample = self._sample
        return None if sample.slots is None else figure(sample, live=live, level=level)

    def total_usd(self, images: int) -> Decimal:
        """Return the expected USD of a number of accepted images.

        Raises:
            ValueError: `images` is no whole number >= 0, or nothing has been accepted yet, so
                that no cost can be stated.
        """
        count = read_count("images", images, at_least=0, at_most=MAX_IMAGES)
        exact = self._formula.usd_per_accepted
        if exact is None:
            raise ValueError("No image has been accepted yet, so no cost per image can be stated.")
        return to_decimal(exact * count)

    def table(self, counts: Iterable[int]) -> CostTable:
        """Return the expected USD of several numbers of accepted images, as a table.

        Raises:
            ValueError: As `total_usd`.
        """
        return CostTable(tuple((int(images), self.total_usd(images)) for images in counts))

    @property
    def slots(self) -> int | None:
        """Slots with at least one billed call, N; `None` for rates entered by hand."""
        return None if self._totals is None else self._totals.slots

    @property
    def trail(self) -> tuple[SlotOutcome, ...]:
        """The first 4,096 slots one by one, in the order they were begun; empty if none are kept.

        Slots are numbered when they begin, so this is not quite the order in which they end.
        """
        return () if self._totals is None else self._totals.by_slot.trail

    @property
    def calls(self) -> int | None:
        """Billed generation calls, B; `None` for rates entered by hand."""
        return None if self._totals is None else self._totals.calls

    @property
    def accepted(self) -> int | None:
        """Slots that yielded an accepted image, A; `None` for rates entered by hand."""
        return None if self._totals is None else self._totals.accepted

    @property
    def wanted(self) -> int | None:
        """Images the jobs want; `None` for rates entered by hand."""
        return None if self._totals is None else self._totals.wanted

    @property
    def delivered(self) -> int | None:
        """Accepted images that were wanted; `None` for rates entered by hand."""
        return None if self._totals is None else self._totals.delivered

    @property
    def fill_rate(self) -> float | None:
        """Delivered / wanted, 1 when nothing is wanted; `None` for rates entered by hand."""
        return None if self._totals is None else self._totals.fill_rate

    @property
    def spend_usd(self) -> Decimal | None:
        """Confirmed spend, USD; `None` for rates entered by hand."""
        return None if self._totals is None else self._totals.spend_usd

    @property
    def unknown_usd(self) -> Decimal | None:
        """Worst case of the calls nobody knows the cost of; `None` for rates entered by hand."""
        return None if self._totals is None else self._totals.unknown_usd

    def plot(
        self, *, against: CostModel | None = None, live: bool = False, ax: Axes | None = None
    ) -> Axes:
        """Draw cost per accepted image against the accept rate, with what was measured as a point.

        The curve is what an image costs at other accept rates. The bars of the point are the
        intervals of `estimate()` and `accept`.

        ```python
        model.plot()  # the last line of a notebook's cell shows it
        model.plot().figure.savefig("cost.png")
        ```

        Args:
            against: Another model: what it costs is drawn as a line across, and the accept rate
                from which on this one is cheaper as a line down.
            live: Whether it is drawn again and again while slots come in; see `estimate`.
            ax: Axes to draw on; those of a new figure by default. Words beyond the title need a
                figure that makes room for them: `plt.subplots(layout="constrained")`.

        Returns:
            The axes. Those of a new figure show themselves in a notebook; pyplot is not used.

        Raises:
            ConfigError: matplotlib is not installed; it comes with `nanobatch[plot]`.
        """
        return plot_model(self, against=against, live=live, ax=ax)

    def __repr__(self) -> str:
        """Show the rates, and the counts behind them if there are any."""
        rates = (
            f"usd_per_call={str(self.usd_per_call)!r}, "
            f"regeneration_rate={str(self.regeneration_rate)!r}, "
            f"accept_rate={str(self.accept_rate)!r}, "
            f"usd_other_per_slot={str(self.usd_other_per_slot)!r}"
        )
        if self._totals is None:
            return f"CostModel({rates})"
        counts = f"slots={self.slots}, calls={self.calls}, accepted={self.accepted}"
        return f"<CostModel {rates}, {counts}>"

    def __str__(self) -> str:
        """Say the cost, how it comes about and, if it was measured, on what it rests."""
        return model_text(self, self._totals)

    def _repr_html_(self) -> str:
        """Return the same for a notebook, as a table."""
        return html_table(model_rows(self, self._totals))


def _read_level(level: float) -> float:
    """Return a level of confidence.

    Raises:
        ValueError: It is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level!r}; it must be a number above 0 and below 1.")
    return level
