"""How long is waited before the next request, on a clock that the test moves."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest
import trio
from trio.testing import MockClock

from nanobatch import FailureRecorded, Job, JobStatus, Retry, Route
from nanobatch.simulator import answers
from tests.support import pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch import Event, RunResult
    from nanobatch.simulator import Answer, Simulator

CALM_CHECKS = 50
"""So often the next deadline must be found unchanged before the clock moves another time."""
RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"


@pytest.fixture
def clock() -> MockClock:
    return MockClock()


@pytest.fixture
def anyio_backend(clock: MockClock) -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": clock}


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """What came of a run whose first request met a fault."""

    result: RunResult
    seconds: float
    """From the fault to the next request, on the clock of the event loop."""


async def wait_after(answer: Answer, folder: Path, clock: MockClock) -> Waited:
    """Run one job whose first request gets this answer; let time pass until it is asked again.

    The clock stands still but for jumps to the next deadline, and between the fault and the next
    request nothing has a deadline but the wait.
    """
    heard: list[float] = []
    asked_again: list[float] = []
    results: list[RunResult] = []

    def listen(event: Event) -> None:
        if isinstance(event, FailureRecorded):
            heard.append(anyio.current_time())

    async def pass_time(server: Simulator) -> None:
        seconds, calm = math.inf, CALM_CHECKS
        while server.bill.requests < 2:
            await anyio.to_thread.run_sync(time.sleep, 0.001)
            left = trio.lowlevel.current_statistics().seconds_to_next_deadline
            calm = calm + 1 if left == seconds else 0
            seconds = left
            if heard and left < math.inf and (calm >= CALM_CHECKS or clock.current_time() == 0):
                clock.jump(left)
        asked_again.append(anyio.current_time())

    async with simulator(answer=lambda call: answer if call.number == 0 else None) as server:
        retry = Retry(first_wait_seconds=1, max_wait_seconds=2)
        pipeline = pipeline_on(server, folder, retry=retry)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pass_time, server)
            job = Job(id="a", prompt="x", route=Route.LITE)
            results.append(await pipeline.run([job], listen))
        assert server.bill.requests == 2
        return Waited(result=results[0], seconds=asked_again[0] - heard[0])


def throttled(*delays: object, header: str = "") -> Answer:
    """A 429 that names these waits in its body and its header."""
    details = [{"@type": RETRY_INFO, "retryDelay": delay} for delay in delays]
    answer = answers.error(429, "Quota exceeded.", details=details)
    return answer.with_headers(("retry-after", header)) if header else answer


@pytest.mark.parametrize(
    ("answer", "low", "high"),
    [
        # The larger of the two, and jitter of a tenth of it, a second at most.
        pytest.param(throttled("37s", header="12"), 37, 38, marks=pytest.mark.fault("N6")),
        pytest.param(throttled("12s", header="37"), 37, 38, marks=pytest.mark.fault("N6")),
        pytest.param(answers.rate_limited(5.5), 5.5, 6.05, marks=pytest.mark.fault("N6")),
        # Nonsense is no wait: up to a second, as after any first fault.
        pytest.param(throttled("-5s"), 0, 1, marks=pytest.mark.fault("N8")),
        pytest.param(throttled("soon", header="later"), 0, 1, marks=pytest.mark.fault("N8")),
        pytest.param(throttled("nan", ["7s"], None), 0, 1, marks=pytest.mark.fault("N8")),
        pytest.param(answers.overloaded(), 0, 1, marks=pytest.mark.fault("N8")),
        # Never longer than ten minutes at a time.
        pytest.param(throttled("1000000000s"), 600, 601, marks=pytest.mark.fault("N8")),
        pytest.param(throttled(header="Infinity"), 600, 601, marks=pytest.mark.fault("N8")),
        # No wait is named when too much was spent in ten minutes: 20 s recovered.
        pytest.param(answers.spend_limit(), 20, 21, marks=pytest.mark.fault("N39")),
        pytest.param(
            answers.spend_limit().with_headers(("retry-after", "45")),
            45,
            46,
            marks=pytest.mark.fault("N39"),
        ),
    ],
)
async def test_the_next_request_comes_when_the_provider_said(
    tmp_path: Path, clock: MockClock, answer: Answer, low: float, high: float
) -> None:
    waited = await wait_after(answer, tmp_path, clock)

    assert low <= waited.seconds <= high
    assert waited.result.jobs["a"].status is JobStatus.DONE
    assert waited.result.spend.unknown_usd == 0


@pytest.mark.fault("N39")
async def test_too_much_spent_is_called_so(tmp_path: Path, clock: MockClock) -> None:
    waited = await wait_after(answers.spend_limit(), tmp_path, clock)

    (failure,) = waited.result.failures
    assert failure.kind == "spend_limit"
    assert failure.message.startswith(
        "The provider answered 429: You exceeded your spend-based rate limit."
    )
    assert not failure.is_final
