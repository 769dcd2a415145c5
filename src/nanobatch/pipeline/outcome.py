"""One slot on its way, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from nanobatch.backend import Reply

if TYPE_CHECKING:
    from nanobatch.checkpoint import InHand, Leftover
    from nanobatch.checkpoint.changes import NewSlot
    from nanobatch.errors import ProviderError
    from nanobatch.pipeline.progress import JobProgress

__all__ = ["Arrival", "SlotOutcome", "SlotVerdict", "WalkedSlot"]


class SlotVerdict(Enum):
    """What the images of one answer, or of one slot, came to."""

    PASSED = auto()
    REJECTED = auto()
    BROKEN = auto()
    """None of them is a readable image, or there is none."""
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class SlotOutcome:
    """The verdict on a slot, or on one image of it, and why."""

    verdict: SlotVerdict
    reason: str = ""
    filter_name: str = ""
    """The filter that rejected it; empty if none did."""
    is_unsafe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkedSlot:
    """One slot on its way."""

    job: JobProgress
    row: NewSlot
    draft: InHand | None = None
    """What is being finished; `None` for candidates and drafts."""
    by_batch: bool = False
    """Whether a batch job drew it, at the batch price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What a batch job brought for a slot, settled; its images lie in `staging/`."""

    slot: WalkedSlot
    images: tuple[Leftover, ...] = ()
    """In the order they are to be judged."""
    reply: Reply = field(default_factory=Reply)
    """The answer without its images."""
    fault: ProviderError | None = None
    """What came in its place."""
    is_billed: bool
    """Whether a call of the slot was billed, this one or the one before."""
    is_first: bool
    """Whether the slot has had no other answer: an empty or broken one is asked for once more."""
    usd_nano: int = 0
    """What the call cost, nano-dollars."""
