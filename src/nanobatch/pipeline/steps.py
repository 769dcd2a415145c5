"""What a worker is given to do next, up to the end of a slot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from nanobatch.checkpoint import InHand, Leftover
    from nanobatch.pipeline.outcome import Arrival
    from nanobatch.pipeline.plan import Draw
    from nanobatch.pipeline.progress import JobProgress

__all__ = ["DrawStep", "FinishStep", "JudgeStep", "LandStep", "PickStep", "Step"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawStep:
    """Draw a candidate or a draft in a new slot."""

    job: JobProgress
    draw: Draw
    round: int | None = None
    """Which order it belongs to if a batch job draws it; `None`: it is drawn at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishStep:
    """Finish the best of a group of drafts in a new slot."""

    job: JobProgress
    draw: Draw
    draft: InHand
    unpicked: tuple[InHand, ...] = ()
    round: int | None = None
    """As of a `DrawStep`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PickStep:
    """Accept the best of a group of passed candidates."""

    job: JobProgress
    best: InHand
    unpicked: tuple[InHand, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeStep:
    """Judge what an earlier run paid for and could not judge."""

    job: JobProgress
    leftovers: tuple[Leftover, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LandStep:
    """Judge what a batch job brought for a slot."""

    job: JobProgress
    arrival: Arrival


Step: TypeAlias = DrawStep | FinishStep | PickStep | JudgeStep | LandStep
