"""A pipeline on a simulator as most tests want it: small pictures, no waits, no cap."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nanobatch import BatchOptions, Budget, Checkpoint, Gemini, Retry, TwoTierPipeline
from nanobatch.simulator import Simulator, batch

if TYPE_CHECKING:
    from collections.abc import Generator

    from nanobatch import CandidateRecord

NO_WAIT = Retry(first_wait_seconds=0.001, max_wait_seconds=0.001)
PRO = "gemini-3-pro-image"
LITE = "gemini-3.1-flash-lite-image"

SOON = BatchOptions(poll_seconds=0.02)
by_batch: ContextVar[bool] = ContextVar("by_batch", default=False)
"""Whether pipelines of this test order from batch jobs."""
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")


@dataclass(slots=True)
class Taken:
    """What a block took of the memory, MiB."""

    peak_mib: float = 0.0
    left_mib: float = 0.0


@contextmanager
def memory_taken() -> Generator[Taken]:
    """Measure a block by the pages of the process: bodies lie where tracemalloc does not look."""
    taken = Taken()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the old peak
    before = _status_mib("VmRSS")
    try:
        yield taken
    finally:
        taken.left_mib = _status_mib("VmRSS") - before
        taken.peak_mib = _status_mib("VmHWM") - before


def _status_mib(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) / 1024


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
