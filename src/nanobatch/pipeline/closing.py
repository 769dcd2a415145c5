"""How a job ends once nothing of it is in flight, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanobatch.checkpoint import JobStatus
from nanobatch.cost import Stage

if TYPE_CHECKING:
    from nanobatch.models import Tier
    from nanobatch.pipeline.progress import JobProgress

__all__ = ["Closing", "closing_of"]

_PLURALS = {Stage.DRAFT: "drafts", Stage.FINISH: "finishes", Stage.CANDIDATE: "candidates"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """How a job ends."""

    status: JobStatus
    reason: str = ""
    is_final: bool = False
    """Whether the next run leaves it alone, unless it is changed."""
    lacks_model: bool = False
    """Whether it waits for a tier that is gone."""


def closing_of(job: JobProgress, *, gone: frozenset[Tier]) -> Closing:
    """Return how a job ends that has nothing in flight and no step left.

    Args:
        job: The job.
        gone: Tiers whose model does not answer any more.
    """
    want = job.job.want
    if job.is_done:
        return Closing(status=JobStatus.DONE)
    if job.closing is not None:
        return job.closing
    if job.held.total():
        return Closing(status=JobStatus.PENDING, reason=job.held_reason)
    stage = job.exhausted_stage()
    if stage is not None:
        used, passed = (counts.get(stage, 0) for counts in (job.taken.slots_used, job.taken.passed))
        return Closing(
            status=JobStatus.STOPPED,
            reason=f"{passed} of {used} {_PLURALS[stage]} passed, "
            f"wanted: {want * job.job.best_of}.",
        )
    if job.orders is not None and not job.orders.tops_up and not gone:
        return Closing(
            status=JobStatus.PENDING,
            reason=f"{job.delivered} of {want} images came in the batch rounds it may have, "
            "and top_up=False: run with more rounds, or let it top up.",
        )
    if job.lacks_slots:
        return Closing(status=JobStatus.PENDING, reason="The run had all the slots it was for.")
    return Closing(
        status=JobStatus.PENDING,
        reason="No model that could draw it answers.",
        lacks_model=bool(gone),
    )
