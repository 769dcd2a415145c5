"""The ledger: one line per event that moved money or images, and what its lines add up to."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from nanobatch.cost.exact import add_exactly
from nanobatch.cost.scatter import NO_SLOTS, SlotSums

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from nanobatch.models import Tier
    from nanobatch.models.usage import TokenUsage

__all__ = ["LedgerLine", "LedgerTotals", "LineKind", "Outcome", "Stage"]


class LineKind(StrEnum):
    """What a ledger line records."""

    WANT = "want"
    """A job asks for more images, or for fewer."""

    CALL = "call"
    """The outcome of one generation call, or a later correction of it."""

    JUDGE = "judge"
    """A paid judgement of a candidate."""

    ACCEPTED = "accepted"
    """A slot yielded its accepted image."""

    LOST = "lost"
    """The accepted image of a slot is gone for good: the slot yields none, its cost stays."""


class Outcome(StrEnum):
    """What is known of the money of one generation call."""

    BILLED = "billed"
    """The provider charged for it. Without usage its amount is unknown, but it was a call."""

    UNBILLED = "unbilled"
    """A complete answer that costs nothing; its `usd` is 0."""

    UNKNOWN = "unknown"
    """It was sent and no complete answer came: nobody knows whether it was charged."""


class Stage(StrEnum):
    """What a slot is for."""

    CANDIDATE = "candidate"
    """An image to be accepted as it is."""

    DRAFT = "draft"
    """An image to be finished; accepted itself only when its finish failed and it is delivered."""

    FINISH = "finish"
    """A quality image made from a draft."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """One event. Lines are appended, never changed: a later line of the same call corrects it."""

    number: int
    """Position in the ledger, growing."""

    at: datetime
    """When it was written, aware UTC."""

    kind: LineKind

    job_id: str = ""
    """The job it belongs to."""

    tag: str = ""
    """The job's tag when the line was written."""

    slot: int | None = None
    """The slot in the checkpoint; every line but WANT names one."""

    stage: Stage | None = None
    """What the slot is for; `None` for WANT."""

    tier: Tier | None = None
    """The tier of the slot; `None` for WANT, which belongs to no tier."""

    model_id: str = ""
    """The model that was asked; empty for WANT."""

    call: int | None = None
    """The call in the checkpoint; every CALL line names one."""

    outcome: Outcome | None = None
    """What is known of the call now; every CALL line has one, and the call's last line decides."""

    usd: Decimal = Decimal(0)
    """Confirmed USD that this line adds."""

    unknown_usd: Decimal = Decimal(0)
    """Worst-case USD that this line adds to the unknown money; negative when it is settled."""

    want: int = 0
    """Change of the wanted images, positive or negative; WANT lines only."""

    usage: TokenUsage | None = None
    """What the call used; `None` if the provider did not say."""

    note: str = ""
    """For a person: the fault, or the reason of a settlement by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerTotals:
    """What a ledger, or any part of one, adds up to."""

    slots: int = 0
    """N: slots with at least one billed call."""

    calls: int = 0
    """B: billed generation calls, >= `slots`."""

    accepted: int = 0
    """A: slots that yielded an accepted image."""

    generation_usd: Decimal = Decimal(0)
    """Confirmed USD of generation calls."""

    other_usd: Decimal = Decimal(0)
    """Confirmed USD of everything else (paid judgements)."""

    unknown_usd: Decimal = Decimal(0)
    """Worst case of all calls whose amount nobody knows yet, USD; not part of `spend_usd`."""

    wanted: int = 0
    """Images the jobs want now."""

    delivered: int = 0
    """Accepted images that were wanted: over the jobs, the smaller of accepted and wanted."""

    by_slot: SlotSums = field(default=NO_SLOTS, repr=False)
    """How the slots scatter, which intervals need; empty if nobody kept them."""

    @property
    def spend_usd(self) -> Decimal:
        """Confirmed spend, USD."""
        return add_exactly(self.generation_usd, self.other_usd)

    @property
    def fill_rate(self) -> float:
        """Delivered / wanted, 0 to 1; 1 when nothing is wanted."""
        return self.delivered / self.wanted if self.wanted else 1.0

    @classmethod
    def of(cls, lines: Iterable[LedgerLine]) -> LedgerTotals:
        """Add up `lines` in one pass; memory grows with slots, calls and jobs, not with lines.

        Args:
            lines: A ledger in its own order, or those of its lines that share a tier, a tag, ...
                Lines of different calls may come in any order. A WANT line has no tier, so the
                lines of one tier want nothing.

        Raises:
            ValueError: A line lacks the call, slot or outcome that its kind must name.
        """
        slot_of_billed_call: dict[int, int] = {}
        accepted_slots: set[int] = set()
        accepted_of_job: Counter[str] = Counter()
        want_of_job: Counter[str] = Counter()
        usd_of_slot: defaultdict[int, Decimal] = defaultdict(Decimal)
        generation_usd = other_usd = unknown_usd = Decimal(0)
        for line in lines:
            if line.kind == LineKind.CALL:
                if line.call is None or line.slot is None or line.outcome is None:
                    raise ValueError(
                        f"Ledger line {line.number} is a call, but lacks its call, slot or outcome."
                    )
                if line.outcome == Outcome.BILLED:
                    slot_of_billed_call[line.call] = line.slot
                else:
                    slot_of_billed_call.pop(line.call, None)
                generation_usd = add_exactly(generation_usd, line.usd)
            else:
                other_usd = add_exactly(other_usd, line.usd)
                if line.kind == LineKind.WANT:
                    want_of_job[line.job_id] += line.want
                elif line.kind == LineKind.ACCEPTED:
                    if line.slot is None:
                        raise ValueError(
                            f"Ledger line {line.number} accepts an image, but lacks its slot."
                        )
                    if line.slot not in accepted_slots:
                        accepted_slots.add(line.slot)
                        accepted_of_job[line.job_id] += 1
                elif line.kind == LineKind.LOST and line.slot in accepted_slots:
                    accepted_slots.discard(line.slot)
                    accepted_of_job[line.job_id] -= 1
            _charge(usd_of_slot, line)
            unknown_usd = add_exactly(unknown_usd, line.unknown_usd)
        return cls(
            slots=len(set(slot_of_billed_call.values())),
            calls=len(slot_of_billed_call),
            accepted=len(accepted_slots),
            generation_usd=generation_usd,
            other_usd=other_usd,
            unknown_usd=unknown_usd,
            wanted=sum(max(want, 0) for want in want_of_job.values()),
            delivered=sum(
                min(accepted_of_job[job_id], max(want, 0)) for job_id, want in want_of_job.items()
            ),
            by_slot=SlotSums.of(
                slots_of_calls=slot_of_billed_call.values(),
                usd_of_slot=usd_of_slot,
                accepted_slots=accepted_slots,
            ),
        )


def _charge(usd_of_slot: defaultdict[int, Decimal], line: LedgerLine) -> None:
    """Add a line's money to its slot, if it has both."""
    if line.slot is not None and line.usd:
        usd_of_slot[line.slot] = add_exactly(usd_of_slot[line.slot], line.usd)
