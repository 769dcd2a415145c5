"""The main job end to end: what was wanted is delivered, and the ledger is the bill."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from nanobatch import (
    Budget,
    Checkpoint,
    Ended,
    ImageAccepted,
    Job,
    JobStatus,
    Route,
    StopRule,
    Tier,
)
from nanobatch.simulator import Answer, Call, answers
from tests.support import LITE, PRO, candidates, pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch import RunResult
    from nanobatch.simulator import Simulator

ANSWERED_FAULTS = (
    answers.rate_limited,
    answers.overloaded,
    answers.internal,
    answers.capacity,
    answers.deadline,
    answers.no_image,
    answers.truncated_image,
    answers.parts_null,
    answers.overloaded_html,
)


def _mixed_jobs() -> list[Job]:
    """Return 100 jobs over all routes, sizes and best-of groups."""
    routes = (None, Route.LITE, Route.QUALITY, Route.FINISH, Route.AUTO)
    return [
        Job(
            id=f"job-{n}",
            prompt=f"wallpaper number {n}, a forest in mist",
            want=1 + n % 3,
            best_of=2 if n % 7 == 0 else 1,
            route=routes[n % 5],
            size="2K" if n % 10 == 3 else "1K",
            aspect_ratio=("1:1", "16:9", "9:16")[n % 3],
            tag=f"tag-{n % 4}",
        )
        for n in range(100)
    ]


def _every_sixth_fails(call: Call) -> Answer | None:
    if call.number % 6 != 5:
        return None
    return ANSWERED_FAULTS[call.number // 6 % len(ANSWERED_FAULTS)]()


async def test_the_ledger_of_100_mixed_jobs_with_answered_faults_is_the_bill_exactly(
    tmp_path: Path,
) -> None:
    jobs = _mixed_jobs()
    async with simulator(accept_rate=0.8, answer=_every_sixth_fails) as server:
        pipeline = pipeline_on(server, tmp_path, concurrency=12, stop=StopRule(30))

        result = await pipeline.run(jobs)

    assert result.ended is Ended.COMPLETE
    assert result.spend.confirmed_usd == server.bill.usd
    assert result.spend.unknown_usd == 0
    with Checkpoint.read(tmp_path) as checkpoint:
        lines = sum(1 for line in checkpoint.ledger() if line.call is not None)
    assert lines == server.bill.requests
    assert {name: job.status for name, job in result.jobs.items()} == {
        job.id: JobStatus.DONE for job in jobs
    }
    delivered = Counter(image.job_id for image in result.images)
    assert delivered == {job.id: job.want for job in jobs}
    assert sum(image.path.is_file() for image in result.images) == sum(job.want for job in jobs)


@pytest.mark.at_once("the last order may bring more")
async def test_no_surplus_image_is_paid_for(tmp_path: Path) -> None:
    jobs = _mixed_jobs()
    async with simulator(accept_rate=0.7) as server:
        await pipeline_on(server, tmp_path, concurrency=12, stop=StopRule(30)).run(jobs)

    passed: dict[str, Counter[str]] = {job.id: Counter() for job in jobs}
    for candidate in candidates(tmp_path):
        passed[candidate.job_id][f"{candidate.stage} {candidate.state}"] += 1
    for job in jobs:
        good = Counter({k: n for k, n in passed[job.id].items() if not k.endswith("rejected")})
        if job.route is Route.FINISH:
            rejected = passed[job.id]["finish rejected"]
            expected = {
                "draft spent": job.want + rejected,
                "draft unpicked": (job.best_of - 1) * (job.want + rejected),
                "finish accepted": job.want,
            }
        else:
            expected = {
                "candidate accepted": job.want,
                "candidate unpicked": (job.best_of - 1) * job.want,
            }
        assert good == Counter({k: n for k, n in expected.items() if n}), job.id


@pytest.mark.parametrize("concurrency", [4, 64, 256])
async def test_a_budget_of_two_dollars_is_used_and_never_passed(
    tmp_path: Path, concurrency: int, mode: str
) -> None:
    jobs = (Job(id=f"job-{n}", prompt=f"dunes {n}") for n in range(10_000))
    async with simulator(accept_rate=0.8, latency_seconds=0.01) as server:
        pipeline = pipeline_on(
            server, tmp_path, budget=Budget(usd="2.00"), route="lite", concurrency=concurrency
        )

        result = await pipeline.run(jobs)

    assert result.ended is Ended.BUDGET
    assert Decimal("1.84") <= result.spend.worst_case_usd <= Decimal("2.00")
    assert result.spend.confirmed_usd == server.bill.usd
    assert server.bill.peak_in_flight <= concurrency
    assert not result.all_read or mode == "by_batch"  # orders are filled while answers are awaited


@pytest.mark.at_once("orders hold no permit")
async def test_requests_in_flight_reach_the_concurrency_and_never_pass_it(tmp_path: Path) -> None:
    jobs = [Job(id=f"job-{n}", prompt=f"ocean {n}") for n in range(60)]
    async with simulator(latency_seconds=0.5) as server:
        await pipeline_on(server, tmp_path, concurrency=20).run(jobs)

    assert server.bill.peak_in_flight == 20


async def test_an_unchanged_second_run_of_a_finished_batch_sends_nothing(tmp_path: Path) -> None:
    jobs = _mixed_jobs()[:20]
    async with simulator(accept_rate=0.8) as server:
        first = await pipeline_on(server, tmp_path, stop=StopRule(30)).run(jobs)
        requests = server.bill.requests

        second = await pipeline_on(server, tmp_path, stop=StopRule(30)).run(jobs)

    assert server.bill.requests == requests
    assert second.ended is Ended.COMPLETE
    assert second.spend == first.spend
    assert list(second.images) == list(first.images)


async def _interrupted_after(
    accepted: int, jobs: list[Job], server: Simulator, folder: Path
) -> set[str]:
    """Run until so many images are accepted, then leave; return their hashes."""
    seen: set[str] = set()
    async with pipeline_on(server, folder, stop=StopRule(30)).stream(jobs) as events:
        async for event in events:
            if isinstance(event, ImageAccepted):
                seen.add(event.image.sha256)
                if len(seen) == accepted:
                    break
    return seen


@pytest.mark.parametrize("accepted", range(1, 12))
async def test_interrupting_after_any_accepted_image_loses_nothing_and_pays_nothing_twice(
    tmp_path: Path, accepted: int
) -> None:
    jobs = [
        Job(id="lite", prompt="aurora", want=4, route=Route.LITE),
        Job(id="best", prompt="fjord", want=2, best_of=2, route=Route.LITE),
        Job(id="hero", prompt="owl", want=2, route=Route.QUALITY),
        Job(id="poster", prompt="map", want=4, route=Route.FINISH),
    ]
    async with simulator(accept_rate=0.7, latency_seconds=0.005) as server:
        seen = await _interrupted_after(accepted, jobs, server, tmp_path)

        result: RunResult = await pipeline_on(server, tmp_path, stop=StopRule(30)).run(jobs)

    images = list(result.images)
    assert result.ended is Ended.COMPLETE
    assert seen <= {image.sha256 for image in images}
    assert Counter(image.job_id for image in images) == {job.id: job.want for job in jobs}
    assert result.spend.confirmed_usd == server.bill.usd
    assert result.spend.unknown_usd == 0
    with Checkpoint.read(tmp_path) as checkpoint:
        assert checkpoint.verify().is_clean
        unused = [c for c in checkpoint.candidates() if c.state in ("passed", "picked", "staged")]
    assert unused == []


@pytest.mark.at_once("an order is placed before its answers teach anything")
async def test_lite_draws_three_slots_of_an_auto_job_and_quality_the_next(tmp_path: Path) -> None:
    rates = {LITE: 0.0, PRO: 1.0}
    async with simulator(accept_rate=rates) as server:
        result = await pipeline_on(server, tmp_path).run([Job(id="hard", prompt="ten hands")])

    assert [image.tier for image in result.images] == [Tier.QUALITY]
    assert [line.model for line in server.bill.lines] == [LITE, LITE, LITE, PRO]
    assert result.jobs["hard"].slots == 4


async def test_a_job_is_done_on_disk_as_soon_as_anybody_hears_of_its_last_image(
    tmp_path: Path,
) -> None:
    seen: list[tuple[int, str]] = []

    def look(event: object) -> None:
        if isinstance(event, ImageAccepted):
            with Checkpoint.read(tmp_path) as checkpoint:
                (job,) = checkpoint.jobs()
                seen.append((event.image.number, str(job.status)))

    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, concurrency=1, quality=None)
        await pipeline.run([Job(id="a", prompt="a fox", want=3)], look)

    assert seen == [(1, "pending"), (2, "pending"), (3, "done")]
