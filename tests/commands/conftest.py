"""A finished batch to look at, made once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from nanobatch import BatchOptions, Candidate, Job
from nanobatch.simulator import answers
from nanobatch.simulator import batch as settings
from tests.support import pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.simulator import Answer, Call

HOSTILE = "qr\x1b[2J\ncode"


def no_codes(candidate: Candidate) -> bool:
    """Reject what this batch never gets right."""
    return candidate.job.id != HOSTILE


async def _make(folder: Path) -> None:
    def answer(call: Call) -> Answer | None:
        """The third call is answered with no image, the fifth with something unreadable."""
        faults = {2: answers.no_image, 4: answers.not_json}
        return faults[call.number]() if call.number in faults else None

    jobs = [Job(id=f"fox-{n}", prompt=f"a fox {n}", want=2, tag="animals") for n in range(4)]
    jobs.append(Job(id=HOSTILE, prompt="a QR code"))
    async with simulator(answer=answer) as server:
        pipeline = pipeline_on(server, folder, quality=None, filters=[no_codes], concurrency=1)
        await pipeline.run(jobs)


@pytest.fixture(scope="session")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight accepted images of four jobs, and a job that stopped after six slots."""
    folder = tmp_path_factory.mktemp("batch") / "run"
    anyio.run(_make, folder)
    return folder


async def _order(folder: Path) -> None:
    never = settings.Settings(schedule=settings.Polls(pending=100, running=0))
    async with simulator(batch=never) as server:
        leave = BatchOptions(poll_seconds=0.02, max_wait_seconds=0)
        pipeline = pipeline_on(server, folder, quality=None, batch=leave)
        await pipeline.run([Job(id="owl", prompt="an owl", want=2)])


@pytest.fixture
def ordered(tmp_path: Path) -> Path:
    """Return a checkpoint whose one job waits for a batch job."""
    anyio.run(_order, tmp_path / "ordered")
    return tmp_path / "ordered"
