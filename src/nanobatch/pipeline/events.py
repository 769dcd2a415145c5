"""What a run tells while it goes on: one typed event per thing that happened, after it is saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from nanobatch.candidate import AcceptedImage
    from nanobatch.checkpoint import JobStatus, Spend
    from nanobatch.cost import Outcome
    from nanobatch.models import Tier
    from nanobatch.pipeline.control import Ended
    from nanobatch.pipeline.result import RunResult

__all__ = [
    "BatchJobChanged",
    "CallSettled",
    "CallsPaused",
    "CandidatePassed",
    "CandidateRejected",
    "Event",
    "FailureRecorded",
    "ImageAccepted",
    "JobEnded",
    "JobStarted",
    "RunEnded",
    "RunEnding",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted:
    """A job was read and is worked on, or is known to need nothing."""

    job_id: str
    want: int
    """Accepted images it wants, >= 1."""
    delivered: int
    """Accepted images it has from earlier runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettled:
    """One request is over and its cost is in the ledger."""

    job_id: str
    slot: int
    tier: Tier
    model_id: str
    outcome: Outcome
    spend: Spend
    """What it cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsPaused:
    """The provider asked for less: no call to this model starts for a while."""

    model_id: str
    seconds: float
    """From now."""
    reason: str
    """The kind of the fault: `rate_limit`, `spend_limit`, `overloaded`, ..."""
    concurrency: int
    """How many requests may be in flight afterwards, to begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchJobChanged:
    """A batch job was created, stands otherwise than before, or is collected."""

    name: str
    """The provider's name of it, `batches/...`; empty if it never got one."""
    model_id: str
    slots: int
    """Slots that waited for it, or still do."""
    state: str
    """`pending`, `running`, `succeeded`, `failed`, `cancelled` or `expired`, as the provider says;
    `collected` once every slot has its answer or is known to get none; `lost` if nobody knows
    whether it was ever created."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRejected:
    """A candidate was broken, or a filter rejected it."""

    job_id: str
    slot: int
    tier: Tier
    filter_name: str
    """Empty if it was broken."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidatePassed:
    """A candidate passed and waits for its best-of group or its finish."""

    job_id: str
    slot: int
    tier: Tier
    score: float | None
    """Larger is better; `None` if no filter ranks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAccepted:
    """An image is accepted, durably."""

    image: AcceptedImage


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRecorded:
    """Something went wrong; it is in the checkpoint's failures."""

    job_id: str
    slot: int | None
    kind: str
    message: str
    is_final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnded:
    """Nothing more is done for a job in this run."""

    job_id: str
    status: JobStatus
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnding:
    """No new call starts; what is in flight is awaited and saved."""

    ended: Ended
    reason: str
    """What to know or do about it, in a sentence; may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """The run is over; always the last event."""

    result: RunResult


Event: TypeAlias = (
    JobStarted
    | CallSettled
    | CallsPaused
    | BatchJobChanged
    | CandidateRejected
    | CandidatePassed
    | ImageAccepted
    | FailureRecorded
    | JobEnded
    | RunEnding
    | RunEnded
)
"""Everything `TwoTierPipeline.stream` yields."""
