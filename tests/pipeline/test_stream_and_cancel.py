"""Streams, cancellation, Ctrl-C and both event loops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import pytest

from nanobatch import (
    Budget,
    CallSettled,
    Checkpoint,
    ConfigError,
    Ended,
    Gemini,
    ImageAccepted,
    Job,
    JobEnded,
    JobStarted,
    RunEnded,
    RunEnding,
    TwoTierPipeline,
)
from nanobatch.simulator import Answer, Call, answers
from nanobatch.testing import ScriptedBackend
from tests.support import NO_WAIT, pipeline_on, simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def _jobs(count: int) -> list[Job]:
    return [Job(id=f"j{n}", prompt=f"dune {n}") for n in range(count)]


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_the_same_batch_runs_on_asyncio_and_on_trio(tmp_path: Path) -> None:
    async with simulator(accept_rate=0.7) as server:
        result = await pipeline_on(server, tmp_path).run(_jobs(10))

    assert result.ended is Ended.COMPLETE
    assert result.spend.confirmed_usd == server.bill.usd


async def test_a_stream_tells_one_event_per_thing_and_ends_with_the_result(tmp_path: Path) -> None:
    async with simulator() as server, pipeline_on(server, tmp_path).stream(_jobs(3)) as stream:
        events = [event async for event in stream]

    kinds = [type(event) for event in events]
    assert kinds.count(JobStarted) == 3
    assert kinds.count(CallSettled) == 3
    assert kinds.count(ImageAccepted) == 3
    assert kinds.count(JobEnded) == 3
    assert isinstance(events[-1], RunEnded)
    assert events[-1].result.delivered == 3


async def test_a_run_that_ends_early_says_so_before_it_has_saved_everything(tmp_path: Path) -> None:
    def no_credit(call: Call) -> Answer | None:
        return answers.no_credit() if call.number else None

    async with (
        simulator(answer=no_credit) as server,
        pipeline_on(server, tmp_path, concurrency=1).stream(_jobs(9)) as stream,
    ):
        events = [event async for event in stream]

    endings = [event for event in events if isinstance(event, RunEnding)]
    assert [event.ended for event in endings] == [Ended.ACCOUNT]
    assert "Top up the account" in endings[0].reason
    assert isinstance(events[-1], RunEnded)


async def test_progress_hears_the_same_events(tmp_path: Path) -> None:
    heard: list[object] = []
    async with simulator() as server:
        await pipeline_on(server, tmp_path).run(_jobs(3), progress=heard.append)

    assert sum(isinstance(event, ImageAccepted) for event in heard) == 3


async def test_an_image_is_on_the_disk_before_anyone_hears_of_it(tmp_path: Path) -> None:
    checked = 0
    async with simulator() as server, pipeline_on(server, tmp_path).stream(_jobs(5)) as stream:
        async for event in stream:
            if isinstance(event, ImageAccepted):
                with Checkpoint.read(tmp_path) as checkpoint:
                    assert event.image in list(checkpoint.images())
                assert event.image.path.is_file()
                checked += 1

    assert checked == 5


async def test_an_error_in_the_block_of_a_stream_comes_out_bare(tmp_path: Path) -> None:
    async with simulator() as server:
        with pytest.raises(KeyError, match="mine"):  # noqa: PT012 - the block is what is tested
            async with pipeline_on(server, tmp_path).stream(_jobs(5)) as stream:
                await anext(stream)
                raise KeyError("mine")


async def test_cancelling_waits_for_calls_in_flight_and_saves_them(tmp_path: Path) -> None:
    async with simulator(latency_seconds=0.3) as server:
        pipeline = pipeline_on(server, tmp_path, concurrency=4)
        with anyio.CancelScope() as scope:

            def cancel(event: object) -> None:
                if isinstance(event, ImageAccepted):
                    scope.cancel()

            await pipeline.run(_jobs(50), progress=cancel)
            pytest.fail("cancellation is raised again")
        sent = server.bill.requests
        with Checkpoint.read(tmp_path) as checkpoint:
            spend = checkpoint.spend

    assert scope.cancelled_caught
    assert 4 <= sent < 50  # the first four, and those that started before one was accepted
    assert spend.confirmed_usd == server.bill.usd
    assert spend.unknown_usd == 0


async def test_an_open_backend_and_an_open_checkpoint_stay_open(tmp_path: Path) -> None:
    async with (
        simulator() as server,
        Gemini(api_key="k", base_url=server.base_url) as backend,
        Checkpoint.open(tmp_path) as checkpoint,
    ):
        pipeline = TwoTierPipeline(
            backend, checkpoint=checkpoint, budget=Budget.unlimited(), retry=NO_WAIT
        )
        first = await pipeline.run(_jobs(2))
        second = await pipeline.run(_jobs(4))

        assert backend.is_open
        assert len(list(checkpoint.images())) == 4
        assert checkpoint.cost_model().usd_per_accepted == second.cost.usd_per_accepted

    assert (first.delivered, second.delivered) == (2, 4)


def test_run_sync_inside_an_event_loop_says_what_to_use(tmp_path: Path) -> None:
    async def inside() -> None:
        pipeline = TwoTierPipeline(Gemini(api_key="k"), checkpoint=tmp_path, budget=Budget(usd="1"))
        pipeline.run_sync([])

    with pytest.raises(ConfigError, match=r"await pipeline\.run"):
        anyio.run(inside)


_SCRIPT = """
import sys
from nanobatch import Budget, Gemini, ImageAccepted, Job, TwoTierPipeline

pipeline = TwoTierPipeline(
    Gemini(api_key="k", base_url=sys.argv[1]), checkpoint=sys.argv[2],
    budget=Budget.unlimited(), concurrency=4,
)

def tell(event):
    if isinstance(event, ImageAccepted):
        print("accepted", event.image.path, flush=True)

result = pipeline.run_sync([Job(id=f"j{n}", prompt=f"dune {n}") for n in range(40)], progress=tell)
print("ended", result.ended, result.spend.unknown_usd, flush=True)
"""


def _accepted_paths(text: str) -> list[str]:
    """Return the paths of the whole lines of a text; a killed process may leave half a line."""
    lines = text.split("\n")[:-1]
    return [line.removeprefix("accepted ") for line in lines if line.startswith("accepted ")]


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_ends_a_sync_run_in_order_and_it_goes_on_later(
    tmp_path: Path, signal_number: int
) -> None:
    async with simulator(latency_seconds=0.05) as server:
        arguments = [sys.executable, "-c", _SCRIPT, server.base_url, str(tmp_path)]
        async with await anyio.open_process(arguments, stderr=subprocess.STDOUT) as process:
            assert process.stdout is not None
            text = ""
            async for chunk in process.stdout:
                text += chunk.decode()
                if len(_accepted_paths(text)) >= 3 and "ended" not in text:
                    os.kill(process.pid, signal_number)
                    break
            async for chunk in process.stdout:
                text += chunk.decode()
            code = await process.wait()
        interrupted_bill = server.bill.usd
        accepted = _accepted_paths(text)

        result = await pipeline_on(server, tmp_path, quality=None).run(_jobs(40))

    assert code == 0, text
    assert "ended cancelled 0" in text
    assert 3 <= len(accepted) < 40
    assert {str(image.path) for image in result.images} >= set(accepted)
    assert result.ended is Ended.COMPLETE
    assert result.spend.confirmed_usd == server.bill.usd > interrupted_bill
    assert server.bill.images == 40


async def test_after_a_kill_nothing_accepted_is_lost_and_the_rest_is_visibly_unknown(
    tmp_path: Path,
) -> None:
    async with simulator(latency_seconds=0.1) as server:
        arguments = [sys.executable, "-c", _SCRIPT, server.base_url, str(tmp_path)]
        async with await anyio.open_process(arguments, stderr=subprocess.STDOUT) as process:
            assert process.stdout is not None
            text = ""
            async for chunk in process.stdout:
                text += chunk.decode()
                if len(_accepted_paths(text)) >= 5:
                    process.kill()
                    break
            await process.wait()
        accepted = set(_accepted_paths(text))

        result = await pipeline_on(server, tmp_path, quality=None).run(_jobs(40))

    assert result.delivered == 40
    assert {str(image.path) for image in result.images} >= accepted
    assert result.spend.confirmed_usd <= server.bill.usd <= result.spend.worst_case_usd
    with Checkpoint.read(tmp_path) as checkpoint:
        assert checkpoint.verify().is_clean


async def test_a_stalled_call_is_unknown_money_when_the_second_signal_does_not_wait(
    tmp_path: Path,
) -> None:
    def stall(call: Call) -> Answer | None:
        return answers.stall() if call.number >= 2 else None

    async with simulator(answer=stall) as server:
        arguments = [sys.executable, "-c", _SCRIPT, server.base_url, str(tmp_path)]
        async with await anyio.open_process(arguments, stderr=subprocess.STDOUT) as process:
            assert process.stdout is not None
            text = ""
            async for chunk in process.stdout:
                text += chunk.decode()
                if len(_accepted_paths(text)) >= 2:
                    process.send_signal(signal.SIGINT)
                    process.send_signal(signal.SIGTERM)  # two of one kind could arrive as one
                    break
            async for chunk in process.stdout:
                text += chunk.decode()
            await process.wait()

    ended = text.splitlines()[-1].split()
    assert ended[:2] == ["ended", "cancelled"]
    assert float(ended[2]) > 0


async def _standstill(count: Callable[[], int]) -> int:
    """Wait until a count has stopped growing, and return it."""
    last = -1
    while count() != last:
        last = count()
        await anyio.sleep(1)
    return last


def _scripted(folder: Path, backend: ScriptedBackend) -> TwoTierPipeline:
    return TwoTierPipeline(
        backend, filters=[], checkpoint=folder, budget=Budget.unlimited(), concurrency=8
    )


async def test_a_run_begins_nothing_new_while_nobody_reads_its_events_and_goes_on_later(
    tmp_path: Path,
) -> None:
    # Four events an image, so a thousand unread are some 250 images; 8 calls are in flight and
    # 16 workers may be on their way.
    backend = ScriptedBackend()
    async with _scripted(tmp_path, backend).stream(_jobs(500)) as events:
        first = await anext(events)
        begun = await _standstill(lambda: len(backend.requests))
        rest = [event async for event in events]

    assert isinstance(first, JobStarted)
    assert 200 < begun < 300
    assert len(backend.requests) == 500
    assert isinstance(rest[-1], RunEnded)
    assert rest[-1].result.delivered == 500
    assert sum(isinstance(event, ImageAccepted) for event in rest) == 500


async def test_an_input_of_finished_jobs_is_not_read_ahead_of_its_events(tmp_path: Path) -> None:
    backend, jobs, read = ScriptedBackend(), _jobs(900), 0
    await _scripted(tmp_path, backend).run(jobs)

    def counted() -> Iterator[Job]:
        nonlocal read
        for job in jobs:
            read += 1
            yield job

    async with _scripted(tmp_path, backend).stream(counted()) as events:
        await anext(events)
        read_unheard = await _standstill(lambda: read)
        rest = [event async for event in events]

    assert 500 <= read_unheard < 600  # two events a job
    assert read == 900
    assert sum(isinstance(event, JobEnded) for event in rest) == 900


@pytest.mark.parametrize("how", ["leaves", "raises", "is cancelled"])
async def test_whoever_stops_reading_can_leave(how: str, tmp_path: Path) -> None:
    backend, begun = ScriptedBackend(), 0
    with anyio.fail_after(60), suppress(KeyError), anyio.CancelScope() as scope:
        async with _scripted(tmp_path, backend).stream(_jobs(500)) as events:
            await anext(events)
            begun = await _standstill(lambda: len(backend.requests))
            if how == "raises":
                raise KeyError("mine")
            if how == "is cancelled":
                scope.cancel()
                await anyio.sleep_forever()

    with Checkpoint.read(tmp_path) as checkpoint:
        assert len(list(checkpoint.images())) == len(backend.requests) == begun
        assert checkpoint.spend.unknown_usd == 0
        assert checkpoint.verify().is_clean
