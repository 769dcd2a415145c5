"""The answers that HTTP allows and nobody expects do on the wire what they say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest

from nanobatch.simulator import Simulator, answers
from tests.simulator.wire import KEY, LITE, NO_TLS, SMALL, answering, body, files_of, send

if TYPE_CHECKING:
    from nanobatch.simulator import Answer

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


async def ask(answer: Answer) -> httpx2.Response:
    async with Simulator(pixels=SMALL, answer=answering(answer)) as simulator:
        return await send(simulator)


async def until_it_stops(simulator: Simulator) -> bytes:
    """Send one request over a bare socket; return what came until the connection broke."""
    received = b""
    content = json.dumps(body()).encode()
    head = (
        f"POST /v1beta/models/{LITE}:generateContent HTTP/1.1\r\nHost: x\r\n"
        f"x-goog-api-key: k\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    port = int(simulator.base_url.rsplit(":", 1)[1])
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(head.encode() + content)
        while len(received) < 50_000:
            received += await stream.receive()
    return received


async def test_a_body_can_be_changed_and_its_cost_is_not() -> None:
    with_a_mark = answers.altered(lambda body: b"\xef\xbb\xbf" + body)
    async with Simulator(pixels=SMALL, answer=answering(with_a_mark, None)) as simulator:
        changed = await send(simulator)
        usual = await send(simulator)

    assert changed.content.startswith(b"\xef\xbb\xbf{")
    assert len(changed.content) == int(changed.headers["content-length"])
    assert usual.content.startswith(b"{")
    assert [line.image_tokens for line in simulator.bill.lines] == [1120, 1120]


async def test_any_answer_can_be_changed() -> None:
    response = await ask(answers.altered(lambda _: b"<html>", of=answers.internal()))

    assert response.status_code == 500
    assert response.content == b"<html>"


async def test_any_answer_can_have_further_headers() -> None:
    response = await ask(answers.image().with_headers(("x-odd", "a"), ("x-odd", "b" * 100_000)))

    assert response.headers.get_list("x-odd") == ["a", "b" * 100_000]
    assert response.headers["content-type"] == "application/json; charset=UTF-8"
    assert len(files_of(response)) == 1


async def test_a_success_can_say_nothing_and_is_billed() -> None:
    async with Simulator(pixels=SMALL, answer=answering(answers.no_content())) as simulator:
        response = await send(simulator)

    assert (response.status_code, response.content) == (204, b"")
    assert simulator.bill.images == 1


async def test_a_model_can_be_withdrawn_at_any_time() -> None:
    response = await ask(answers.withdrawn())

    assert response.status_code == 404
    assert response.json()["error"]["message"].startswith(
        f"This model models/{LITE} is no longer available"
    )


@both
async def test_a_reset_can_come_in_the_middle_of_a_body() -> None:
    async with Simulator(
        pixels=SMALL, answer=answering(answers.reset_in_body(0.25), answers.reset_in_body(0.25))
    ) as simulator:
        with pytest.raises(anyio.BrokenResourceError):
            await until_it_stops(simulator)
        async with httpx2.AsyncClient(verify=NO_TLS) as client:
            url = f"{simulator.base_url}/v1beta/models/{LITE}:generateContent"
            with pytest.raises(httpx2.TransportError):
                await client.post(url, json=body(), headers=KEY)

    assert [line.answered for line in simulator.bill.lines] == [False, False]
    assert simulator.bill.images == 2
    assert simulator.bill.in_flight == 0


@both
async def test_interim_answers_come_until_the_client_leaves() -> None:
    async with Simulator(answer=answering(answers.interim_flood())) as simulator:
        received = await until_it_stops(simulator)
        with anyio.fail_after(5):
            while simulator.bill.in_flight:
                await anyio.lowlevel.checkpoint()

    assert received.count(b"HTTP/1.1 103 ") > 1000
    assert simulator.bill.usd == 0


async def test_an_error_can_be_endless_too() -> None:
    seen = 0

    async with Simulator(answer=answering(answers.endless_body(answers.overloaded()))) as simulator:
        url = f"{simulator.base_url}/v1beta/models/{LITE}:generateContent"
        async with (
            httpx2.AsyncClient(verify=NO_TLS) as client,
            client.stream("POST", url, json=body(), headers=KEY) as response,
        ):
            async for chunk in response.aiter_raw():
                seen += len(chunk)
                if seen > 1_000_000:
                    break

    assert response.status_code == 503
    assert simulator.bill.usd == 0
