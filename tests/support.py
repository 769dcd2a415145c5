"""A pipeline on a simulator as most tests want it: small pictures, no waits, no cap."""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from nanobatch import BatchOptions, Budget, Checkpoint, Gemini, Retry, TwoTierPipeline
from nanobatch.simulator import Simulator, batch

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch import CandidateRecord

NO_WAIT = Retry(first_wait_seconds=0.001, max_wait_seconds=0.001)
PRO = "gemini-3-pro-image"
LITE = "gemini-3.1-flash-lite-image"

SOON = BatchOptions(poll_seconds=0.02)
by_batch: ContextVar[bool] = ContextVar("by_batch", default=False)
"""Whether pipelines of this test order from batch jobs."""


def simulator(**settings: Any) -> Simulator:
    """Return a simulator that draws small pictures."""
    quick = batch.Settings(schedule=batch.Polls(pending=0, running=1))
    defaults = {"seed": 11, "pixels": 0.25, "drawings": 8, "batch": quick}
    return Simulator(**{**defaults, **settings})


def pipeline_on(server: Simulator, folder: Path, **options: Any) -> TwoTierPipeline:
    """Return a two-tier pipeline whose backend is the simulator."""
    defaults: dict[str, Any] = {
        "quality": PRO,
        "checkpoint": folder,
        "budget": Budget.unlimited(),
        "concurrency": 8,
        "retry": NO_WAIT,
    }
    if by_batch.get() and not options.get("hurry"):
        defaults["batch"] = SOON
    backend = Gemini(api_key="simulated", base_url=server.base_url)
    return TwoTierPipeline(backend, **{**defaults, **options})


def candidates(folder: Path) -> list[CandidateRecord]:
    """Return every image a checkpoint knows of."""
    with Checkpoint.read(folder) as checkpoint:
        return list(checkpoint.candidates())


def states(folder: Path) -> Counter[str]:
    """Return how many candidates of a checkpoint are in which state."""
    return Counter(str(candidate.state) for candidate in candidates(folder))
