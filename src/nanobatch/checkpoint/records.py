"""What a checkpoint tells about jobs, failures and money, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from nanobatch.cost.exact import add_exactly

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from nanobatch.candidate import AcceptedImage
    from nanobatch.cost import LedgerLine, Stage
    from nanobatch.job import Job
    from nanobatch.models import Tier, TokenUsage

__all__ = [
    "CandidateRecord",
    "CandidateState",
    "Failure",
    "JobResult",
    "JobStatus",
    "KeptCandidate",
    "Moment",
    "RepairReport",
    "SlotState",
    "Spend",
    "StageFigures",
    "VerifyReport",
]


class JobStatus(StrEnum):
    """How one job stands."""

    DONE = "done"
    """Every wanted image is accepted."""
    STOPPED = "stopped"
    """Its accept rate is too low: fix the prompt or the filters."""
    REFUSED = "refused"
    """The provider refuses it for safety or policy."""
    FAILED = "failed"
    """The request is bad, or the provider failed three slots in a row."""
    PENDING = "pending"
    """The run ended first; the next one goes on with it."""


class SlotState(StrEnum):
    """What became of a slot."""

    OPEN = "open"
    VOID = "void"
    """Nothing of it was billed."""
    REJECTED = "rejected"
    PASSED = "passed"
    """Its candidate passed and waits for its best-of group, or for its finish."""
    PICKED = "picked"
    """Its draft won its group and waits for its finish."""
    ACCEPTED = "accepted"
    UNPICKED = "unpicked"
    """Its candidate passed and another of its best-of group was better."""
    SPENT = "spent"
    """Its draft went into a finish."""


class CandidateState(StrEnum):
    """What became of one image a model returned."""

    STAGED = "staged"
    """Paid for, not judged yet."""
    SPARE = "spare"
    """A further image of an answer whose candidate passed; never judged."""
    BROKEN = "broken"
    REJECTED = "rejected"
    PASSED = "passed"
    PICKED = "picked"
    ACCEPTED = "accepted"
    UNPICKED = "unpicked"
    SPENT = "spent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """Money, in USD."""

    confirmed_usd: Decimal = Decimal(0)
    """What the provider said was used, at the prices of the day."""

    unknown_usd: Decimal = Decimal(0)
    """Requests without a complete answer, at their worst case."""

    @property
    def worst_case_usd(self) -> Decimal:
        """Confirmed and unknown together: the bill is never above it."""
        return add_exactly(self.confirmed_usd, self.unknown_usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """How one job went, over all runs of its checkpoint."""

    id: str
    status: JobStatus
    want: int
    """Accepted images it wants, >= 1."""
    images: tuple[AcceptedImage, ...]
    slots: int
    """Slots with at least one billed call."""
    calls: int
    """Billed generation calls."""
    spend: Spend
    reason: str
    """A sentence; empty when it is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One thing that went wrong; a plain rejection by a filter is not one."""

    job_id: str
    slot: int | None
    """The slot in the checkpoint; `None` if the job failed before it had one."""
    kind: str
    """A stable word: `rate_limit`, `server_error`, `timeout`, `empty`, `broken`, `refused`, ..."""
    message: str
    model_id: str
    at: datetime
    usd: Decimal
    """Confirmed USD that this cost."""
    is_final: bool
    """Whether the job ended with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRecord:
    """One image a model returned, whatever became of it."""

    number: int
    job_id: str
    slot: int
    stage: Stage
    tier: Tier
    model_id: str
    state: CandidateState
    filter_name: str
    """The filter that rejected it; empty if none did."""
    reason: str
    score: float | None
    """Larger is better; `None` if no filter ranks."""
    path: Path | None
    """Absolute path of the file; `None` if only a thumbnail or nothing was kept."""
    thumbnail: bytes | None = field(repr=False)
    """A small WebP of a rejected image; `None` if none was kept."""
    sha256: str
    mime_type: str
    width_px: int
    height_px: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCandidate:
    """A candidate with its history, for judging it again; its record has no thumbnail."""

    record: CandidateRecord
    job: Job
    """The job as it was last read."""
    attempt: int
    """Which attempt of the job it belongs to: a changed prompt starts another."""
    parent: int | None
    """The slot of the draft it was made from."""
    usage: TokenUsage | None
    """What its call used; `None` if the provider did not say."""
    memos: dict[str, bytes]
    """What filters want to remember of it, by filter name."""
    image_number: int | None
    """Which accepted image of its job it is; `None` if it is none."""
    usd: Decimal
    """Confirmed USD of its slot, and of its draft's."""
    settled_line: int
    """Number of the ledger line that came with it; 0 if that line was lost."""
    accepted_line: int | None
    """Number of the ledger line that accepted its slot; `None` if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """How far a ledger reached when it was looked at: read up to there, it never changes."""

    last_line: int
    """Number of its last line; 0 for none."""
    in_flight: tuple[LedgerLine, ...]
    """The calls that had no line yet, as unknown money."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What a full check of a checkpoint found."""

    images: int
    """Accepted images whose files were read and compared with their hash."""
    staged: int
    """Files of candidates that were read and compared with their hash."""
    faults: tuple[str, ...]
    """One sentence per fault; empty when everything is as it should be."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """What a repair did, and what a full check found after it."""

    done: tuple[str, ...]
    """One sentence per thing that was put right; empty when there was nothing to do."""
    after: VerifyReport
    """What could not be put right is among its faults."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong any more."""
        return self.after.is_clean


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFigures:
    """What the judged slots of one stage on one tier came to, under today's filters and model."""

    slots: int
    """Judged slots with at least one billed call."""
    calls: int
    """Their billed generation calls."""
    passed: int
    """Slots whose candidate passed, whether it was accepted in the end or not."""
    text_tokens: int
    """Billed output tokens that were no image, over `counted_calls`."""
    counted_calls: int
    """Calls that said what they used."""
    other_usd: Decimal
    """Confirmed USD of paid judgements."""
