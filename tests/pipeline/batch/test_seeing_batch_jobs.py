"""Batch jobs on their way are seen: by whoever watches a run, and by whoever asks later."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nanobatch import BatchJobChanged, BatchOptions, Checkpoint, Ended, Job, Route, Snapshot
from nanobatch.commands import status
from nanobatch.simulator import batch
from tests.support import pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

LEAVE = BatchOptions(poll_seconds=0.02, max_wait_seconds=0)
STAY = BatchOptions(poll_seconds=0.02)
JOBS = [Job(id=f"dune-{n}", prompt=f"dune {n}", route=Route.LITE) for n in range(5)]


class Screen:
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.shown: list[Snapshot] = []

    def show(self, snapshot: Snapshot) -> None:
        self.shown.append(snapshot)


def _pending() -> batch.Settings:
    """Let a job be pending for good, until it is asked a hundred times."""
    return batch.Settings(schedule=batch.Polls(pending=100, running=0))


async def test_a_run_that_is_left_says_what_is_on_the_way_and_the_next_one_shows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Screen()
    events: list[object] = []
    async with simulator(batch=_pending()) as server:
        left = await pipeline_on(server, tmp_path, batch=LEAVE).run(JOBS, events.append)
        with Checkpoint.read(tmp_path) as reader:
            (seen,) = reader.batch_jobs()
        code = status.main([str(tmp_path)])
        said = capsys.readouterr().out
        status.main([str(tmp_path), "--json"])
        told = json.loads(capsys.readouterr().out)
        again = await pipeline_on(server, tmp_path, batch=LEAVE).run(JOBS, screen)

    assert left.ended is again.ended is Ended.WAITING
    assert left.reason == "1 batch job is on the way: run again to collect what they bring."
    assert (seen.state, seen.slots, seen.waiting) == ("pending", 5, 5)
    assert [one.slots for one in events if isinstance(one, BatchJobChanged)] == [5]
    assert code == 0
    assert f"{seen.name} pending" in " ".join(said.split())
    assert [(one["name"], one["waiting"]) for one in told["batch_jobs"]] == [(seen.name, 5)]
    assert [one.name for one in screen.shown[-1].batch_jobs] == [seen.name]
    assert "batch jobs 1 pending, 5 slots wait" in str(screen.shown[-1])


async def test_a_job_that_is_collected_is_not_on_the_way_any_more(tmp_path: Path) -> None:
    screen = Screen()
    async with simulator() as server:
        result = await pipeline_on(server, tmp_path, batch=STAY).run(JOBS, screen)

    assert result.ended is Ended.COMPLETE
    assert screen.shown[-1].batch_jobs == ()
    assert "batch jobs" not in str(screen.shown[-1])
