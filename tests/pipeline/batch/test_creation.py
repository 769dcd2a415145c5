"""The one request that must not be sent twice: whatever becomes of it, the work is bought once."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import TYPE_CHECKING

import anyio
import pytest

from nanobatch import Budget, Ended, Gemini, JobStatus
from nanobatch.errors import BadRequestError, TransientError
from nanobatch.pipeline.batch import searching
from nanobatch.simulator import answers
from tests.pipeline.batch.orders import (
    by_batch,
    check_books,
    failures,
    jobs,
    provider,
    worst_usd,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nanobatch.backend import BatchJob, ImageRequest
    from nanobatch.simulator import Answer
    from nanobatch.simulator.batch import Operation


def _first(
    name: str, answer: Callable[[], Answer], times: int = 1
) -> Callable[[Operation], object]:
    """Let the first requests of a name fail; they are not carried out."""
    return lambda asked: answer() if asked.name == name and asked.nth < times else None


@pytest.mark.parametrize("list_lag", [0, 3])
async def test_a_job_whose_creation_got_no_answer_is_found_by_its_name(
    tmp_path: Path, list_lag: int
) -> None:
    async with provider(lost_creates=1, list_lag=list_lag) as server:
        result = await by_batch(server, tmp_path).run(jobs(3))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert len(list(result.images)) == 3
    assert len(server.batches.jobs) == 1
    assert server.bill.requests == 3


async def test_a_job_that_is_never_found_is_unknown_money_and_drawn_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "LOST_SECONDS", 0.1)
    async with provider(fault=_first("create", answers.reset)) as server:
        result = await by_batch(server, tmp_path).run(jobs(2))
        await check_books(server, tmp_path, unknown=worst_usd(2))

    assert result.ended is Ended.COMPLETE
    assert len(list(result.images)) == 2
    assert {failure.kind for failure in failures(tmp_path)} == {"batch_lost"}
    assert server.bill.requests == 2


async def test_a_run_left_at_once_does_not_give_up_a_job_that_may_yet_be_listed(
    tmp_path: Path,
) -> None:
    options = {"max_wait_seconds": 0}
    async with provider(lost_creates=1, list_lag=2) as server:
        ended = [
            (await by_batch(server, tmp_path, batch_options=options).run(jobs(2))).ended
            for _ in range(2)
        ]
        last = await by_batch(server, tmp_path).run(jobs(2))
        await check_books(server, tmp_path)

    assert ended == [Ended.WAITING, Ended.WAITING]
    assert last.ended is Ended.COMPLETE
    assert len(server.batches.jobs) == 1


class Twice(Gemini):
    """A provider that makes two jobs of one request, and whose answer is lost."""

    async def create_batch(self, *, model: str, file: str, display_name: str) -> BatchJob:
        for _ in range(2):
            await super().create_batch(model=model, file=file, display_name=display_name)
        raise TransientError("No answer came.", kind="timeout", is_unknown_money=True)


async def test_of_two_jobs_of_one_creation_the_older_counts_and_the_newer_is_cancelled(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with provider() as server:
        with caplog.at_level(logging.WARNING, "nanobatch"):
            result = await by_batch(server, tmp_path, backend=Twice).run(jobs(2))

    assert result.ended is Ended.COMPLETE
    assert [job.state for job in server.batches.jobs] == ["SUCCEEDED", "CANCELLED"]
    assert server.bill.requests == 2
    assert result.spend.confirmed_usd == server.bill.usd
    assert "made two batch jobs of one" in caplog.text


class SaysNo(Gemini):
    """A provider that does what it is asked the first time, and says that it is overloaded."""

    has_lied = False

    async def create_batch(self, *, model: str, file: str, display_name: str) -> BatchJob:
        job = await super().create_batch(model=model, file=file, display_name=display_name)
        if not self.has_lied:
            self.has_lied = True
            raise TransientError("Overloaded.", kind="overloaded", status=503)
        return job


@pytest.mark.parametrize("list_fault", [None, answers.internal])
async def test_a_job_that_exists_although_the_answer_was_503_is_not_ordered_again(
    tmp_path: Path, list_fault: Callable[[], Answer] | None
) -> None:
    fault = _first("list", list_fault) if list_fault else None
    async with provider(fault=fault) as server:
        result = await by_batch(server, tmp_path, backend=SaysNo).run(jobs(2))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert len(server.batches.jobs) == 1


@pytest.mark.parametrize("answer", [answers.internal, answers.deadline])
async def test_a_server_error_leaves_open_whether_there_is_a_job_so_it_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Answer]
) -> None:
    monkeypatch.setattr(searching, "LOST_SECONDS", 0.1)
    async with provider(fault=_first("create", answer)) as server:
        result = await by_batch(server, tmp_path).run(jobs(2))
        await check_books(server, tmp_path, unknown=worst_usd(2))

    assert result.ended is Ended.COMPLETE
    assert len(list(result.images)) == 2


async def test_an_upload_whose_answer_is_lost_is_uploaded_again(tmp_path: Path) -> None:
    async with provider(lost_uploads=1) as server:
        result = await by_batch(server, tmp_path).run(jobs(2))
        await check_books(server, tmp_path, uploads_left=1)

    assert result.ended is Ended.COMPLETE
    assert len(server.batches.jobs) == 1


async def test_a_limit_on_jobs_at_once_is_waited_for_and_nothing_is_lost(tmp_path: Path) -> None:
    async with provider(max_jobs=1) as server:
        result = await by_batch(server, tmp_path, batch_options={"shard_images": 1}).run(jobs(3))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert len(server.batches.jobs) == 3
    assert server.bill.requests == 3


@pytest.mark.parametrize(
    ("answer", "ended"),
    [
        (answers.forbidden, Ended.ACCOUNT),
        (answers.daily_quota, Ended.ACCOUNT),
        (answers.not_found, Ended.MODEL),
    ],
)
async def test_a_creation_refused_for_good_ends_the_run_and_costs_nothing(
    tmp_path: Path, answer: Callable[[], Answer], ended: Ended
) -> None:
    async with provider(fault=_first("create", answer)) as server:
        refused = await by_batch(server, tmp_path).run(jobs(2))
        assert not server.batches.uploads_left
        last = await by_batch(server, tmp_path).run(jobs(2))
        await check_books(server, tmp_path)

    assert refused.ended is ended
    assert refused.spend.worst_case_usd == 0
    assert last.ended is Ended.COMPLETE
    assert server.bill.requests == 2


async def test_cancelled_after_the_upload_no_job_is_created_any_more(tmp_path: Path) -> None:
    scope = anyio.CancelScope()

    class Cancels(Gemini):
        """Its caller loses patience while the file goes up."""

        async def upload_requests(self, path: Path, *, display_name: str) -> str:
            name = await super().upload_requests(path, display_name=display_name)
            scope.cancel()
            return name

    async with provider() as server:
        with scope:
            await by_batch(server, tmp_path, backend=Cancels).run(jobs(2))
        created = len(server.batches.jobs)
        result = await by_batch(server, tmp_path).run(jobs(2))
        await check_books(server, tmp_path)

    assert scope.cancelled_caught
    assert created == 0
    assert result.ended is Ended.COMPLETE


async def test_an_upload_refused_for_good_ends_the_run_and_costs_nothing(tmp_path: Path) -> None:
    async with provider(fault=_first("upload_start", answers.invalid_key)) as server:
        refused = await by_batch(server, tmp_path).run(jobs(2))
        last = await by_batch(server, tmp_path).run(jobs(2))
        await check_books(server, tmp_path)

    assert refused.ended is Ended.ACCOUNT
    assert last.ended is Ended.COMPLETE
    assert server.bill.requests == 2


class Refuses(Gemini):
    """A provider whose SDK cannot write down one of the requests."""

    async def batch_request(self, request: ImageRequest, *, key: str) -> bytes:
        if request.prompt == "dune 1":
            raise BadRequestError("It cannot be written.", kind="bad_request")
        return await super().batch_request(request, key=key)


@pytest.mark.parametrize("shard_images", [None, 1])
async def test_a_request_that_cannot_be_written_down_fails_its_job_and_no_other(
    tmp_path: Path, shard_images: int | None
) -> None:
    options = {"shard_images": shard_images}
    async with provider() as server:
        result = await by_batch(server, tmp_path, backend=Refuses, batch_options=options).run(
            jobs(3)
        )
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert result.jobs["j1"].status is JobStatus.FAILED
    assert len(list(result.images)) == server.bill.requests == 2


async def test_a_budget_for_less_than_a_shard_sends_what_it_covers(tmp_path: Path) -> None:
    """A call of 0.0615 USD at most costs 0.017: three fit at once, then more, as they settle."""
    usd = Decimal("0.20")
    async with provider() as server:
        result = await by_batch(server, tmp_path, budget=Budget(usd)).run(jobs(40))
        spent = server.bill.usd
        again = await by_batch(server, tmp_path, budget=Budget(usd)).run(jobs(40))
        await check_books(server, tmp_path)

    assert result.ended is again.ended is Ended.BUDGET
    assert len(server.batches.jobs) > 1
    assert server.bill.usd == spent <= usd
    assert usd - spent < worst_usd(1) + Decimal("0.000001")  # a prompt may have seven bytes
