"""Opening, closing and breaking: nothing hangs, nothing leaks, nothing is hidden."""

from __future__ import annotations

import json

import anyio
import httpx2
import pytest

from nanobatch.simulator import Answer, Call, Simulator, answers
from tests.simulator.wire import KEY, LITE, SMALL, body, send

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]


async def test_closing_is_prompt_with_stalled_and_idle_connections() -> None:
    stalled = anyio.Event()

    def answer(call: Call) -> Answer | None:
        if call.prompt != "stall":
            return None
        stalled.set()
        return answers.stall()

    failures: list[Exception] = []

    async def leave_hanging(simulator: Simulator) -> None:
        try:
            await send(simulator, body("stall"))
        except httpx2.TransportError as error:
            failures.append(error)

    simulator = Simulator(pixels=SMALL, answer=answer)
    async with anyio.create_task_group() as tasks, httpx2.AsyncClient(headers=KEY) as idle:
        with anyio.fail_after(5):
            async with simulator:
                await idle.get(f"{simulator.base_url}/v1beta/models")
                tasks.start_soon(leave_hanging, simulator)
                await stalled.wait()

    assert len(failures) == 1
    assert simulator.bill.in_flight == 0


async def test_a_call_that_waits_when_the_simulator_closes_is_not_billed() -> None:
    asked = anyio.Event()

    def answer(call: Call) -> Answer:
        asked.set()
        return answers.image().after(60)

    async def ask(simulator: Simulator) -> None:
        with pytest.raises(httpx2.TransportError):
            await send(simulator)

    async with anyio.create_task_group() as tasks, Simulator(answer=answer) as simulator:
        tasks.start_soon(ask, simulator)
        await asked.wait()

    assert simulator.bill.nano_usd == 0
    assert simulator.bill.lines[0].status is None


async def test_a_broken_answer_function_is_a_500_and_then_raised() -> None:
    def answer(call: Call) -> Answer:
        raise LookupError("no such scene")

    seen: list[httpx2.Response] = []
    with pytest.raises(LookupError, match="no such scene"):
        async with Simulator(answer=answer) as simulator:
            seen.append(await send(simulator))

    assert seen[0].status_code == 500
    assert "no such scene" in seen[0].json()["error"]["message"]


async def test_an_error_of_the_caller_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError, match="mine"):
        async with Simulator():
            raise ZeroDivisionError("mine")


async def test_a_cancelled_caller_closes_it_and_stays_cancelled() -> None:
    simulator = Simulator()
    with anyio.move_on_after(0.01) as scope:
        async with simulator:
            await anyio.sleep_forever()

    assert scope.cancelled_caught
    with pytest.raises(RuntimeError, match="not open"):
        _ = simulator.base_url


async def test_what_is_no_http_ends_one_connection_only() -> None:
    async with Simulator(pixels=SMALL) as simulator:
        port = int(simulator.base_url.rsplit(":", 1)[1])
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()
        response = await send(simulator)

    assert response.status_code == 200


async def test_a_client_that_expects_100_continue_gets_it() -> None:
    content = json.dumps(body()).encode()
    head = (
        f"POST /v1beta/models/{LITE}:generateContent HTTP/1.1\r\nHost: x\r\nx-goog-api-key: k\r\n"
        f"Expect: 100-continue\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n"
    )

    async with Simulator(answer=lambda _: answers.capacity()) as simulator:
        port = int(simulator.base_url.rsplit(":", 1)[1])
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(head.encode())
            first = await stream.receive()
            await stream.send(content)
            second = await stream.receive()

    assert first.startswith(b"HTTP/1.1 100")
    assert second.startswith(b"HTTP/1.1 429 Too Many Requests")


async def test_it_listens_only_while_it_is_open() -> None:
    simulator = Simulator(pixels=SMALL)
    with pytest.raises(RuntimeError, match="not open"):
        _ = simulator.base_url

    async with simulator:
        url = simulator.base_url
        assert url.startswith("http://127.0.0.1:")

    with pytest.raises(httpx2.ConnectError):
        async with httpx2.AsyncClient() as client:
            await client.get(url)


async def test_latency_delays_images_and_not_errors() -> None:
    async with Simulator(pixels=SMALL, latency_seconds={LITE: 0.15}) as simulator:
        started = anyio.current_time()
        await send(simulator, {"contents": []})
        refused = anyio.current_time()
        await send(simulator)
        drawn = anyio.current_time()

    assert refused - started < 0.15
    assert drawn - refused >= 0.15
