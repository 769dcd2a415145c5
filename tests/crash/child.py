"""The run that is killed: a batch through the public API, telling aloud what it was promised."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from nanobatch import (
    BatchOptions,
    Budget,
    Gemini,
    ImageAccepted,
    Job,
    Retry,
    StopRule,
    TwoTierPipeline,
    Verdict,
    filters,
)
from nanobatch.pipeline.batch import searching
from tests.crash.steps import NamedBackend, Steps

if TYPE_CHECKING:
    from nanobatch import Candidate, Event

__all__ = ["Tell", "run_batch"]

QUALITY = "gemini-3-pro-image"
POLL_SECONDS = 0.02
ROUNDS = 6
"""More than any job needs: the last order may hold surplus slots."""


class Tell(Protocol):
    """Says a thing outside the process before it returns."""

    def __call__(self, kind: str, **facts: object) -> None: ...


def scored(candidate: Candidate) -> Verdict:
    """Accept everything, with a score that only the picture decides."""
    return Verdict.accept(score=int(candidate.sha256[:4], 16))


def run_batch(order: dict[str, Any], tell: Tell) -> None:
    """Run an order's jobs; every accepted image and the end are told."""

    def hear(event: Event) -> None:
        if isinstance(event, ImageAccepted):
            image = event.image
            tell(
                "accepted",
                job=image.job_id,
                number=image.number,
                path=str(image.path),
                sha256=image.sha256,
            )

    searching.LOST_SECONDS = order["lost_after_seconds"]
    backend, steps = _backend(order)
    pipeline = TwoTierPipeline(
        backend,
        quality=QUALITY,
        filters=[filters.Decodes(), filters.AspectRatio(), filters.NotBlank(), scored],
        checkpoint=order["folder"],
        budget=Budget.unlimited() if order["usd"] is None else Budget(usd=order["usd"]),
        concurrency=order["concurrency"],
        retry=Retry(first_wait_seconds=0.005, max_wait_seconds=0.01),
        batch=_batch_options(order),
        stop=StopRule(slots_per_accepted=order["patience"], hopeless_slots=order["patience"] * 5),
    )
    jobs = [Job.model_validate(job) for job in order["jobs"]]
    result = anyio.run(pipeline.run, jobs, hear)
    if steps is not None:
        tell("steps", names=steps.seen)
    tell("ended", ended=str(result.ended), reason=result.reason)


def _backend(order: dict[str, Any]) -> tuple[Gemini, Steps | None]:
    where = {"api_key": "simulated", "base_url": order["base_url"]}
    if order["kill_at"] or order["names_steps"]:
        steps = Steps(kill_at=order["kill_at"], folder=Path(order["folder"]))
        return NamedBackend(steps, **where), steps
    return Gemini(**where), None


def _batch_options(order: dict[str, Any]) -> BatchOptions | None:
    if not order["by_batch"]:
        return None
    return BatchOptions(rounds=ROUNDS, top_up=False, poll_seconds=POLL_SECONDS)
