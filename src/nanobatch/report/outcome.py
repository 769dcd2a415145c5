"""What a replay comes to: figures before and after, and every image with both verdicts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanobatch.cost.table import show_usd
from nanobatch.report.judged import Unjudged
from nanobatch.report.side_by_side import as_html, as_text, cost_rows, show_cost

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal

    from nanobatch.cost import CostModel
    from nanobatch.models import Tier
    from nanobatch.report.judged import ReplayedCandidate
    from nanobatch.report.side_by_side import Rows

__all__ = ["Replay", "ReplayPart"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPart:
    """Before and after, of all slots, or of those of one tier or one tag."""

    before: CostModel
    """What the ledger measured: the same as `checkpoint.cost_model(...)`."""
    after: CostModel
    """The same money and slots, with the images accepted that the rules of the replay accept."""
    fewest: CostModel
    """As `after`, if every image failed that could not be judged."""
    most: CostModel
    """As `after`, if every image passed that could not be judged; broken ones never do."""
    judged: int
    """Images that were judged again."""
    unjudged: int
    """Images that could not be, and keep their verdict."""
    newly_passing: int
    """Images that were rejected and pass now."""
    newly_rejected: int
    """Images that had passed and are rejected now."""

    @property
    def is_exact(self) -> bool:
        """Whether no image that could not be judged matters to the outcome."""
        return self.fewest.accepted == self.most.accepted


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Replay:
    """What the images of a checkpoint would have come to under other filters.

    It shows itself as tables: `print(replay)`, or the last line of a notebook cell.
    """

    whole: ReplayPart
    """All slots."""
    by_tier: Mapping[Tier, ReplayPart]
    """The slots of each tier that has any; wants belong to no tier, so `wanted` is 0 there."""
    by_tag: Mapping[str, ReplayPart]
    """The jobs of each tag; `""` for those without one."""
    candidates: tuple[ReplayedCandidate, ...]
    """Every image of the checkpoint, in the order in which they arrived."""
    rejections_before: Mapping[str, int]
    """How many images each filter of the run rejected, `"(broken)"` for broken files."""
    rejections_after: Mapping[str, int]
    """How many each filter rejects now; images that could not be judged count as before."""
    undone_finishes: int
    """Finishes of drafts that fail now: a run would not have made them."""
    undone_finish_usd: Decimal
    """Confirmed USD of these finishes; it stays in the spend."""
    unfinished_drafts: int
    """Drafts that pass only now: no finish of them exists, so they add nothing."""

    @property
    def before(self) -> CostModel:
        """What the ledger measured."""
        return self.whole.before

    @property
    def after(self) -> CostModel:
        """The same ledger, with the images accepted that the rules of the replay accept."""
        return self.whole.after

    @property
    def fewest(self) -> CostModel:
        """As `after`, if every image failed that could not be judged."""
        return self.whole.fewest

    @property
    def most(self) -> CostModel:
        """As `after`, if every image passed that could not be judged; broken ones never do."""
        return self.whole.most

    @property
    def newly_passing(self) -> tuple[ReplayedCandidate, ...]:
        """Images that were rejected and pass now."""
        return tuple(one for one in self.candidates if one.is_newly_passing)

    @property
    def newly_rejected(self) -> tuple[ReplayedCandidate, ...]:
        """Images that had passed and are rejected now."""
        return tuple(one for one in self.candidates if one.is_newly_rejected)

    @property
    def unjudged(self) -> Mapping[Unjudged, int]:
        """How many images could not be judged, by the reason."""
        return Counter(one.unjudged for one in self.candidates if one.unjudged is not None)

    def __repr__(self) -> str:
        """Show the outcome in a line; the images would fill screens."""
        whole = self.whole
        return (
            f"<Replay of {len(self.candidates)} images: {whole.before.accepted} accepted before, "
            f"{whole.after.accepted} after, {whole.unjudged} not judged>"
        )

    def __str__(self) -> str:
        """Show before and after side by side, and say what changed and what limits the answer."""
        return as_text(self._tables(), self._sentences())

    def _repr_html_(self) -> str:
        """Return the same for a notebook."""
        return as_html(self._tables(), self._sentences())

    def _tables(self) -> Iterator[Rows]:
        whole = self.whole
        columns = [("before", whole.before), ("after", whole.after)]
        if not whole.is_exact:
            columns += [("at fewest", whole.fewest), ("at most", whole.most)]
        yield cost_rows(columns)
        names = sorted({*self.rejections_before, *self.rejections_after})
        if names:
            yield [
                ("Rejected by", "before", "after"),
                *(
                    (
                        name,
                        f"{self.rejections_before.get(name, 0):,}",
                        f"{self.rejections_after.get(name, 0):,}",
                    )
                    for name in names
                ),
            ]
        if len(self.by_tier) > 1:
            yield _part_rows("Tier", {str(tier): part for tier, part in self.by_tier.items()})
        if len(self.by_tag) > 1:
            yield _part_rows("Tag", {tag or "(none)": part for tag, part in self.by_tag.items()})

    def _sentences(self) -> Iterator[str]:
        whole = self.whole
        yield (
            f"Judged again: {whole.judged:,}. Passing only now: {whole.newly_passing:,}. "
            f"Rejected only now: {whole.newly_rejected:,}."
        )
        if whole.unjudged:
            yield self._limits()
        surplus = (whole.after.accepted or 0) - (whole.after.delivered or 0)
        if surplus:
            yield (
                f"Accepted beyond what their jobs want: {surplus:,}. They are the yield of what "
                "was bought; a run would have bought fewer."
            )
        if self.undone_finishes:
            yield (
                f"Finishes of drafts that fail now: {self.undone_finishes:,}. A run would not "
                f"have made them; their USD {show_usd(self.undone_finish_usd)} stay in the spend."
            )
        if self.unfinished_drafts:
            yield (
                f"Drafts that pass only now: {self.unfinished_drafts:,}. No finish of them exists, "
                "so they add nothing."
            )

    def _limits(self) -> str:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.unjudged.items())
        what = f"Not judged, so the verdict stays: {self.whole.unjudged:,} ({reasons}). "
        failed = next((c for c in self.candidates if c.unjudged is Unjudged.FILTER_FAILED), None)
        if failed is not None:
            what += f"{failed.reason} "
        if self.whole.is_exact:
            return f"{what}Whatever they are, the outcome is the same."
        what += (
            f"If all of them failed, {self.whole.fewest.accepted:,} would be accepted; "
            f"if all passed, {self.whole.most.accepted:,}."
        )
        if self.unjudged.get(Unjudged.NOT_KEPT):
            what += " A run with keep_rejected='all' keeps its rejected images for this."
        return what


def _part_rows(kind: str, parts: Mapping[str, ReplayPart]) -> Rows:
    """Return a row for each tier or tag."""
    head = (kind, "slots", "accepted", "now", "USD per accepted", "now", "not judged")
    return [
        head,
        *(
            (
                name,
                f"{part.before.slots:,}",
                f"{part.before.accepted:,}",
                f"{part.after.accepted:,}",
                show_cost(part.before),
                show_cost(part.after),
                f"{part.unjudged:,}",
            )
            for name, part in parts.items()
        ),
    ]
