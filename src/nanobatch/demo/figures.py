"""How a batch stands: what its checkpoint holds, and what all of it cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanobatch.checkpoint import Checkpoint, JobStatus, Spend
from nanobatch.cost import CostModel, Stage
from nanobatch.errors import CheckpointError
from nanobatch.models import Tier

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nanobatch.checkpoint import CheckpointReader, FilterFigures, JobResult
    from nanobatch.job import Job

__all__ = ["Standing", "Step"]

Step = tuple[Tier, Stage]
"""One of the ways in which images are drawn: a tier, and what its images are for."""

_SETTLED = frozenset({JobStatus.DONE, JobStatus.STOPPED, JobStatus.REFUSED})
"""Jobs that another run leaves alone as long as they are written the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a checkpoint says of some jobs; money and rates are those of its whole life."""

    is_new: bool
    """Whether there was no checkpoint yet."""
    wanted: int
    delivered: int
    missing: tuple[Job, ...]
    """What another run would work on, `want` being what is left of it."""
    undone: tuple[JobResult, ...] = ()
    """Jobs that were begun and have not all their images."""
    spend: Spend = field(default_factory=Spend)
    cost: CostModel = field(default_factory=lambda: CostModel.from_ledger([]))
    by_step: dict[Step, CostModel] = field(default_factory=dict[Step, CostModel])
    failures: Counter[str] = field(default_factory=Counter[str])
    """How often each kind of failure came."""
    filters: tuple[FilterFigures, ...] = ()
    """What each filter was asked, rejected and charged, in the order in which they are asked."""

    @classmethod
    def read(cls, out: Path, jobs: Sequence[Job]) -> Standing:
        """Look up how the jobs stand in the folder `out`, which need not exist.

        Raises:
            CheckpointError: There is a checkpoint and it cannot be read.
        """
        wanted = sum(job.want for job in jobs)
        try:
            reading = Checkpoint.read(out)
        except CheckpointError:
            if (out / "ledger.sqlite").exists():
                raise
            return cls(is_new=True, wanted=wanted, delivered=0, missing=tuple(jobs))
        with reading as checkpoint:
            return cls._of(checkpoint, jobs, wanted)

    @classmethod
    def _of(cls, checkpoint: CheckpointReader, jobs: Sequence[Job], wanted: int) -> Standing:
        ids = {job.id for job in jobs}
        results = {result.id: result for result in checkpoint.jobs() if result.id in ids}
        missing: list[Job] = []
        for job in jobs:
            left = _left(job, checkpoint.job(job.id), results.get(job.id))
            if left > 0:
                missing.append(job.model_copy(update={"want": left}))
        return cls(
            is_new=False,
            wanted=wanted,
            delivered=sum(
                min(job.want, len(results[job.id].images)) for job in jobs if job.id in results
            ),
            missing=tuple(missing),
            undone=tuple(one for one in results.values() if one.status is not JobStatus.DONE),
            spend=checkpoint.spend,
            cost=checkpoint.cost_model(),
            by_step=_by_step(checkpoint),
            failures=Counter(failure.kind for failure in checkpoint.failures()),
            filters=checkpoint.filters(),
        )

    @property
    def calls(self) -> int:
        """Billed calls of the checkpoint's life."""
        return self.cost.calls or 0

    @property
    def fill_rate(self) -> float:
        """Delivered / wanted, 0 to 1."""
        return self.delivered / self.wanted if self.wanted else 1.0


def _left(job: Job, stored: Job | None, result: JobResult | None) -> int:
    """Return how many images another run would try to make for a job."""
    if result is None:
        return job.want
    if result.status in _SETTLED and stored == job:
        return 0
    return job.want - len(result.images)


def _by_step(checkpoint: CheckpointReader) -> dict[Step, CostModel]:
    models = {
        (tier, stage): checkpoint.cost_model(tier, stage=stage) for tier in Tier for stage in Stage
    }
    return {step: model for step, model in models.items() if model.slots}
