"""Batch jobs are seen: by whoever watches a run, by whoever asks later, and on its page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nanobatch import BatchJobChanged, BatchOptions, Checkpoint, Ended, Job, Route, Snapshot
from nanobatch.commands import status
from nanobatch.report import write_html
from nanobatch.report.page import figures
from nanobatch.simulator import batch
from tests.report.pages import read_page
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
    assert left.reason == "1 batch job is on the way: run again to collect what it brings."
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


async def test_the_page_of_a_run_lists_them(tmp_path: Path) -> None:
    options = BatchOptions(poll_seconds=0.02, max_wait_seconds=0, shard_images=3)
    async with simulator(batch=_pending()) as server:
        await pipeline_on(server, tmp_path / "run", batch=options).run(JOBS)
    with Checkpoint.read(tmp_path / "run") as reader:
        first, second = reader.batch_jobs()

    said = read_page(write_html(tmp_path / "run", tmp_path / "page.html")).text

    rows = [
        f"{one.name} {one.model_id} pending {slots} {slots} {one.at:%Y-%m-%d %H:%M}"
        for one, slots in ((first, 3), (second, 2))
    ]
    assert " ".join(rows) in said


async def test_the_page_lists_the_last_ones_if_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "MAX_BATCH_JOBS", 2)
    options = BatchOptions(poll_seconds=0.02, max_wait_seconds=0, shard_images=2)
    async with simulator(batch=_pending()) as server:
        await pipeline_on(server, tmp_path / "run", batch=options).run(JOBS)
    with Checkpoint.read(tmp_path / "run") as reader:
        first, *last = reader.batch_jobs()

    said = read_page(write_html(tmp_path / "run", tmp_path / "page.html")).text

    assert "Batch jobs The last 2; 1 before them are not shown." in said
    assert first.name not in said
    assert [one.name in said for one in last] == [True, True]


async def test_the_page_of_a_run_without_batch_jobs_says_nothing_of_them(tmp_path: Path) -> None:
    async with simulator() as server:
        await pipeline_on(server, tmp_path / "run").run(JOBS)

    assert "Batch job" not in read_page(write_html(tmp_path / "run", tmp_path / "page.html")).text
