"""One slot on its way, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanobatch.checkpoint import InHand
    from nanobatch.checkpoint.changes import NewSlot
    from nanobatch.pipeline.progress import JobProgress

__all__ = ["SlotOutcome", "SlotVerdict", "WalkedSlot"]


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
