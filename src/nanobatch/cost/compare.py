"""Lite or quality: which is cheaper per accepted image, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, TypeAlias

from nanobatch.cost.bets import WIN, Bets, Odds
from nanobatch.cost.exact import Number, read_fraction
from nanobatch.cost.plots import plot_comparison
from nanobatch.cost.table import (
    counted,
    html_table,
    html_text,
    show_percent,
    show_usd,
    text_table,
)
from nanobatch.cost.two_tier import break_even_accept_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nanobatch.cost.estimate import Estimate
    from nanobatch.cost.model import CostModel

__all__ = ["Comparison", "compare"]

MOST_SHOWN = 0.999
"""Sureness is shown up to here."""

Winner: TypeAlias = Literal["lite", "quality"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two tiers side by side: the dividing line, the cheaper one, and how sure that is."""

    lite: CostModel
    quality: CostModel

    break_even_accept_rate: Decimal | None
    """Accept rate of Lite above which it is cheaper, >= 0; above 1 it never is.

    `None` when there is no line: Lite has no slots, or quality costs nothing or has no accepted
    image.
    """

    cheaper: Winner | None
    """The tier that the evidence names, wrong at most once in twenty; `None` while it is open."""

    cheaper_by_point: Winner | None
    """The tier that costs less by the figures alone, however few slots they rest on; `None` when
    they cost the same, or neither has an accepted image."""

    pairs: int
    """Pairs of a Lite and a quality slot that the evidence rests on."""

    evidence: float
    """E-value against "they cost the same": the most that a stake of 1 in bets on a difference
    has been worth; 1 without evidence. The tier is named from 20 on."""

    slots_to_settle: int | None
    """More slots per tier after which the evidence would name a tier, if both go on as they did.

    0 when it has named one. `None` when it never would: the tiers cost the same, or so nearly
    that the 4,096 slots that a comparison looks at are too few. For rates without slots behind
    them it counts from the first slot.
    """

    @property
    def sureness(self) -> float:
        """How sure the evidence is, 0 to 1: 1 - 1/evidence; it holds whenever one looks."""
        return 1 - 1 / self.evidence

    @property
    def sentence(self) -> str:
        """What to do, in words."""
        return f"{self._verdict} {self._advice}".rstrip()

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw both tiers against the accept rate, and the dividing line between them.

        Each tier is a curve, what an image costs at other accept rates, and a point with the
        intervals of its accept rate and cost. Where Lite's curve crosses the cost of quality is
        the dividing line. The words above say which tier is cheaper and how sure that is.

        Args:
            ax: Axes to draw on; those of a new figure by default, as in `CostModel.plot`.

        Returns:
            The axes. Those of a new figure show themselves in a notebook; pyplot is not used.

        Raises:
            ConfigError: matplotlib is not installed; it comes with `nanobatch[plot]`.
        """
        return plot_comparison(self, ax=ax)

    def __str__(self) -> str:
        """Return the tiers as an aligned table, then what to do."""
        header, *rows = self._table()
        return f"{text_table([header, *rows], words=4)}\n{self.sentence}"

    def _repr_html_(self) -> str:
        """Return the same for a notebook."""
        header, *rows = self._table()
        return html_table(rows, header=header) + html_text(self.sentence)

    @property
    def _verdict(self) -> str:
        if self.cheaper is not None:
            tier, other = _names(self.cheaper)
            said = (
                f"{tier[0].upper()}{tier[1:]} costs less per accepted image than {other}: "
                f"{self._sure} after {self.pairs:,} slots on each."
            )
            if self.cheaper_by_point in {None, self.cheaper}:
                return said
            return f"{said} But the figures over all slots say otherwise: something has changed."
        if self.cheaper_by_point is None:
            neither = self.lite.usd_per_accepted is None and self.quality.usd_per_accepted is None
            return (
                "Neither tier has an accepted image yet."
                if neither
                else "Both tiers cost the same per accepted image."
            )
        tier, other = _names(self.cheaper_by_point)
        figures = f"By the figures {tier} costs less per accepted image than {other}"
        if not self.pairs:
            return f"{figures}, but {self._missing}, so there is no evidence."
        slots = counted(self.pairs, "slot")
        return f"{figures}, but {slots} on each do not settle it ({self._sure} that they differ)."

    @property
    def _advice(self) -> str:
        if self.cheaper is not None or self.cheaper_by_point is None:
            return self._line
        if self._has_empty_tier:
            return f"Draw some slots on both. {self._line}"
        if self.slots_to_settle is None:
            return f"They are too close to tell apart: take the tier that suits you. {self._line}"
        return f"About {self._missing_slots} would settle it. {self._line}"

    @property
    def _missing_slots(self) -> str:
        """Say how many slots are missing on which tier."""
        pairs = self.slots_to_settle or 0
        if not self.pairs:
            return f"{counted(pairs, 'slot')} on each, kept in a ledger,"
        lite, quality = (
            max(0, self.pairs + pairs - (model.slots or 0)) for model in (self.lite, self.quality)
        )
        if lite == quality:
            return f"{counted(pairs, 'more slot')} on each"
        wanted = [(lite, "Lite"), (quality, "quality")]
        return f"{' and '.join(f'{slots:,} more {tier}' for slots, tier in wanted if slots)} slots"

    @property
    def _line(self) -> str:
        rate = self.break_even_accept_rate
        if rate is None:
            return ""
        if rate > 1:
            return "At these prices quality stays cheaper whatever Lite's accept rate."
        share = show_percent(rate)
        return f"Lite is the cheaper one when more than {share} of its slots are accepted."

    @property
    def _sure(self) -> str:
        """Sureness as it is shown: 99.96 % is not 100 %."""
        over = "over " if self.sureness > MOST_SHOWN else ""
        return f"{over}{show_percent(min(self.sureness, MOST_SHOWN))} sure"

    @property
    def _has_empty_tier(self) -> bool:
        return 0 in {self.lite.slots, self.quality.slots}

    @property
    def _missing(self) -> str:
        """Say which tier has no slots to bet on."""
        tiers = [("Lite", self.lite), ("quality", self.quality)]
        by_hand = [name for name, model in tiers if model.accept is None]
        if by_hand:
            return f"the rates of {' and '.join(by_hand)} were entered by hand"
        lost = [name for name, model in tiers if model.slots != 0 and not model.trail]
        if lost:
            return f"of {' and '.join(lost)} only the rates were kept, not the slots"
        return f"{' and '.join(name for name, model in tiers if not model.slots)} has no slots yet"

    def _table(self) -> list[tuple[str, ...]]:
        header = ("", "USD per accepted image", "accept rate", "USD per slot")
        return [header, _row("lite", self.lite), _row("quality", self.quality)]


def compare(
    lite: CostModel,
    quality: CostModel,
    *,
    most_usd_per_lite_slot: Number | None = None,
    most_usd_per_quality_slot: Number | None = None,
) -> Comparison:
    """Return which of two tiers is cheaper per accepted image, and how sure that is.

    The n-th Lite slot is paired with the n-th quality slot. If both tiers cost the same per
    accepted image, then cost of the quality slot x accepted on Lite - cost of the Lite slot x
    accepted on quality is 0 on average, and no bet on it can be expected to win. Stakes are put on
    either side; the evidence is what they have grown to. It may be looked at after every slot:
    the chance that it ever reaches 20 while the tiers cost the same is at most 1 in 20.

    What this assumes: the slots of a tier are alike, so that their order means nothing, and both
    tiers drew the same kind of prompts; slots still in flight count as rejected until they are
    accepted, so look when nothing is in flight. Only the first 4,096 slots of a ledger take part.
    And no slot costs more than a bound: of costs without one, nothing could be proved. With the
    bounds that you name, the chance of 1 in 20 is exact. Without, the bound is 1.1 + 4/n times the
    dearest of the n earlier slots of the tier, at least three and one of them accepted; a slot that
    costs still more may then bankrupt a bet but leaves it no debt, a small error in its favour.

    Args:
        lite: The cost of the Lite tier.
        quality: The cost of the quality tier.
        most_usd_per_lite_slot: The most that a Lite slot can cost, USD, > 0.
        most_usd_per_quality_slot: The most that a quality slot can cost, USD, > 0.

    Raises:
        ValueError: A bound is not a number above 0.

    Source: A. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by
        betting", JRSS B 86 (2024), arXiv:2010.09686, unverified.
    """
    lite_bound, quality_bound = (
        None if usd is None else float(read_fraction(name, usd, "greater than 0") * 10**9)
        for name, usd in (
            ("most_usd_per_lite_slot", most_usd_per_lite_slot),
            ("most_usd_per_quality_slot", most_usd_per_quality_slot),
        )
    )
    bets = Bets(most_lite=lite_bound, most_quality=quality_bound)
    for lite_slot, quality_slot in zip(lite.trail, quality.trail, strict=False):
        bets.add(lite_slot, quality_slot)
    cheaper: Winner | None = None
    if bets.best >= WIN:
        cheaper = "lite" if bets.best_is_lite else "quality"
    return Comparison(
        lite=lite,
        quality=quality,
        break_even_accept_rate=_break_even(lite, quality),
        cheaper=cheaper,
        cheaper_by_point=_cheaper_by_point(lite, quality),
        pairs=bets.pairs,
        evidence=bets.best,
        slots_to_settle=0 if cheaper else bets.pairs_to_win(_odds(lite), _odds(quality)),
    )


def _break_even(lite: CostModel, quality: CostModel) -> Decimal | None:
    if lite.slots == 0 or not quality.usd_per_slot or not quality.accept_rate:
        return None
    return break_even_accept_rate(
        usd_per_slot=lite.usd_per_slot,
        other_usd_per_slot=quality.usd_per_slot,
        other_accept_rate=min(quality.accept_rate, Decimal(1)),  # see `_odds`
    )


def _odds(model: CostModel) -> Odds:
    """Return what the next slot is like; images of slots that were never billed count to 1."""
    return Odds(
        accept_rate=min(1.0, float(model.accept_rate)), cost=float(model.usd_per_slot) * 1e9
    )


def _cheaper_by_point(lite: CostModel, quality: CostModel) -> Winner | None:
    lite_usd, quality_usd = lite.usd_per_accepted, quality.usd_per_accepted
    if lite_usd == quality_usd:
        return None
    if quality_usd is None or (lite_usd is not None and lite_usd < quality_usd):
        return "lite"
    return "quality"


def _names(winner: Winner) -> tuple[str, str]:
    return ("Lite", "quality") if winner == "lite" else ("quality", "Lite")


def _row(name: str, model: CostModel) -> tuple[str, ...]:
    return (
        name,
        _shown(model.estimate(), model.usd_per_accepted),
        show_percent(model.accept_rate) if model.accept is None else str(model.accept),
        show_usd(model.usd_per_slot),
    )


def _shown(estimate: Estimate | None, usd: Decimal | None) -> str:
    if estimate is not None:
        return str(estimate).removesuffix(" USD")
    return "unknown" if usd is None else show_usd(usd)
