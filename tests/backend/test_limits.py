"""An answer has an end: in bytes, in time and when the caller gives up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
import pytest

from nanobatch.backend import Gemini
from nanobatch.errors import TransientError
from nanobatch.simulator import Simulator, answers
from tests.backend.wire import KEY, SMALL, asking, backend, draw, fault_of, recording
from tests.support import linux_only, memory_taken

if TYPE_CHECKING:
    from nanobatch.errors import ProviderError

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@linux_only
async def test_an_endless_body_is_cut_at_64_mib_without_filling_the_memory() -> None:
    async with (
        Simulator(answer=lambda _: answers.endless_body()) as simulator,
        backend(simulator) as gemini,
    ):
        await gemini.count_tokens(model="gemini-3-pro-image", prompt="warm up")
        with memory_taken() as taken:
            error = await fault_of(gemini)
        with anyio.fail_after(5):
            while simulator.bill.in_flight:
                await anyio.lowlevel.checkpoint()

    assert isinstance(error, TransientError)
    assert (error.kind, error.status, error.is_unknown_money) == ("too_large", 200, True)
    assert str(error) == "The answer is larger than 64 MiB; its cost is unknown."
    assert 60 < taken.peak_mib < 160
    assert simulator.bill.requests == 1


async def test_an_endless_error_is_an_error_after_64_kib() -> None:
    head = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n\r\n"

    async with (
        recording(head + b"overloaded " * 10_000, again_and_again=True) as server,
        Gemini(KEY, base_url=server.base_url, timeout_seconds=10) as gemini,
    ):
        error = await fault_of(gemini)
        with anyio.fail_after(5):
            await server.left.wait()

    assert isinstance(error, TransientError)
    assert (error.kind, error.status, error.is_unknown_money) == ("overloaded", 503, False)
    assert len(str(error)) < 700
    assert len(server.heads) == 1


@both
async def test_a_compressed_answer_is_refused_before_it_is_unpacked() -> None:
    async with (
        Simulator(pixels=SMALL, answer=lambda _: answers.gzipped()) as simulator,
        backend(simulator) as gemini,
    ):
        error = await fault_of(gemini)

    assert isinstance(error, TransientError)
    assert (error.kind, error.status, error.is_unknown_money) == ("protocol", 200, True)
    assert "compressed" in str(error)


@both
async def test_a_compressed_answer_that_is_refused_closes_its_connection() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\n"

    async with (
        recording(head + b"bomb" * 10_000, again_and_again=True) as server,
        Gemini(KEY, base_url=server.base_url, timeout_seconds=10) as gemini,
    ):
        error = await fault_of(gemini)
        with anyio.fail_after(5):
            await server.left.wait()

    assert (error.kind, error.is_unknown_money) == ("protocol", True)


@both
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(status: int) -> None:
    async with Simulator() as elsewhere:
        target = f"{elsewhere.base_url}/v1beta/models/gemini-3-pro-image:generateContent?key=abc"
        async with (
            Simulator(answer=lambda _: answers.redirect(target, status)) as simulator,
            backend(simulator) as gemini,
        ):
            error = await fault_of(gemini)

    assert isinstance(error, TransientError)
    assert (error.kind, error.status, error.is_unknown_money) == ("redirect", status, False)
    assert str(error) == (
        f"The provider answered {status}: a redirect to 127.0.0.1, which is not followed."
    )
    assert elsewhere.bill.requests == 0
    assert simulator.bill.requests == 1


@both
async def test_the_deadline_is_for_the_whole_answer() -> None:
    endless = {
        "stall": answers.stall(),
        "stall in the body": answers.stall_in_body(),
        "drip": answers.drip(0.02),
        "slow": answers.slow(30),
        "late": answers.image().after(30),
    }
    errors: dict[str, ProviderError] = {}

    async def call(name: str) -> None:
        errors[name] = await fault_of(gemini, name)

    async with (
        Simulator(pixels=SMALL, answer=lambda call: endless[call.prompt]) as simulator,
        backend(simulator, timeout_seconds=0.3) as gemini,
    ):
        began = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for name in endless:
                tasks.start_soon(call, name)
        took = time.perf_counter() - began

    assert {
        name: (type(error), error.kind, error.status, error.is_unknown_money, str(error))
        for name, error in errors.items()
    } == dict.fromkeys(
        endless,
        (
            TransientError,
            "timeout",
            None,
            True,
            "No complete answer within 0.3 s. Whether it is billed is unknown.",
        ),
    )
    assert 0.29 < took < 5


@both
async def test_a_cancelled_call_closes_its_connection() -> None:
    async with (
        Simulator(answer=lambda _: answers.stall()) as simulator,
        backend(simulator) as gemini,
    ):
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(draw, gemini)
                while not simulator.bill.in_flight:
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            while simulator.bill.in_flight:  # the simulator stalls until the client leaves
                await anyio.lowlevel.checkpoint()

    assert tasks.cancel_scope.cancelled_caught
    assert simulator.bill.requests == 1


@both
async def test_cancellation_is_not_turned_into_an_error() -> None:
    seen: list[BaseException] = []

    async def call(gemini: Gemini) -> None:
        try:
            await draw(gemini)
        except BaseException as error:
            seen.append(error)
            raise

    async with (
        Simulator(answer=lambda _: answers.stall()) as simulator,
        backend(simulator) as gemini,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(call, gemini)
        while not simulator.bill.in_flight:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()

    assert [type(error) for error in seen] == [anyio.get_cancelled_exc_class()]


@both
async def test_two_hundred_calls_are_in_flight_at_once() -> None:
    async with (
        Simulator(answer=lambda _: answers.stall()) as simulator,
        backend(simulator) as gemini,
        anyio.create_task_group() as tasks,
    ):
        for number in range(200):
            tasks.start_soon(gemini.generate, asking(f"scene {number}"))
        with anyio.fail_after(15):
            while simulator.bill.in_flight < 200:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()

    assert simulator.bill.peak_in_flight == 200
    assert simulator.bill.requests == 200
