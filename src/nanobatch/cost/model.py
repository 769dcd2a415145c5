"""What one accepted image costs, from rates somebody entered or from a ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanobatch.cost.exact import Number, read_count, read_fraction, to_decimal
from nanobatch.cost.formula import Formula
from nanobatch.cost.ledger import LedgerTotals
from nanobatch.cost.table import CostTable, html_table, show_percent, show_usd
from nanobatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal

    from nanobatch.cost.ledger import LedgerLine
    from nanobatch.models import ModelRegistry

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
        return model

    @classmethod
    def from_registry(
        cls, registry: ModelRegistry, role: str, *, size: str = "1K", batch: bool = False
    ) -> CostModel:
        """Return the cost model of a role: today's image price and the rates measured for it.

        Prompt and thinking tokens are not in the image price; a ledger has them.

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
        return cls(
            usd_per_call=usd_per_call,
            regeneration_rate=rates.regenerate,
            accept_rate=rates.accept,
        )

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
        """Say the cost, how it comes about and, from a ledger, on what it rests."""
        sentences = [self._cost_sentence()]
        if self._totals is not None:
            sentences.append(_basis_sentence(self._totals))
        return "\n".join(sentences)

    def _repr_html_(self) -> str:
        """Return the same for a notebook, as a table."""
        usd, multiplier = self.usd_per_accepted, self.multiplier
        rows = [
            ("USD per accepted image", "none accepted yet" if usd is None else show_usd(usd)),
            ("USD per call", show_usd(self.usd_per_call)),
            ("Regeneration rate", show_percent(self.regeneration_rate)),
            ("Accept rate", show_percent(self.accept_rate)),
            ("Other USD per slot", show_usd(self.usd_other_per_slot)),
            ("Calls per accepted image", "-" if multiplier is None else f"{multiplier:.2f}"),
        ]
        if self._totals is not None:
            rows += _basis_rows(self._totals)
        return html_table(rows)

    def _cost_sentence(self) -> str:
        usd = self.usd_per_accepted
        if usd is None:
            return "No accepted image yet, so no cost per accepted image."
        slot = f"{show_usd(self.usd_per_call)} x (1 + {show_percent(self.regeneration_rate)})"
        if self.usd_other_per_slot:
            slot = f"({slot} + {show_usd(self.usd_other_per_slot)})"
        return f"USD {show_usd(usd)} per accepted image: {slot} / {show_percent(self.accept_rate)}"


def _basis_rows(totals: LedgerTotals) -> list[tuple[str, str]]:
    """Return what a ledger's figures rest on, as labels and values."""
    return [
        ("Slots", f"{totals.slots:,}"),
        ("Billed calls", f"{totals.calls:,}"),
        ("Accepted", f"{totals.accepted:,}"),
        ("Delivered of wanted", f"{totals.delivered:,} of {totals.wanted:,}"),
        ("Fill rate", show_percent(totals.fill_rate)),
        ("Confirmed USD", show_usd(totals.spend_usd)),
        ("Unknown USD, at most", show_usd(totals.unknown_usd)),
    ]


def _basis_sentence(totals: LedgerTotals) -> str:
    """Return what a ledger's figures rest on, as one sentence."""
    unknown = (
        f" and at most USD {show_usd(totals.unknown_usd)} unknown" if totals.unknown_usd else ""
    )
    return (
        f"USD {show_usd(totals.spend_usd)} confirmed{unknown}; {totals.slots:,} slots, "
        f"{totals.calls:,} calls, {totals.accepted:,} accepted; "
        f"fill rate {show_percent(totals.fill_rate)} "
        f"({totals.delivered:,} of {totals.wanted:,} wanted)"
    )
