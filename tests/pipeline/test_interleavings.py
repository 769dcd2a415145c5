"""What goes wrong only when two things happen at once, or when a run ends between two steps."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

import anyio
import pytest

from nanobatch import (
    Budget,
    Candidate,
    CandidateRejected,
    Checkpoint,
    CheckpointLockedError,
    Ended,
    FilterError,
    Gemini,
    Job,
    JobEnded,
    JobStatus,
    Route,
    Tier,
    TwoTierPipeline,
    Verdict,
)
from nanobatch.simulator import Answer, Call, answers
from tests.support import NO_WAIT, pipeline_on, simulator, states

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nanobatch import AcceptedImage


class Memory:
    """Remembers how often it was told of each image."""

    name = "memory"

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()

    async def __call__(self, candidate: Candidate) -> Verdict:
        return Verdict.accept()

    def seen(self, image: AcceptedImage, memo: bytes) -> None:
        if memo == b"broken":
            raise ValueError("a memo of an older version")
        self.told[image.sha256] += 1


async def test_a_job_ends_once_although_another_slot_ends_while_its_pick_is_remembered(
    tmp_path: Path,
) -> None:
    ended: Counter[str] = Counter()

    def judge(candidate: Candidate) -> bool:
        return candidate.job.tag != "bad"

    def count(event: object) -> None:
        if isinstance(event, JobEnded):
            ended[event.job_id] += 1

    jobs = [
        Job(id=f"{tag}-{n}", prompt=f"{tag} {n}", tag=tag, best_of=2 if tag == "good" else 1)
        for n in range(10)
        for tag in ("good", "bad")
    ]
    async with simulator(latency_seconds=0.002) as server:
        pipeline = pipeline_on(server, tmp_path, filters=[judge, Memory()], route="lite")
        with anyio.fail_after(60):
            result = await pipeline.run(jobs, progress=count)

    assert result.ended is Ended.COMPLETE
    assert ended == {job.id: 1 for job in jobs}


async def test_what_lands_after_the_run_was_stopped_gets_its_status(tmp_path: Path) -> None:
    def answer(call: Call) -> Answer | None:
        if call.prompt == "no credit":
            return answers.no_credit().after(0.2)  # the others are on their way by then
        return answers.blocked().after(0.5) if call.prompt == "blocked" else None

    jobs = [Job(id=name, prompt=name) for name in ("blocked", "fine", "no credit")]
    async with simulator(answer=answer, latency_seconds=0.5) as server:
        first = await pipeline_on(server, tmp_path).run(jobs)
        second = await pipeline_on(server, tmp_path).run(jobs[:1])

    assert first.ended is Ended.ACCOUNT
    assert first.jobs["fine"].status is JobStatus.DONE
    assert first.jobs["blocked"].status is JobStatus.REFUSED
    assert first.jobs["no credit"].status is JobStatus.PENDING
    assert second.jobs["blocked"].status is JobStatus.REFUSED
    assert server.bill.requests == 3


async def test_fewer_wanted_finishes_than_picked_drafts_buy_no_surplus(tmp_path: Path) -> None:
    def no_finish_yet(call: Call) -> Answer | None:
        return answers.no_credit() if call.is_finish else None

    job = Job(id="poster", prompt="x", want=4, route=Route.FINISH)
    async with simulator(answer=no_finish_yet) as server:
        await pipeline_on(server, tmp_path).run([job])
    async with simulator() as server:
        result = await pipeline_on(server, tmp_path).run([job.model_copy(update={"want": 1})])

    assert result.jobs["poster"].status is JobStatus.DONE
    assert len(result.jobs["poster"].images) == 1
    assert server.bill.requests == 1


async def test_a_complete_group_is_delivered_even_if_the_job_is_refused(tmp_path: Path) -> None:
    def third_is_blocked(call: Call) -> Answer | None:
        return answers.blocked() if call.nth == 2 else None

    job = Job(id="a", prompt="x", want=2, best_of=2, route=Route.LITE)
    async with simulator(answer=third_is_blocked, latency_seconds=0.02) as server:
        result = await pipeline_on(server, tmp_path).run([job])

    assert result.jobs["a"].status is JobStatus.REFUSED
    assert len(result.jobs["a"].images) == 1
    assert states(tmp_path)["unpicked"] == 1


async def test_a_cancelled_fall_back_has_its_draft(tmp_path: Path) -> None:
    job = Job(id="j", prompt="x", route=Route.FINISH)
    async with simulator(accept_rate=lambda call: 0.0 if call.is_finish else 1.0) as server:
        pipeline = pipeline_on(server, tmp_path, finish_fallback=True)
        with anyio.CancelScope() as scope:

            def cancel(event: object) -> None:
                if isinstance(event, CandidateRejected):
                    scope.cancel()

            await pipeline.run([job], progress=cancel)
        result = await pipeline.run([job])

    assert scope.cancelled_caught
    assert [image.tier for image in result.images] == [Tier.LITE]
    assert server.bill.requests == 2


async def test_a_finish_broken_and_then_without_answer_falls_back_too(tmp_path: Path) -> None:
    def answer(call: Call) -> Answer | None:
        if not call.is_finish:
            return None
        return answers.truncated_image() if call.nth == 0 else answers.internal()

    async with simulator(answer=answer) as server:
        pipeline = pipeline_on(server, tmp_path, finish_fallback=True)

        result = await pipeline.run([Job(id="j", prompt="x", route=Route.FINISH)])

    assert [image.tier for image in result.images] == [Tier.LITE]
    assert server.bill.requests == 5  # a draft, a broken finish, three tries to regenerate it
    assert result.spend.confirmed_usd == server.bill.usd
    broken = next(failure for failure in result.failures if failure.kind == "broken")
    assert broken.usd > Decimal("0.13")  # a Pro image was paid for


async def test_finishes_that_all_fail_are_hopeless_however_good_the_drafts(tmp_path: Path) -> None:
    jobs = [Job(id=f"j{n}", prompt=f"x {n}", route=Route.FINISH) for n in range(40)]
    async with simulator(accept_rate=lambda call: 0.0 if call.is_finish else 1.0) as server:
        result = await pipeline_on(server, tmp_path, concurrency=1).run(jobs)

    assert result.ended is Ended.HOPELESS
    assert server.bill.by_model().keys() == {
        "gemini-3-pro-image",
        "gemini-3.1-flash-lite-image",
    }
    assert result.cost.accepted == 0
    assert result.cost.slots is not None
    assert result.cost.slots <= 66  # 30 finishes, 30 drafts, and what two workers had begun


async def test_thirty_refused_prompts_do_not_make_a_batch_hopeless(tmp_path: Path) -> None:
    jobs = [Job(id=f"j{n}", prompt=f"x {n}") for n in range(40)]
    async with simulator(
        answer=lambda call: answers.blocked() if call.number < 32 else None
    ) as server:
        result = await pipeline_on(server, tmp_path, concurrency=1).run(jobs)

    assert result.ended is Ended.COMPLETE
    assert result.delivered == 8


class SlowPaidJudge:
    """Costs a tenth of a cent after a while."""

    name = "paid"
    worst_case_usd = Decimal("0.002")

    async def __call__(self, candidate: Candidate) -> Verdict:
        await anyio.sleep(0.02)
        return Verdict(accepted=True, usd=Decimal("0.001"))


async def test_images_are_judged_although_the_next_call_does_not_fit(tmp_path: Path) -> None:
    async def slow(candidate: Candidate) -> bool:
        await anyio.sleep(0.05)
        return True

    jobs = [Job(id=f"j{n}", prompt=f"x {n}", route=Route.LITE) for n in range(20)]
    async with simulator() as server:
        pipeline = pipeline_on(
            server, tmp_path, filters=[slow, SlowPaidJudge()], budget=Budget(usd="0.50")
        )

        result = await pipeline.run(jobs)

    assert result.ended is Ended.BUDGET
    assert states(tmp_path) == {"accepted": server.bill.images}


async def test_one_open_checkpoint_takes_one_run_at_a_time(tmp_path: Path) -> None:
    async with simulator(latency_seconds=0.05) as server, Checkpoint.open(tmp_path) as checkpoint:
        first = pipeline_on(server, tmp_path, checkpoint=checkpoint)
        second = pipeline_on(server, tmp_path, checkpoint=checkpoint)
        async with first.stream([Job(id="a", prompt="x", want=10)]) as events:
            await anext(events)
            with pytest.raises(CheckpointLockedError, match="run is going on"):
                await second.run([Job(id="b", prompt="x")])


async def test_one_backend_serves_two_runs_and_closes_with_the_last(tmp_path: Path) -> None:
    async with simulator(latency_seconds=0.05) as server:
        backend = Gemini(api_key="k", base_url=server.base_url)

        async def run(name: str, want: int) -> None:
            pipeline = TwoTierPipeline(
                backend, checkpoint=tmp_path / name, budget=Budget.unlimited(), retry=NO_WAIT
            )
            result = await pipeline.run([Job(id=name, prompt=name, want=want)])
            assert result.delivered == want

        async with anyio.create_task_group() as group:
            group.start_soon(run, "short", 1)
            group.start_soon(run, "long", 40)

    assert not backend.is_open


async def test_a_filter_hears_of_every_image_once_however_often_it_runs(tmp_path: Path) -> None:
    memory = Memory()
    jobs = [Job(id=f"j{n}", prompt=f"x {n}") for n in range(3)]
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, filters=[memory])
        await pipeline.run(jobs)
        await pipeline.run([*jobs, Job(id="late", prompt="late")])

    assert len(memory.told) == 4
    assert set(memory.told.values()) == {1}


async def test_a_filter_that_cannot_recall_is_the_filters_error(tmp_path: Path) -> None:
    class Older(Memory):
        async def __call__(self, candidate: Candidate) -> Verdict:
            return Verdict(accepted=True, memo=b"broken")

        def seen(self, image: AcceptedImage, memo: bytes) -> None:
            del image, memo

    async with simulator() as server:
        await pipeline_on(server, tmp_path, filters=[Older()]).run([Job(id="a", prompt="x")])

        with pytest.raises(FilterError, match="memo of an older version"):
            await pipeline_on(server, tmp_path, filters=[Memory()]).run([])


async def test_an_async_generator_is_read_by_one_task_and_closed(tmp_path: Path) -> None:
    closed: list[str] = []

    async def jobs() -> AsyncIterator[Job]:
        try:
            with anyio.fail_after(60):  # belongs to the task that entered it
                for n in range(1000):
                    yield Job(id=f"j{n}", prompt=f"x {n}")
        finally:
            closed.append("closed")

    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, budget=Budget(usd="0.60"))

        result = await pipeline.run(jobs())

    assert result.ended is Ended.BUDGET
    assert closed == ["closed"]


async def test_an_older_result_does_not_change_with_later_runs(tmp_path: Path) -> None:
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path)
        first = await pipeline.run([Job(id="a", prompt="x")])
        await pipeline.run([Job(id="a", prompt="x", want=2), Job(id="b", prompt="y")])

    assert [image.job_id for image in first.images] == ["a"]
    assert list(first.jobs) == ["a"]
    assert len(first.jobs["a"].images) == 1
