"""What may stand in a results file, or not, and how it may fail to come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nanobatch import Ended, JobStatus
from nanobatch.simulator import answers
from nanobatch.simulator.batch import Lost
from tests.pipeline.batch.orders import (
    Lines,
    by_batch,
    check_books,
    failures,
    jobs,
    ledger,
    provider,
    worst_usd,
)

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

FIRST_CALL = Lines(["1"])


async def test_a_line_that_is_missing_is_unknown_money_and_its_slot_is_drawn_anew(
    tmp_path: Path,
) -> None:
    async with provider(missing=FIRST_CALL) as server:
        result = await by_batch(server, tmp_path).run(jobs(3))
        await check_books(server, tmp_path, unknown=worst_usd(1))

    assert len(list(result.images)) == 3
    assert server.bill.requests == 4
    assert [failure.kind for failure in failures(tmp_path)] == ["batch_succeeded"]


async def test_a_missing_line_is_free_if_the_jobs_own_count_says_so(tmp_path: Path) -> None:
    async with provider(missing=FIRST_CALL, item_errors=FIRST_CALL) as server:
        result = await by_batch(server, tmp_path).run(jobs(3))
        await check_books(server, tmp_path)

    assert len(list(result.images)) == 3


async def test_of_lines_that_come_twice_the_first_counts_and_the_second_is_kept(
    tmp_path: Path,
) -> None:
    async with provider(duplicates=1.0) as server:
        result = await by_batch(server, tmp_path).run(jobs(3))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert server.bill.requests == len(list(result.images)) == 3
    assert len(list((tmp_path / "quarantine").iterdir())) == 3


async def test_lines_of_nobody_are_kept_and_not_judged(tmp_path: Path) -> None:
    async with provider(strangers=2) as server:
        result = await by_batch(server, tmp_path).run(jobs(3))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    kept = sorted((tmp_path / "quarantine").iterdir())
    assert len(kept) == 2
    assert all(b'"stranger-' in file.read_bytes() for file in kept)


async def test_a_bad_request_in_a_line_fails_its_job(tmp_path: Path) -> None:
    async with provider(item_errors=FIRST_CALL) as server:
        result = await by_batch(server, tmp_path).run(jobs(3))
        await check_books(server, tmp_path)

    statuses = sorted(str(job.status) for job in result.jobs.values())
    assert statuses == ["done", "done", "failed"]
    assert len(server.batches.jobs) == 1


@pytest.mark.parametrize("code", [8, 13, 14])
async def test_a_passing_fault_of_a_line_is_ordered_again(tmp_path: Path, code: int) -> None:
    async with provider(item_errors=FIRST_CALL, item_error=(code, "Not now.")) as server:
        result = await by_batch(server, tmp_path).run(jobs(3))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert len(list(result.images)) == 3
    assert sum(len(job.keys) for job in server.batches.jobs) == 4
    assert server.bill.interactive_usd == 0


@pytest.mark.parametrize("code", [7, 16])
async def test_a_fault_of_the_account_ends_the_run_once_all_that_is_paid_is_brought_in(
    tmp_path: Path, code: int
) -> None:
    async with provider(item_errors=FIRST_CALL, item_error=(code, "Who are you?")) as server:
        first = await by_batch(server, tmp_path).run(jobs(6))
        bill = server.bill.usd
        settled = [line for line in ledger(tmp_path) if line.usd]
        last = await by_batch(server, tmp_path).run(jobs(6))
        await check_books(server, tmp_path)

    assert first.ended is Ended.ACCOUNT
    assert first.spend.confirmed_usd == bill
    assert first.spend.unknown_usd == 0
    assert len(settled) == 5
    assert last.ended is Ended.COMPLETE
    assert {job.status for job in last.jobs.values()} == {JobStatus.DONE}
    assert server.bill.images == 6  # what was brought in is judged, not bought again


@pytest.mark.parametrize(
    "fault",
    [
        {"busy_downloads": 2, "cut_downloads": 2},
        {"cut_downloads": 2, "chunked_downloads": True},
        {"fault": lambda asked: answers.internal() if asked.name == "get" and asked.nth < 2
         else None},
        {"fault": lambda asked: Lost() if asked.name == "get" and asked.nth < 2 else None},
        {"fault": lambda asked: Lost() if asked.name == "delete_file" and asked.nth < 1 else None},
        {"fault": lambda asked: answers.rate_limited(0.01)
         if asked.name in {"upload_start", "upload"} and asked.nth < 1 else None},
    ],
)  # fmt: skip
async def test_faults_of_free_requests_are_waited_out(
    tmp_path: Path, fault: dict[str, Any]
) -> None:
    async with provider(**fault) as server:
        result = await by_batch(server, tmp_path).run(jobs(3))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert len(list(result.images)) == server.bill.requests == 3
    assert not server.batches.results_left


async def test_a_line_that_cannot_be_read_is_kept_and_its_money_unknown(tmp_path: Path) -> None:
    async with provider(
        answer=lambda call: (
            answers.not_json() if call.nth == 0 and call.prompt == "dune 0" else None
        )
    ) as server:
        result = await by_batch(server, tmp_path).run(jobs(3))
        await check_books(server, tmp_path, unknown=worst_usd(1))

    assert result.ended is Ended.COMPLETE
    assert len(list(result.images)) == 3
    assert len(list((tmp_path / "quarantine").iterdir())) == 1
