"""A run may be left while batch jobs are on their way, and come back to by another one."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from nanobatch import (
    BatchJobChanged,
    Budget,
    Checkpoint,
    ConfigError,
    Ended,
    JobStatus,
    TwoTierPipeline,
)
from nanobatch.pipeline.batch import searching
from nanobatch.simulator import answers
from nanobatch.simulator.batch import Operation, Polls
from tests.pipeline.batch.orders import (
    by_batch,
    check_books,
    jobs,
    provider,
    worst_usd,
)
from tests.pipeline.test_cancelling import JOBS, interrupted
from tests.support import pipeline_on, states

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch import Event, Job, RunResult
    from nanobatch.backend import ImageRequest, Reply
    from nanobatch.simulator import Answer, Simulator

LEAVE = {"max_wait_seconds": 0}
SLOW = Polls(pending=2, running=2)


async def _left(server: Simulator, folder: Path, wanted: list[Job], **options: Any) -> RunResult:
    """Order, and leave as soon as everything is on its way."""
    result = await by_batch(server, folder, batch_options=LEAVE, **options).run(wanted)
    assert result.ended is Ended.WAITING
    return result


async def test_a_run_that_does_not_wait_ends_as_waiting_and_the_next_ones_go_on(
    tmp_path: Path,
) -> None:
    ended: list[Ended] = []
    async with provider(schedule=Polls(pending=1, running=1)) as server:
        first = await _left(server, tmp_path, jobs(3))
        with Checkpoint.read(tmp_path) as checkpoint:
            report = checkpoint.verify()
        while not ended or ended[-1] is Ended.WAITING:
            again = await by_batch(server, tmp_path, batch_options=LEAVE).run(jobs(3))
            ended.append(again.ended)
            assert len(ended) < 20
        await check_books(server, tmp_path)

    assert "run again" in first.reason
    assert {job.status for job in first.jobs.values()} == {JobStatus.PENDING}
    assert report.is_clean, report
    assert ended[-1] is Ended.COMPLETE
    assert server.bill.requests == 3


async def test_a_cancelled_wait_loses_nothing_and_the_next_run_collects(tmp_path: Path) -> None:
    async with provider(schedule=Polls(pending=1, running=1_000)) as server:
        with anyio.CancelScope() as scope:

            def cancel(event: Event) -> None:
                if isinstance(event, BatchJobChanged) and event.state == "running":
                    scope.cancel()

            await by_batch(server, tmp_path).run(jobs(3), cancel)
        assert scope.cancelled_caught
        await server.batches.finish()
        result = await by_batch(server, tmp_path).run(jobs(3))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert server.bill.requests == 3
    assert len(server.batches.jobs) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupt_while_waiting_ends_the_run_soon_and_the_next_one_collects(
    tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "run"
    async with provider(schedule=Polls(pending=0, running=1_000)) as server:
        process = await interrupted("batch", server, folder, signal_number=number)
        await server.batches.finish()
        result = await by_batch(server, folder, quality=None).run(JOBS)
        await check_books(server, folder)

    assert process.code == 0
    assert process.ended == "cancelled"
    assert process.seconds < 5
    assert result.ended is Ended.COMPLETE
    assert server.bill.requests == len(JOBS)


async def test_a_key_that_does_not_know_the_job_ends_the_run_and_buys_nothing(
    tmp_path: Path,
) -> None:
    is_other = False

    def other_account(asked: Operation) -> Answer | None:
        return answers.not_found() if is_other and asked.name == "get" else None

    async with provider(schedule=SLOW, fault=other_account) as server:
        await _left(server, tmp_path, jobs(3))
        is_other = True
        wrong = await by_batch(server, tmp_path).run(jobs(3))
        is_other = False
        result = await by_batch(server, tmp_path).run(jobs(3))
        await check_books(server, tmp_path)

    assert wrong.ended is Ended.ACCOUNT
    assert "key" in wrong.reason
    assert wrong.spend.unknown_usd == worst_usd(3)  # until the job's end says what it cost
    assert result.ended is Ended.COMPLETE
    assert server.bill.requests == 3


@pytest.mark.parametrize("status", [403, 404])
async def test_results_that_are_gone_are_unknown_money_and_drawn_anew(
    tmp_path: Path, status: int
) -> None:
    """Of a file that is gone the provider says 403; a 404 is what one would expect."""

    def not_found(asked: Operation) -> Answer | None:
        return answers.not_found() if asked.name == "download" and status == 404 else None

    async with provider(schedule=SLOW, fault=not_found) as server:
        await _left(server, tmp_path, jobs(2))
        await server.batches.finish()
        server.batches.expire_files()
        result = await by_batch(server, tmp_path, batch_options={"rounds": 1}).run(jobs(2))
        await check_books(server, tmp_path, unknown=worst_usd(2))

    assert result.ended is Ended.COMPLETE
    assert len(list(result.images)) == 2
    assert server.bill.requests == 4


async def test_a_lost_job_is_given_up_after_a_day_even_by_runs_that_are_left_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(asked: Operation) -> Answer | None:
        return answers.reset() if asked.name == "create" and asked.nth == 0 else None

    ended: list[Ended] = []
    async with provider(fault=never) as server:
        await _left(server, tmp_path, jobs(2))
        await _left(server, tmp_path, jobs(2))
        monkeypatch.setattr(searching, "LONG_LOST_SECONDS", 0.0)
        while Ended.COMPLETE not in ended:
            pipeline = by_batch(server, tmp_path, batch_options=LEAVE)
            ended.append((await pipeline.run(jobs(2))).ended)
            assert len(ended) < 20
        await check_books(server, tmp_path, unknown=worst_usd(2))

    assert server.bill.requests == 2


async def test_a_pipeline_that_orders_nothing_collects_what_is_on_its_way(tmp_path: Path) -> None:
    async with provider(schedule=Polls(pending=1, running=0)) as server:
        await _left(server, tmp_path, jobs(3))
        await server.batches.finish()
        result = await pipeline_on(server, tmp_path).run(jobs(3))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert server.bill.requests == 3
    assert server.bill.interactive_usd == 0


class Plain:
    """A backend that only draws."""

    async def generate(self, request: ImageRequest) -> Reply:
        raise AssertionError(request)

    async def aclose(self) -> None:
        """Nothing is held open."""


async def test_a_backend_without_a_batch_service_is_refused_while_jobs_are_on_their_way(
    tmp_path: Path,
) -> None:
    async with provider(schedule=SLOW) as server:
        await _left(server, tmp_path, jobs(2))
        with pytest.raises(ConfigError, match="no batch service"):
            await TwoTierPipeline(Plain(), checkpoint=tmp_path, budget=Budget.unlimited()).run(
                jobs(2)
            )
        result = await by_batch(server, tmp_path).run(jobs(2))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE


async def test_answers_for_jobs_that_left_the_input_are_settled_and_wait_for_them(
    tmp_path: Path,
) -> None:
    async with provider(schedule=SLOW, answer=_empty_for_j2) as server:
        await _left(server, tmp_path, jobs(3))
        await server.batches.finish()
        other = await by_batch(server, tmp_path).run(jobs(1))
        bill = server.bill.usd
        staged = states(tmp_path)["staged"]
        more = {"rounds": 4}  # the last order may hold surplus slots
        whole = await by_batch(server, tmp_path, batch_options=more).run(jobs(3))
        await check_books(server, tmp_path)

    assert other.ended is whole.ended is Ended.COMPLETE
    assert other.spend.confirmed_usd == bill
    assert staged == 1  # of j1; the answer for j2 was empty
    assert len(list(whole.images)) == 3
    assert server.bill.images == 3


def _empty_for_j2(call: Any) -> Answer | None:
    return answers.no_image() if call.prompt == "dune 2" and call.nth == 0 else None


async def test_a_run_for_other_jobs_leaves_what_is_not_done_on_its_way(tmp_path: Path) -> None:
    async with provider(schedule=Polls(pending=1_000, running=0)) as server:
        await _left(server, tmp_path, jobs(2))
        empty = await by_batch(server, tmp_path).run([])
        await server.batches.finish()
        result = await by_batch(server, tmp_path).run(jobs(2))
        await check_books(server, tmp_path)

    assert empty.ended is Ended.COMPLETE
    assert result.ended is Ended.COMPLETE
    assert server.bill.requests == 2


async def test_a_prompt_changed_while_its_answer_is_on_the_way_is_a_new_attempt(
    tmp_path: Path,
) -> None:
    async with provider(schedule=SLOW) as server:
        await _left(server, tmp_path, jobs(2))
        changed = [job.model_copy(update={"prompt": f"sea {job.id}"}) for job in jobs(2)]
        result = await by_batch(server, tmp_path).run(changed)
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert sorted(image.prompt for image in result.images) == ["sea j0", "sea j1"]
    assert server.bill.requests == 4
    assert result.spend.confirmed_usd == server.bill.usd


async def test_a_search_goes_on_where_the_list_is_read(tmp_path: Path) -> None:
    """The answer to create is lost, and the run is left before the list shows the job."""
    async with provider(schedule=SLOW, lost_creates=1, list_lag=1) as server:
        await _left(server, tmp_path, jobs(2))
        result = await by_batch(server, tmp_path).run(jobs(2))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert len(server.batches.jobs) == 1


async def test_what_is_on_its_way_counts_against_the_budget_of_the_next_run(
    tmp_path: Path,
) -> None:
    """Seven calls of 0.0614 USD at most are not to be had for 0.40 USD, whoever ordered them."""
    budget = Budget(usd="0.40")
    async with provider(schedule=Polls(pending=40, running=0)) as server:
        await _left(server, tmp_path, jobs(3), budget=budget)
        second = await _left(server, tmp_path, jobs(9), budget=budget)
        on_their_way = sum(len(job.keys) for job in server.batches.jobs)
        await server.batches.finish()
        result = await by_batch(server, tmp_path).run(jobs(9))
        await check_books(server, tmp_path)

    assert on_their_way == 6
    assert second.spend.unknown_usd == worst_usd(6)
    assert result.ended is Ended.COMPLETE
    assert server.bill.requests == 9


async def test_what_is_still_on_its_way_is_not_settled_by_hand(tmp_path: Path) -> None:
    async with provider(schedule=Polls(pending=40, running=0)) as server:
        await by_batch(server, tmp_path, batch_options=LEAVE).run(jobs(1))
        async with Checkpoint.open(tmp_path) as checkpoint:
            with pytest.raises(ConfigError, match=r"still waits for its answer.*give_up"):
                checkpoint.settle(1, "0.01", "seen on the bill")


async def test_a_run_is_left_as_soon_as_all_is_ordered_however_seldom_it_looks(
    tmp_path: Path,
) -> None:
    options = {"max_wait_seconds": 0, "poll_seconds": 600}
    async with provider(schedule=Polls(pending=40, running=0)) as server:
        with anyio.fail_after(60):
            left = await by_batch(server, tmp_path, batch_options=options).run(jobs(3))

    assert left.ended is Ended.WAITING
    assert len(server.batches.jobs) == 1


async def test_a_run_is_left_in_time_also_while_the_provider_takes_no_further_job(
    tmp_path: Path,
) -> None:
    async with provider(schedule=Polls(pending=40, running=0), max_jobs=1) as server:
        await by_batch(server, tmp_path, batch_options={**LEAVE, "shard_images": 1}).run(jobs(8))
        polls = server.batches.jobs[0].polls
        await server.batches.finish()
        result = await by_batch(server, tmp_path).run(jobs(8))
        await check_books(server, tmp_path)

    assert polls < 40
    assert result.ended is Ended.COMPLETE
