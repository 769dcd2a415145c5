"""The run that is killed: a batch through the public API, telling aloud what it was promised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import anyio

from nanobatch import (
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
from tests.crash.steps import SteppingBackend, count_steps

if TYPE_CHECKING:
    from nanobatch import Candidate, Event

__all__ = ["Tell", "run_batch"]

QUALITY = "gemini-3-pro-image"


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

    step = count_steps(order["kill_at_step"])
    gemini = Gemini(api_key="simulated", base_url=order["base_url"])
    pipeline = TwoTierPipeline(
        gemini if step is None else SteppingBackend(gemini, step),
        quality=QUALITY,
        filters=[filters.Decodes(), filters.AspectRatio(), filters.NotBlank(), scored],
        checkpoint=order["folder"],
        budget=Budget.unlimited() if order["usd"] is None else Budget(usd=order["usd"]),
        concurrency=order["concurrency"],
        retry=Retry(first_wait_seconds=0.005, max_wait_seconds=0.01),
        stop=StopRule(slots_per_accepted=order["patience"], hopeless_slots=order["patience"] * 5),
    )
    jobs = [Job.model_validate(job) for job in order["jobs"]]
    result = anyio.run(pipeline.run, jobs, hear)
    tell("ended", ended=str(result.ended), reason=result.reason)
