"""The batch follows what the provider lets through: pauses for all, and a pace kept from the start.

Prices by hand, 1K: a Lite image is 1,120 tokens at USD 30 and about 450 text tokens at USD 1.50 a
million, USD 0.0343; its worst case is 4,096 tokens at USD 30, USD 0.123.
"""

from __future__ import annotations

import time
from decimal import Decimal
from typing import TYPE_CHECKING

import anyio

from nanobatch import CallsPaused, Checkpoint, Ended, ImageAccepted, Job, Pace, Retry, Route
from nanobatch.simulator import answers
from tests.support import LITE, PRO, pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch import Event
    from nanobatch.simulator import Answer, Call


async def test_one_refusal_pauses_everybody_for_as_long_as_the_server_asked(
    tmp_path: Path,
) -> None:
    arrived: list[tuple[str, float]] = []
    paused: list[tuple[CallsPaused, float]] = []

    def answer(call: Call) -> Answer | None:
        arrived.append((call.model, time.monotonic()))
        of_lite = [model for model, _ in arrived if model == LITE]
        is_refused = call.model == LITE and len(of_lite) == 4
        return answers.rate_limited(retry_after_seconds=1) if is_refused else None

    def progress(event: Event) -> None:
        if isinstance(event, CallsPaused):
            paused.append((event, time.monotonic()))

    jobs = [Job(id=f"{i}", prompt=f"a fox {i}", route=Route.LITE) for i in range(10)]
    async with simulator(answer=answer, latency_seconds=0.2) as server:
        # Four at once, and the last of the first four is refused: no other is on its way then.
        result = await pipeline_on(server, tmp_path, concurrency=4, quality=None).run(
            jobs, progress
        )

    [(pause, since)] = paused
    assert (pause.model_id, pause.reason, pause.concurrency) == (LITE, "rate_limit", 2)
    assert 1 <= pause.seconds <= 1.1
    assert [at for _, at in arrived if since < at < since + pause.seconds] == []
    assert len(arrived) == 11
    assert result.ended is Ended.COMPLETE
    assert result.delivered == 10


async def test_the_other_tier_goes_on_while_one_is_paused(tmp_path: Path) -> None:
    arrived: list[tuple[str, float]] = []
    since: list[float] = []

    def answer(call: Call) -> Answer | None:
        arrived.append((call.model, time.monotonic()))
        is_first = call.model == LITE and [model for model, _ in arrived].count(LITE) == 1
        return answers.rate_limited(retry_after_seconds=2) if is_first else None

    def progress(event: Event) -> None:
        if isinstance(event, CallsPaused):
            since.append(time.monotonic())

    jobs = [
        Job(id=f"{i}", prompt=f"a fox {i}", route=Route.QUALITY if i else Route.LITE)
        for i in range(6)
    ]
    async with simulator(answer=answer) as server:
        result = await pipeline_on(server, tmp_path, concurrency=2).run(jobs, progress)

    assert result.delivered == 6
    meanwhile = [model for model, at in arrived if since[0] < at < since[0] + 2]
    assert PRO in meanwhile
    assert LITE not in meanwhile


async def test_a_refusal_without_a_wish_pauses_everybody_for_the_wait_of_its_call(
    tmp_path: Path,
) -> None:
    paused: list[CallsPaused] = []

    def answer(call: Call) -> Answer | None:
        return answers.overloaded() if call.number == 1 else None

    async with simulator(answer=answer) as server:
        result = await pipeline_on(
            server,
            tmp_path,
            concurrency=4,
            retry=Retry(first_wait_seconds=0.5, max_wait_seconds=0.5),
        ).run(
            [Job(id=f"{i}", prompt=f"a fox {i}") for i in range(6)],
            lambda event: paused.append(event) if isinstance(event, CallsPaused) else None,
        )

    assert [(one.reason, one.concurrency) for one in paused] == [("overloaded", 2)]
    assert 0 < paused[0].seconds <= 0.5
    assert result.delivered == 6


async def test_a_pace_is_kept_by_the_run_and_by_the_next_one(tmp_path: Path) -> None:
    pace = Pace(usd_per_10_minutes="0.30")
    jobs = [Job(id=f"{i}", prompt=f"a fox {i}") for i in range(20)]

    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, concurrency=4, quality=None, pace=pace)
        with anyio.CancelScope() as scope:
            accepted = 0

            def progress(event: Event) -> None:
                nonlocal accepted
                accepted += isinstance(event, ImageAccepted)
                if accepted == 6:  # 5 x 0.0343 + 0.123 fits into 0.30, 6 x 0.0343 + 0.123 does not
                    scope.cancel()

            await pipeline.run(jobs, progress)
        first = server.bill.requests
        with anyio.move_on_after(1):
            await pipeline.run(jobs)
        second = server.bill.requests
        billed = server.bill.usd

    with Checkpoint.read(tmp_path) as checkpoint:
        assert first == 6
        assert second == 6
        assert billed == checkpoint.spend.confirmed_usd <= Decimal("0.30")
