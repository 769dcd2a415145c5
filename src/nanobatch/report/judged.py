"""One image of a finished batch with the verdict it had and the verdict it would have."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from nanobatch.checkpoint import CandidateState

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.cost import Stage
    from nanobatch.models import Tier

__all__ = ["BROKEN", "ReplayedCandidate", "Unjudged", "has_passed", "read_image"]

BROKEN = "(broken)"
"""Where a filter's name would stand for an image that is no readable file."""

_NEVER_JUDGED = (CandidateState.STAGED, CandidateState.SPARE)
_FAILED = (CandidateState.REJECTED, CandidateState.BROKEN)


class Unjudged(StrEnum):
    """Why an image could not be judged again; it then keeps the verdict it had."""

    NOT_KEPT = "not kept"
    """Only a thumbnail of it was kept, or nothing."""
    MISSING = "file missing"
    CHANGED = "file changed"
    """The file is not the one that was paid for."""
    UNREADABLE = "file unreadable"
    FILTER_FAILED = "filter failed"
    """A filter raised or took too long; `reason` says which and how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedCandidate:
    """One image a model returned, with what the filters said of it then and what they say now."""

    number: int
    """Its number in the checkpoint; images are numbered as they arrive."""
    job_id: str
    tag: str
    """The job's tag as it was last read."""
    slot: int
    stage: Stage
    tier: Tier
    model_id: str
    state: CandidateState
    """What became of it in the run."""
    path: Path | None
    """Absolute path of its file; `None` if none was kept."""
    passed_before: bool | None
    """Whether it passed the filters of the run; `None` if it was never judged."""
    passes_after: bool | None
    """Whether it passes the filters of the replay; `None` if nobody had to know."""
    filter_before: str
    """The filter of the run that rejected it, `(broken)` for a broken file; empty if none did."""
    filter_after: str
    """The filter of the replay that rejects it, likewise."""
    reason: str
    """Why it is rejected now, or why a filter could not judge it; empty if neither."""
    score_before: float | None
    """Larger is better; `None` if no filter ranked it."""
    score_after: float | None
    """The same under the filters of the replay."""
    unjudged: Unjudged | None
    """Why it could not be judged again; `None` if it was, or if nobody had to know."""

    @property
    def is_newly_passing(self) -> bool:
        """Whether it was rejected, or broken, and passes now."""
        return self.passed_before is False and self.passes_after is True

    @property
    def is_newly_rejected(self) -> bool:
        """Whether it passed and is rejected, or broken, now."""
        return self.passed_before is True and self.passes_after is False


def has_passed(state: CandidateState) -> bool | None:
    """Return whether a candidate in this state has passed; `None` if it was never judged."""
    return None if state in _NEVER_JUDGED else state not in _FAILED


def read_image(path: Path, sha256: str) -> bytes | Unjudged:
    """Return the bytes of a file if they are the ones that were paid for."""
    try:
        if not path.is_file():
            return Unjudged.MISSING
        content = path.read_bytes()
    except FileNotFoundError:
        return Unjudged.MISSING
    except OSError:
        return Unjudged.UNREADABLE
    return content if hashlib.sha256(content).hexdigest() == sha256 else Unjudged.CHANGED
