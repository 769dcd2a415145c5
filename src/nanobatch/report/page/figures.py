"""The figures of the page: what the ledger says, by part, and which part is compared with which."""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from nanobatch.checkpoint import BatchJobRecord, JobStatus
from nanobatch.cost import CostModel, Stage, compare
from nanobatch.models import Tier

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal

    from nanobatch.checkpoint import CheckpointReader, FilterFigures, JobResult, Moment, Spend
    from nanobatch.cost import Comparison, LedgerLine

__all__ = ["Course", "Failures", "Figures", "Part", "Undone", "figures_of"]

MAX_TAGS: Final = 100
"""Tags with a row of their own, in alphabetical order: a page is no place for thousands of rows."""

MAX_UNDONE: Final = 500
"""Prompts that are not done with a row of their own."""

MAX_BATCH_JOBS: Final = 100
"""Batch jobs with a row of their own, the last ones."""

_STEPS: Final = (
    (Tier.LITE, Stage.CANDIDATE, "Lite, as it is"),
    (Tier.QUALITY, Stage.CANDIDATE, "Quality, as it is"),
    (Tier.LITE, Stage.DRAFT, "Lite drafts"),
    (Tier.QUALITY, Stage.DRAFT, "Quality drafts"),
    (Tier.LITE, Stage.FINISH, "Lite finishes"),
    (Tier.QUALITY, Stage.FINISH, "Quality finishes"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the run under its name."""

    name: str
    model: CostModel
    yields_images: bool = True
    """Whether its slots are there to be accepted; a draft is there to be finished."""
    by_tier: Mapping[Tier, CostModel] = field(default_factory=dict[Tier, CostModel])
    """For a tag: the tiers on which it has slots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """A job that has not all its images."""

    job: JobResult
    prompt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Everything of one kind that went wrong."""

    kind: str
    count: int
    final: int
    """How many of them ended a job."""
    usd: Decimal
    example: str
    """The message of the first one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Money over time: after each ledger line with money, when that was and the sums until then."""

    at: array[float]
    """Seconds since 1970, UTC; growing."""
    confirmed_usd: array[float]
    worst_usd: array[float]
    """Confirmed and unknown together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All figures of the page."""

    whole: CostModel
    spend: Spend
    tiers: tuple[Part, ...]
    """By tier and stage, those that have slots."""
    tags: tuple[Part, ...]
    left_out_tags: int
    comparison: Comparison | None
    """Lite and quality images that are accepted as they are; `None` unless both have slots."""
    filters: tuple[FilterFigures, ...]
    batch_jobs: tuple[BatchJobRecord, ...]
    """The last of them, in their order."""
    left_out_batch_jobs: int
    failures: tuple[Failures, ...]
    undone: tuple[Undone, ...]
    """The first of them."""
    statuses: Mapping[JobStatus, int]
    """How many jobs stand how."""
    course: Course


def figures_of(reader: CheckpointReader, moment: Moment) -> Figures:
    """Read all figures; memory grows with the lines that moved money and with the tags."""
    statuses = reader.statuses()
    steps = {
        (tier, stage): Part(name=name, model=model, yields_images=stage is not Stage.DRAFT)
        for tier, stage, name in _STEPS
        if (model := reader.cost_model(tier, stage=stage)).slots
    }
    tags, left_out = _tags(reader)
    batch_jobs, left_out_batch_jobs = _batch_jobs(reader)
    return Figures(
        whole=reader.cost_model(),
        spend=reader.spend,
        tiers=tuple(steps.values()),
        tags=tags,
        left_out_tags=left_out,
        comparison=_comparison(steps),
        filters=reader.filters(),
        batch_jobs=batch_jobs,
        left_out_batch_jobs=left_out_batch_jobs,
        failures=_failures(reader),
        undone=tuple(_undone(reader)),
        statuses={status: statuses[status] for status in JobStatus if status in statuses},
        course=_course(reader.ledger_at(moment)),
    )


def _undone(reader: CheckpointReader) -> Iterator[Undone]:
    """Yield the first jobs that have not all their images."""
    for job in islice(reader.jobs_where("status != 'done'"), MAX_UNDONE):
        stored = reader.job(job.id)
        yield Undone(job=job, prompt=stored.prompt if stored else "")


def _comparison(steps: Mapping[tuple[Tier, Stage], Part]) -> Comparison | None:
    lite, quality = (steps.get((tier, Stage.CANDIDATE)) for tier in (Tier.LITE, Tier.QUALITY))
    return None if lite is None or quality is None else compare(lite.model, quality.model)


def _tags(reader: CheckpointReader) -> tuple[tuple[Part, ...], int]:
    tags = reader.tags()
    if tags in ([], [""]):
        return (), 0
    shown = tags[:MAX_TAGS]
    return tuple(_tag(reader, tag) for tag in shown), len(tags) - len(shown)


def _tag(reader: CheckpointReader, tag: str) -> Part:
    by_tier = {tier: reader.cost_model(tier=tier, tag=tag) for tier in Tier}
    return Part(
        name=tag or "(no tag)",
        model=reader.cost_model(tag=tag),
        by_tier={tier: model for tier, model in by_tier.items() if model.slots},
    )


def _batch_jobs(reader: CheckpointReader) -> tuple[tuple[BatchJobRecord, ...], int]:
    last = deque[BatchJobRecord](maxlen=MAX_BATCH_JOBS)
    count = 0
    for job in reader.batch_jobs():
        last.append(job)
        count += 1
    return tuple(last), count - len(last)


def _failures(reader: CheckpointReader) -> tuple[Failures, ...]:
    kinds: dict[str, Failures] = {}
    for failure in reader.failures():
        so_far = kinds.get(failure.kind)
        kinds[failure.kind] = Failures(
            kind=failure.kind,
            count=(so_far.count if so_far else 0) + 1,
            final=(so_far.final if so_far else 0) + failure.is_final,
            usd=so_far.usd + failure.usd if so_far else failure.usd,
            example=so_far.example if so_far else failure.message,
        )
    return tuple(sorted(kinds.values(), key=lambda one: -one.count))


def _course(lines: Iterator[LedgerLine]) -> Course:
    course = Course(at=array("d"), confirmed_usd=array("d"), worst_usd=array("d"))
    confirmed = unknown = 0.0
    for line in lines:
        if line.usd or line.unknown_usd:
            confirmed += float(line.usd)
            unknown += float(line.unknown_usd)
            at = line.at.timestamp()  # calls in flight come last and began before
            course.at.append(max(at, course.at[-1]) if course.at else at)
            course.confirmed_usd.append(confirmed)
            course.worst_usd.append(confirmed + unknown)
    return course
