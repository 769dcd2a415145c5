"""What a run came to: complete values, and lists that are read from the checkpoint when asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, TypeVar

from nanobatch.checkpoint import Checkpoint, CheckpointReader, Failure, JobResult, Spend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nanobatch.candidate import AcceptedImage
    from nanobatch.cost import CostModel
    from nanobatch.pipeline.control import Ended

__all__ = ["RunResult", "result_of"]

Row = TypeVar("Row", "AcceptedImage", Failure)

MAX_HELD_JOBS = 10_000
"""Up to so many jobs are held as they were when the run ended; more are read when asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended. Figures cover the checkpoint's whole life, not only this run."""

    ended: Ended
    """Why it is over."""

    reason: str
    """What to know or do about it, in a sentence; empty when it is complete."""

    spend: Spend
    """All money of the checkpoint."""

    cost: CostModel
    """What an accepted image costs, measured on the whole ledger."""

    wanted: int
    """Images the jobs of this run want."""

    delivered: int
    """Images of them that are accepted, at most what is wanted."""

    all_read: bool
    """Whether the input was read to its end; if not, further jobs want more."""

    jobs: Mapping[str, JobResult]
    """The jobs this run has read, by id; beyond 10,000 each is read when asked for."""

    images: Iterable[AcceptedImage]
    """Accepted images of these jobs, from all runs; can be iterated again and again."""

    failures: Iterable[Failure]
    """What went wrong with these jobs, in all runs; can be iterated again and again."""

    @property
    def fill_rate(self) -> float:
        """Delivered / wanted, 0 to 1, over the jobs that were read; 1 when nothing is wanted."""
        return self.delivered / self.wanted if self.wanted else 1.0


def result_of(
    checkpoint: CheckpointReader, *, run: int, ended: Ended, reason: str, all_read: bool
) -> RunResult:
    """Return the result of a run, from its checkpoint while that is still open."""
    count, wanted, delivered = checkpoint.count_since(run)
    root = checkpoint.root
    jobs: Mapping[str, JobResult] = _Jobs(root, run)
    if count <= MAX_HELD_JOBS:
        jobs = MappingProxyType({job.id: job for job in checkpoint.jobs_where("run = ?", run)})
    last_image, last_failure = checkpoint.last_numbers()
    return RunResult(
        ended=ended,
        reason=reason,
        spend=checkpoint.spend,
        cost=checkpoint.cost_model(),
        wanted=wanted,
        delivered=delivered,
        all_read=all_read,
        jobs=jobs,
        images=_Rows(root, jobs, lambda reader: reader.images_since(run, up_to=last_image)),
        failures=_Rows(root, jobs, lambda reader: reader.failures_since(run, up_to=last_failure)),
    )


class _Rows(Iterable[Row], Generic[Row]):
    """Rows of a checkpoint that may be closed: every iteration opens it anew."""

    def __init__(
        self,
        root: Path,
        jobs: Mapping[str, JobResult],
        rows: Callable[[CheckpointReader], Iterator[Row]],
    ) -> None:
        self._root = root
        self._held = None if isinstance(jobs, _Jobs) else jobs
        self._rows: Callable[[CheckpointReader], Iterator[Row]] = rows

    def __iter__(self) -> Iterator[Row]:
        with Checkpoint.read(self._root) as reader:
            for row in self._rows(reader):
                if self._held is None or row.job_id in self._held:
                    yield row


class _Jobs(Mapping[str, JobResult]):
    """The jobs of a run by id."""

    def __init__(self, root: Path, run: int) -> None:
        self._root = root
        self._run = run

    def __getitem__(self, job_id: str) -> JobResult:
        with Checkpoint.read(self._root) as reader:
            for job in reader.jobs_where("run >= ? AND id = ?", self._run, job_id):
                return job
        raise KeyError(job_id)

    def __iter__(self) -> Iterator[str]:
        with Checkpoint.read(self._root) as reader:
            yield from reader.ids_since(self._run)

    def __len__(self) -> int:
        with Checkpoint.read(self._root) as reader:
            return reader.count_since(self._run)[0]
