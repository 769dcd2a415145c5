"""Whoever ends a run, and whenever: it ends soon, keeps what was paid for, and goes on later."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from nanobatch import Checkpoint, Ended, ImageAccepted, Job, JobStatus
from nanobatch.simulator import Answer, Call, answers
from tests.support import pipeline_on, simulator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nanobatch import Event
    from nanobatch.simulator import Simulator

ROOT = Path(__file__).parents[2]
JOBS = [Job(id=f"j{n}", prompt=f"dune {n}") for n in range(40)]
LONG = "NANOBATCH_LOAD_JOBS" in os.environ


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """What became of a process that interrupted itself."""

    lines: list[str]
    errors: str
    code: int
    seconds: float
    """From its last interruption to its end."""

    @property
    def accepted(self) -> set[str]:
        return {line.removeprefix("accepted ") for line in self.lines if line[:9] == "accepted "}

    @property
    def ended(self) -> str:
        return self.lines[-1].split()[1]

    @property
    def unknown_usd(self) -> float:
        return float(self.lines[-1].split()[2])


async def interrupted(
    moment: str, server: Simulator, folder: Path, *, signal_number: int = signal.SIGINT
) -> Interrupted:
    """Run until the process has ended, which it must do by itself."""
    words = [moment, str(int(signal_number)), server.base_url, str(folder)]
    arguments = [sys.executable, "-m", "tests.pipeline.interrupted", *words]
    errors = folder.with_name("errors.txt")
    text, last = "", time.monotonic()
    with errors.open("wb") as stderr:
        async with await anyio.open_process(arguments, cwd=ROOT, stderr=stderr) as process:
            assert process.stdout is not None
            try:
                with anyio.fail_after(50):
                    async for chunk in process.stdout:
                        text += chunk.decode()
                        if "interrupting" in chunk.decode():
                            last = time.monotonic()
                    code = await process.wait()
            except TimeoutError:
                process.kill()
                raise
    assert "interrupting" in text, errors.read_text()
    return Interrupted(
        lines=text.splitlines(),
        errors=errors.read_text(),
        code=code,
        seconds=time.monotonic() - last,
    )


class Slow:
    """A latency that is gone once nobody needs it any more."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, call: Call) -> float:
        return self.seconds


async def goes_on(server: Simulator, folder: Path, before: Interrupted) -> None:
    """The checkpoint is sound, nothing accepted is lost, and the next run does the rest."""
    bill = server.bill.usd
    with Checkpoint.read(folder) as checkpoint:
        spend = checkpoint.spend
        paths = {str(image.path) for image in checkpoint.images()}
        assert checkpoint.verify().is_clean
    assert spend.confirmed_usd <= bill <= spend.worst_case_usd
    assert paths >= before.accepted

    result = await pipeline_on(server, folder, quality=None, filters=[]).run(JOBS)

    assert result.ended is Ended.COMPLETE
    assert result.delivered == len(JOBS)
    assert {str(image.path) for image in result.images} >= paths
    assert result.spend.confirmed_usd <= server.bill.usd <= result.spend.worst_case_usd


@pytest.mark.parametrize("moment", ["starting", "reading", "judging"])
async def test_ctrl_c_while_nothing_can_fail_ends_the_run_at_once_and_loses_nothing(
    tmp_path: Path, moment: str
) -> None:
    folder = tmp_path / "run"
    async with simulator(pixels=0.05) as server:
        end = await interrupted(moment, server, folder)

        assert (end.code, end.ended, end.unknown_usd) == (0, "cancelled", 0), end.errors
        assert end.seconds < 5
        assert server.bill.requests < len(JOBS)
        assert (server.bill.requests == 0) is (moment == "starting")
        await goes_on(server, folder, end)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
async def test_stalled_calls_are_awaited_to_their_deadline_and_are_then_unknown_money(
    tmp_path: Path, signal_number: int
) -> None:
    folder = tmp_path / "run"
    stalls = {"on": True}

    def stall(call: Call) -> Answer | None:
        return answers.stall() if stalls["on"] else None

    async with simulator(answer=stall, pixels=0.05) as server:
        end = await interrupted("stalled", server, folder, signal_number=signal_number)
        stalls["on"] = False

        assert (end.code, end.ended) == (0, "cancelled"), end.errors
        assert end.unknown_usd > 0
        assert end.seconds < 1 + 2  # the deadline of a call is 1 s
        assert server.bill.requests == 4
        await goes_on(server, folder, end)


async def test_a_second_ctrl_c_does_not_wait_for_stalled_calls(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def stall(call: Call) -> Answer | None:
        return answers.stall() if call.number < 4 else None

    async with simulator(answer=stall, pixels=0.05) as server:
        end = await interrupted("stalled, twice", server, folder)

        assert end.lines.count("interrupting") == 2
        assert (end.code, end.ended) == (0, "cancelled"), end.errors
        assert end.unknown_usd > 0
        assert end.seconds < 2
        await goes_on(server, folder, end)


async def test_two_ctrl_c_do_not_wait_for_stalled_calls_of_a_run_that_ends_by_itself(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"

    def answer(call: Call) -> Answer | None:
        if call.number >= 4:
            return None
        return answers.no_credit().after(0.2) if call.prompt == "dune 0" else answers.stall()

    async with simulator(answer=answer, pixels=0.05) as server:
        end = await interrupted("ending, twice", server, folder)

        assert end.lines.count("interrupting") == 2
        assert (end.code, end.ended) == (0, "account"), end.errors
        assert end.unknown_usd > 0
        assert end.seconds < 2
        await goes_on(server, folder, end)


async def test_a_filter_that_hangs_in_its_thread_cannot_keep_the_process_alive(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    async with simulator(pixels=0.05) as server:
        end = await interrupted("hanging filter", server, folder)

        assert (end.code, end.ended) == (0, "cancelled"), end.errors
        assert end.seconds < 3
        await goes_on(server, folder, end)
        # The image it hung on waited in staging and was not bought again.
        assert [line.prompt for line in server.bill.lines].count("dune 5") == 1


async def test_a_third_ctrl_c_ends_a_process_that_hangs_and_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    async with simulator(pixels=0.05) as server:
        end = await interrupted("hanging memory", server, folder)

        assert end.lines.count("interrupting") == 3
        assert end.code == -signal.SIGINT
        assert "KeyboardInterrupt" in end.errors
        assert end.seconds < 3
        await goes_on(server, folder, end)
        assert server.bill.images == len(JOBS)


async def test_ctrl_c_while_calls_wait_for_the_budget_ends_their_wait(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    slow = Slow(0.6)
    async with simulator(pixels=0.05, latency_seconds=slow) as server:
        end = await interrupted("budget", server, folder)
        slow.seconds = 0

        assert (end.code, end.ended, end.unknown_usd) == (0, "cancelled", 0), end.errors
        assert server.bill.requests == 2
        await goes_on(server, folder, end)


async def test_ctrl_c_ends_the_longest_pause_a_provider_asks_for(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def limited(call: Call) -> Answer | None:
        return answers.rate_limited(500) if call.number < 4 else None

    async with simulator(answer=limited, pixels=0.05) as server:
        end = await interrupted("pause", server, folder)

        assert (end.code, end.ended, end.unknown_usd) == (0, "cancelled", 0), end.errors
        assert end.seconds < 5
        await goes_on(server, folder, end)


async def test_ctrl_c_under_asyncio_run_saves_and_is_raised_as_python_does_it(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    async with simulator(pixels=0.05, latency_seconds=0.05) as server:
        end = await interrupted("asyncio.run", server, folder)

        assert end.code == -signal.SIGINT
        assert "KeyboardInterrupt" in end.errors
        assert len(end.accepted) >= 10 - 4
        with Checkpoint.read(folder) as checkpoint:
            assert checkpoint.spend.confirmed_usd == server.bill.usd
        await goes_on(server, folder, end)


class SiblingError(Exception):
    """Raised by a task beside the run."""


async def _beside_a_task_that_raises(
    run: Callable[[], Awaitable[object]], accepted: anyio.Event
) -> None:
    async def raise_when_accepted() -> None:
        await accepted.wait()
        raise SiblingError

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(raise_when_accepted)
        await run()


async def _in_a_scope(run: Callable[[], Awaitable[object]], accepted: anyio.Event) -> None:
    async def cancel_when_accepted(scope: anyio.CancelScope) -> None:
        await accepted.wait()
        scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel_when_accepted, tasks.cancel_scope)
        await run()
        pytest.fail("cancellation is raised again")


async def _in_an_asyncio_task(run: Callable[[], Awaitable[object]], accepted: anyio.Event) -> None:
    task = asyncio.ensure_future(run())
    await accepted.wait()
    task.cancel()
    await task


async def _in_asyncio_timeout(run: Callable[[], Awaitable[object]], accepted: anyio.Event) -> None:
    async with asyncio.timeout(0.7):
        await run()


async def _in_asyncio_wait_for(run: Callable[[], Awaitable[object]], accepted: anyio.Event) -> None:
    await asyncio.wait_for(run(), 0.7)


@pytest.mark.parametrize(
    ("surround", "raised"),
    [
        (_beside_a_task_that_raises, ExceptionGroup),
        (_in_a_scope, None),
        (_in_an_asyncio_task, asyncio.CancelledError),
        (_in_asyncio_timeout, TimeoutError),
        (_in_asyncio_wait_for, TimeoutError),
    ],
)
async def test_whoever_cancels_a_run_gets_his_cancellation_back_and_loses_nothing(
    tmp_path: Path,
    surround: Callable[[Callable[[], Awaitable[object]], anyio.Event], Awaitable[None]],
    raised: type[BaseException] | None,
) -> None:
    accepted = anyio.Event()

    def tell(event: Event) -> None:
        if isinstance(event, ImageAccepted):
            accepted.set()

    slow = Slow(0.3)
    async with simulator(latency_seconds=slow, pixels=0.05) as server:
        pipeline = pipeline_on(server, tmp_path, quality=None, filters=[], concurrency=4)
        with pytest.raises(raised) if raised else nullcontext() as caught:
            await surround(lambda: pipeline.run(JOBS, progress=tell), accepted)
        sent = server.bill.requests
        with Checkpoint.read(tmp_path) as checkpoint:
            spend = checkpoint.spend
            kept = {image.path for image in checkpoint.images()}
            assert checkpoint.verify().is_clean
        for _ in range(20):  # no task of the run is left that could send another
            await anyio.lowlevel.checkpoint()

        slow.seconds = 0
        assert server.bill.requests == sent < len(JOBS)
        assert spend.confirmed_usd == server.bill.usd
        assert spend.unknown_usd == 0
        if caught is not None and isinstance(caught.value, ExceptionGroup):
            assert [type(one) for one in caught.value.exceptions] == [SiblingError]

        result = await pipeline_on(server, tmp_path, quality=None, filters=[]).run(JOBS)
        assert result.ended is Ended.COMPLETE
        assert {image.path for image in result.images} >= kept
        assert server.bill.images == len(JOBS)


async def test_an_error_of_a_listener_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    heard: list[Event] = []

    def tell(event: Event) -> None:
        heard.append(event)
        if isinstance(event, ImageAccepted):
            raise KeyError("mine")

    async with simulator(pixels=0.05) as server:
        pipeline = pipeline_on(server, tmp_path, quality=None, filters=[], concurrency=4)
        with pytest.raises(KeyError, match="mine"):
            await pipeline.run(JOBS, progress=tell)
        with Checkpoint.read(tmp_path) as checkpoint:
            assert checkpoint.spend.confirmed_usd == server.bill.usd
            assert len(list(checkpoint.images())) == server.bill.images < len(JOBS)

    assert [type(event) for event in heard].count(ImageAccepted) == 1


@pytest.mark.skipif(not LONG, reason="takes 30 seconds: set NANOBATCH_LOAD_JOBS")
async def test_calls_in_flight_are_awaited_for_thirty_seconds_and_no_longer(
    tmp_path: Path,
) -> None:
    async with simulator(answer=lambda _: answers.stall()) as server:
        pipeline = pipeline_on(server, tmp_path)
        began = time.monotonic()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pipeline.run, JOBS)
                with anyio.fail_after(20):
                    while server.bill.in_flight < 8:
                        await anyio.lowlevel.checkpoint()
                began = time.monotonic()
                scope.cancel()
        took = time.monotonic() - began

    assert 29.5 < took < 33
    with Checkpoint.read(tmp_path) as checkpoint:
        assert len([line for line in checkpoint.ledger() if line.unknown_usd]) == 8


def test_a_demo_whose_reader_has_left_still_finishes_its_batch(tmp_path: Path) -> None:
    lines = [f'{{"id": "lake-{n}", "prompt": "a calm lake {n}"}}\n' for n in range(12)]
    (tmp_path / "jobs.jsonl").write_text("".join(lines))
    words = ["demo", "--quick", "--jobs", str(tmp_path / "jobs.jsonl"), "--out"]
    arguments = [sys.executable, "-m", "nanobatch", *words, str(tmp_path / "out")]

    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read().decode()
        process.wait(60)

    with Checkpoint.read(tmp_path / "out") as checkpoint:
        ends = [job.status for job in checkpoint.jobs()]
        assert len(ends) == 12
        assert set(ends) <= {JobStatus.DONE, JobStatus.STOPPED}  # whatever its luck
        assert ends.count(JobStatus.DONE) >= 10
        assert checkpoint.spend.unknown_usd == 0
        assert checkpoint.verify().is_clean
    assert "Traceback" not in errors
