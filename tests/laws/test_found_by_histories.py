"""What the histories of `test_any_history.py` have found, as short stories with the real SDK."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import anyio
import pytest

from nanobatch import (
    Budget,
    Candidate,
    Checkpoint,
    Ended,
    FailureRecorded,
    ImageRequest,
    Job,
    JobStatus,
    Reply,
    Route,
    TokenUsage,
    TransientError,
    TwoTierPipeline,
    Verdict,
)
from tests.laws.painter import PNG
from tests.support import NO_WAIT, pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path


def tired(candidate: Candidate) -> Verdict:
    raise RuntimeError("not today")


class PaidJudge:
    """Accepts everything, for two cents each."""

    name = "paid judge"
    worst_case_usd = Decimal("0.02")

    async def __call__(self, candidate: Candidate) -> Verdict:
        return Verdict(accepted=True, usd=Decimal("0.02"))


@pytest.mark.parametrize(
    ("first", "then", "requests"),
    [
        (Route.FINISH, Route.LITE, 2),  # a draft and its finish, which nobody could judge
        (Route.FINISH, Route.QUALITY, 2),
        (Route.LITE, Route.FINISH, 1),
        (Route.QUALITY, Route.FINISH, 1),
    ],
)
async def test_an_image_nobody_could_judge_is_not_bought_again_on_another_route(
    first: Route, then: Route, requests: int, tmp_path: Path
) -> None:
    job = Job(id="poster", prompt="x", route=first)
    plain = () if first is Route.FINISH else (tired,)
    async with simulator() as server:
        before = await pipeline_on(server, tmp_path, filters=plain, finish_filters=[tired]).run(
            [job]
        )
        result = await pipeline_on(server, tmp_path, filters=[]).run(
            [job.model_copy(update={"route": then})]
        )

    assert before.jobs["poster"].status is JobStatus.PENDING
    assert result.jobs["poster"].status is JobStatus.DONE
    assert len(result.jobs["poster"].images) == 1
    assert server.bill.requests == requests


async def test_a_job_that_has_its_images_is_done_although_judging_one_more_is_too_dear(
    tmp_path: Path,
) -> None:
    job = Job(id="fox", prompt="x", want=2, route=Route.LITE)
    async with simulator() as server:
        await pipeline_on(server, tmp_path, filters=[tired]).run([job])
        with Checkpoint.read(tmp_path) as checkpoint:
            spent = checkpoint.spend.worst_case_usd
        result = await pipeline_on(
            server,
            tmp_path,
            filters=[PaidJudge()],
            concurrency=1,
            budget=Budget(usd=spent + Decimal("0.03")),  # for one judgement of the two
        ).run([job.model_copy(update={"want": 1})])

    assert server.bill.requests == 2
    assert result.ended is Ended.BUDGET
    assert result.jobs["fox"].status is JobStatus.DONE
    assert len(result.jobs["fox"].images) == 1


class BusyOnce:
    """Says "slower" to the first of four calls when all are there; the others wait for a word."""

    def __init__(self) -> None:
        self.started = 0
        self.all_there = anyio.Event()
        self.word = anyio.Event()

    async def generate(self, request: ImageRequest) -> Reply:
        self.started += 1
        number = self.started
        if number == 4:
            self.all_there.set()
        if number == 1:
            await self.all_there.wait()
            raise TransientError("Slower.", kind="rate_limit", status=429, slow_down=True)
        await self.word.wait()
        return Reply(
            images=(PNG,), usage=TokenUsage(prompt_tokens=3, image_tokens=1120, text_tokens=0)
        )

    async def aclose(self) -> None:
        return


async def test_after_a_429_not_one_more_call_begins_before_there_are_fewer(tmp_path: Path) -> None:
    backend = BusyOnce()
    pipeline = TwoTierPipeline(
        backend,
        filters=[],
        checkpoint=tmp_path,
        budget=Budget.unlimited(),
        concurrency=4,
        retry=NO_WAIT,
    )
    slowed = anyio.Event()
    started = 0

    def hear(event: object) -> None:
        if isinstance(event, FailureRecorded):
            slowed.set()

    async with anyio.create_task_group() as group:
        group.start_soon(pipeline.run, [Job(id="fox", prompt="x", want=8)], hear)
        with anyio.fail_after(20):
            await slowed.wait()
            await anyio.sleep(0.2)  # time enough for a fifth call, which must not come
        started = backend.started
        backend.word.set()

    assert started == 4
    assert backend.started == 9  # eight images, and the one that was told to come later


async def test_what_was_paid_for_under_another_best_of_is_kept_and_not_accepted_beyond_the_want(
    tmp_path: Path,
) -> None:
    seen: list[int] = []

    def tired_at_first(candidate: Candidate) -> bool:
        seen.append(candidate.slot)
        if len(seen) == 1:
            raise RuntimeError("not today")
        return True

    job = Job(id="poster", prompt="x", want=1, best_of=2)
    async with simulator() as server:
        await pipeline_on(server, tmp_path, filters=[tired_at_first], concurrency=1).run([job])
        before = server.bill.requests
        result = await pipeline_on(server, tmp_path, filters=[]).run(
            [job.model_copy(update={"best_of": 1})]
        )

    assert before == 2  # one that nobody could judge, and one that passed
    assert server.bill.requests == 2
    assert len(list(result.images)) == result.delivered == 1
    assert result.jobs["poster"].status is JobStatus.DONE
    with Checkpoint.read(tmp_path) as checkpoint:
        assert sorted(str(one.state) for one in checkpoint.candidates()) == ["accepted", "passed"]
        assert checkpoint.verify().is_clean
