"""What may happen to the process and to the filters in it: nothing accepted is lost."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from nanobatch import (
    Budget,
    Candidate,
    Checkpoint,
    Ended,
    FilterError,
    Gemini,
    ImageAccepted,
    Job,
    JobStatus,
    Route,
    TwoTierPipeline,
)
from tests.checkpoint.children import end_of, start
from tests.support import pipeline_on, simulator, states

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nanobatch import Event
    from nanobatch.simulator import Simulator


def _jobs(count: int) -> list[Job]:
    return [Job(id=f"j{n}", prompt=f"dune {n}", route=Route.LITE) for n in range(count)]


def _run_in_child(
    base_url: str, folder: Path, hear: Callable[[Event], None], **options: object
) -> int:
    """Start a run of twelve jobs in a forked process; return its pid."""

    def work() -> None:
        faulthandler.disable()  # a crash is what some of these tests want
        pipeline = TwoTierPipeline(
            Gemini(api_key="k", base_url=base_url),
            checkpoint=folder,
            budget=Budget.unlimited(),
            concurrency=2,
            **options,  # type: ignore[arg-type]  # as the test wants it
        )
        pipeline.run_sync(_jobs(12), progress=hear)

    return start(work)


def _after(images: int, act: Callable[[], None]) -> Callable[[Event], None]:
    """Act when so many images are accepted."""
    accepted = 0

    def hear(event: Event) -> None:
        nonlocal accepted
        accepted += isinstance(event, ImageAccepted)
        if isinstance(event, ImageAccepted) and accepted == images:
            act()

    return hear


async def _finish(server: Simulator, folder: Path) -> None:
    """Run again and check that the whole story adds up."""
    with Checkpoint.read(folder) as checkpoint:
        before = {image.path.name: image.path.read_bytes() for image in checkpoint.images()}
    result = await pipeline_on(server, folder, quality=None).run(_jobs(12))

    assert 3 <= len(before) < 12
    assert result.ended is Ended.COMPLETE
    assert result.delivered == 12
    assert {name: (folder / "images" / name).read_bytes() for name in before} == before
    assert result.spend.confirmed_usd <= server.bill.usd <= result.spend.worst_case_usd
    assert server.bill.images <= 12 + 2  # two calls may have been in flight
    with Checkpoint.read(folder) as checkpoint:
        assert checkpoint.verify().is_clean


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGSEGV])
@pytest.mark.fault("P6", "P11", "P17")
async def test_a_process_that_dies_of_any_signal_goes_on_in_the_next_run(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with simulator(latency_seconds=0.03) as server:
        pid = _run_in_child(
            server.base_url, tmp_path, _after(3, lambda: signal.raise_signal(number))
        )
        code = await anyio.to_thread.run_sync(end_of, pid)

        await _finish(server, tmp_path)

    assert code == -number


@pytest.mark.fault("P11")
async def test_a_filter_that_crashes_the_process_loses_no_image_that_was_paid_for(
    tmp_path: Path,
) -> None:
    def crash(candidate: Candidate) -> bool:
        if candidate.job.id == "j5":
            signal.raise_signal(signal.SIGSEGV)  # before this thread goes on
        return True

    async with simulator() as server:
        pid = _run_in_child(server.base_url, tmp_path, lambda _: None, filters=[crash])
        code = await anyio.to_thread.run_sync(end_of, pid)
        waiting = states(tmp_path)["staged"]

        await _finish(server, tmp_path)

    assert code == -signal.SIGSEGV
    assert waiting >= 1


@pytest.mark.fault("C1")
async def test_a_process_that_was_suspended_goes_on_and_every_answer_counts(
    tmp_path: Path,
) -> None:
    async with simulator(latency_seconds=0.05) as server:
        pid = _run_in_child(
            server.base_url, tmp_path, _after(3, lambda: signal.raise_signal(signal.SIGSTOP))
        )
        _, status = await anyio.to_thread.run_sync(os.waitpid, pid, os.WUNTRACED)
        was_stopped = os.WIFSTOPPED(status)
        with anyio.fail_after(10):
            while server.bill.in_flight:  # what was asked is answered while nobody listens
                await anyio.lowlevel.checkpoint()
        os.kill(pid, signal.SIGCONT)
        code = await anyio.to_thread.run_sync(end_of, pid)

    assert was_stopped
    assert code == 0
    with Checkpoint.read(tmp_path) as checkpoint:
        assert len(list(checkpoint.images())) == 12
        assert checkpoint.spend.confirmed_usd == server.bill.usd
        assert checkpoint.spend.unknown_usd == 0


_NO_CLOSE = """
import asyncio, sys
from nanobatch import Budget, Gemini, ImageAccepted, Job, TwoTierPipeline

pipeline = TwoTierPipeline(
    Gemini(api_key="k", base_url=sys.argv[1]), checkpoint=sys.argv[2], lite="lite",
    budget=Budget.unlimited(), concurrency=2,
)
jobs = [Job(id=f"j{n}", prompt=f"dune {n}", route="lite") for n in range(12)]
stream = pipeline.stream(jobs)

async def main():
    events = await stream.__aenter__()  # and nobody ever leaves it
    accepted = 0
    async for event in events:
        accepted += isinstance(event, ImageAccepted)
        if accepted == 3:
            sys.exit(7)

asyncio.run(main())
"""


@pytest.mark.fault("P18")
async def test_a_program_that_ends_without_closing_goes_on_in_the_next_run(tmp_path: Path) -> None:
    async with simulator(latency_seconds=0.03) as server:
        arguments = [sys.executable, "-c", _NO_CLOSE, server.base_url, str(tmp_path)]
        async with await anyio.open_process(arguments, stderr=subprocess.STDOUT) as process:
            code = await process.wait()

        await _finish(server, tmp_path)

    assert code == 7


@pytest.mark.fault("P6")
async def test_a_run_does_not_mind_a_closed_standard_output(tmp_path: Path) -> None:
    def close_output() -> None:
        for number in (0, 1, 2):
            with suppress(OSError):
                os.close(number)

    async with simulator() as server:
        pid = _run_in_child(server.base_url, tmp_path, _after(1, close_output))
        code = await anyio.to_thread.run_sync(end_of, pid)

    assert code == 0
    with Checkpoint.read(tmp_path) as checkpoint:
        assert len(list(checkpoint.images())) == 12


@pytest.mark.fault("P8")
async def test_a_filter_that_hangs_in_a_thread_is_given_up_and_the_run_goes_on(
    tmp_path: Path,
) -> None:
    let_go, hanging = threading.Event(), threading.Event()

    def hang(candidate: Candidate) -> bool:
        if candidate.job.id == "j1":
            hanging.set()
            let_go.wait()
        return True

    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, filters=[hang], filter_timeout_seconds=0.5)
        try:
            first = await pipeline.run(_jobs(4))
        finally:
            let_go.set()
        second = await pipeline_on(server, tmp_path, filters=[hang]).run(_jobs(4))

    assert hanging.is_set()
    assert {name: job.status for name, job in first.jobs.items()} == {
        "j0": JobStatus.DONE,
        "j1": JobStatus.PENDING,
        "j2": JobStatus.DONE,
        "j3": JobStatus.DONE,
    }
    assert "did not answer within 0.5 s" in first.jobs["j1"].reason
    assert second.delivered == 4
    assert server.bill.requests == 4  # the image waited, nothing was bought again
    assert second.spend.confirmed_usd == server.bill.usd


@pytest.mark.fault("P9")
async def test_a_filter_that_paints_on_the_picture_changes_no_file(tmp_path: Path) -> None:
    seen: list[tuple[str, bytes]] = []

    def paint(candidate: Candidate) -> bool:
        seen.append((candidate.sha256, candidate.image_bytes))
        candidate.image.paste("black", (0, 0, *candidate.image.size))
        return True

    async with simulator() as server:
        result = await pipeline_on(server, tmp_path, filters=[paint]).run(_jobs(1))

    (image,) = result.images
    assert seen == [(image.sha256, image.path.read_bytes())]
    with Checkpoint.read(tmp_path) as checkpoint:
        assert checkpoint.verify().is_clean


def returns_nothing(candidate: Candidate) -> None:
    return None


def returns_a_word(candidate: Candidate) -> str:
    return "yes"


def returns_no_number(candidate: Candidate) -> float:
    return float("nan")


def returns_something_to_await(candidate: Candidate) -> object:
    async def verdict() -> str:
        return "yes"

    return verdict()


@pytest.mark.parametrize(
    "no_verdict",
    [returns_nothing, returns_a_word, returns_no_number, returns_something_to_await],
)
@pytest.mark.fault("P12", "P7")
async def test_a_filter_without_a_verdict_accepts_nothing_and_keeps_the_image(
    tmp_path: Path, no_verdict: Callable[[Candidate], object]
) -> None:
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, filters=[no_verdict])
        first = await pipeline.run(_jobs(1))
        waiting = states(tmp_path)
        second = await pipeline_on(server, tmp_path).run(_jobs(1))

    assert first.jobs["j0"].status is JobStatus.PENDING
    assert no_verdict.__name__ in first.jobs["j0"].reason
    assert [failure.kind for failure in first.failures] == ["filter_error"]
    assert waiting == {"staged": 1}
    assert second.delivered == 1
    assert server.bill.requests == 1


@pytest.mark.fault("P7")
async def test_filters_that_always_fail_end_the_run_with_a_sentence(tmp_path: Path) -> None:
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, filters=[returns_nothing], concurrency=1)
        with pytest.raises(FilterError, match="10 in a row"):
            await pipeline.run(_jobs(30))

    assert server.bill.requests <= 12
    assert states(tmp_path)["staged"] == server.bill.images
