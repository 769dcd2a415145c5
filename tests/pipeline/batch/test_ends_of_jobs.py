"""Every state in which a batch job can end, and what becomes of its slots and their money."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nanobatch import BatchJobChanged, Ended, Gemini, Job, JobStatus, RunEnded
from nanobatch.pipeline.batch import collecting
from nanobatch.simulator.batch import End, Polls
from tests.pipeline.batch.orders import by_batch, check_books, failures, jobs, provider, worst_usd

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch import RunResult, TwoTierPipeline
    from nanobatch.simulator import Simulator


@pytest.mark.parametrize(
    ("end", "kind"), [(End.FAILED, "batch_failed"), (End.EXPIRED, "batch_expired")]
)
async def test_a_job_that_brings_nothing_costs_nothing_and_its_slots_are_ordered_again(
    tmp_path: Path, end: End, kind: str
) -> None:
    async with provider(ends=(end,)) as server:
        result = await by_batch(server, tmp_path).run(jobs(3))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert len(list(result.images)) == 3
    assert {failure.kind for failure in failures(tmp_path)} == {kind}
    assert sum(len(job.keys) for job in server.batches.jobs) == 6
    assert len(server.batches.jobs[0].keys) == 3
    assert server.bill.requests == 3


async def test_a_job_that_fails_as_a_whole_does_not_fail_those_who_want_many_images(
    tmp_path: Path,
) -> None:
    """Three void slots in a row are a sign of trouble only if they were drawn one by one."""
    async with provider(ends=(End.EXPIRED,)) as server:
        result = await by_batch(server, tmp_path).run([Job(id="many", prompt="a fox", want=5)])
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert result.jobs["many"].status is JobStatus.DONE
    assert len(result.jobs["many"].images) == 5
    assert server.bill.interactive_usd == 0  # the second order brought them all


async def test_when_every_job_fails_the_wants_are_drawn_at_once(tmp_path: Path) -> None:
    async with provider(ends=End.FAILED) as server:
        result = await by_batch(server, tmp_path).run(jobs(2))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert len(list(result.images)) == 2
    assert len(server.batches.jobs) >= 2
    assert server.bill.batch_usd == 0


async def test_a_failed_job_that_worked_before_it_failed_is_unknown_money(tmp_path: Path) -> None:
    async with provider(ends=(End.FAILED,), share_before_end=0.5) as server:
        result = await by_batch(server, tmp_path).run(jobs(2))
        await check_books(server, tmp_path, unknown=worst_usd(2))

    assert len(list(result.images)) == 2
    assert server.bill.requests == 3


async def _cancelled_outside(server: Simulator, pipeline: TwoTierPipeline) -> RunResult:
    """Run, and let somebody else with the same key cancel the first job that runs."""
    is_cancelled = False
    result: RunResult | None = None
    async with (
        Gemini(api_key="simulated", base_url=server.base_url) as console,
        pipeline.stream(jobs(4)) as events,
    ):
        async for event in events:
            if isinstance(event, BatchJobChanged) and event.state == "running":
                if not is_cancelled:
                    await console.cancel_batch(event.name)
                is_cancelled = True
            if isinstance(event, RunEnded):
                result = event.result
    assert result is not None
    return result


async def test_of_a_job_cancelled_by_somebody_else_the_results_are_collected(
    tmp_path: Path,
) -> None:
    schedule = Polls(pending=0, running=4)
    async with provider(schedule=schedule, cancelled_results=True) as server:
        result = await _cancelled_outside(server, by_batch(server, tmp_path))
        await check_books(server, tmp_path)

    assert server.batches.jobs[0].state == "CANCELLED"
    assert 0 < len(server.batches.jobs[0].done) < 4
    assert result.ended is Ended.COMPLETE
    assert len(list(result.images)) == 4
    assert server.bill.requests == 4


async def test_of_a_job_cancelled_by_somebody_else_without_results_the_money_is_unknown(
    tmp_path: Path,
) -> None:
    async with provider(schedule=Polls(pending=0, running=4)) as server:
        result = await _cancelled_outside(server, by_batch(server, tmp_path))
        await check_books(server, tmp_path, unknown=worst_usd(4))

    assert server.batches.jobs[0].state == "CANCELLED"
    assert result.ended is Ended.COMPLETE
    assert len(list(result.images)) == 4


async def test_a_job_that_is_stuck_is_cancelled_and_its_wants_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "STUCK_SECONDS", 0.3)
    async with provider(ends=(End.STUCK,), cancel_polls=2) as server:
        result = await by_batch(server, tmp_path).run(jobs(2))
        await check_books(server, tmp_path)

    assert server.batches.jobs[0].state == "CANCELLED"
    assert server.bill.requests == 2
    assert result.ended is Ended.COMPLETE
    assert len(list(result.images)) == 2
