"""One call is exactly one request, whatever goes wrong and whatever else is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from google.genai import types

import nanobatch
from nanobatch.backend import Gemini
from nanobatch.errors import ProviderError
from nanobatch.simulator import Simulator, answers
from tests.backend.wire import SMALL, backend, callers_client, draw

if TYPE_CHECKING:
    from nanobatch.simulator import Answer

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession"),  # the SDK's own
]
both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


def faults(elsewhere: str) -> dict[str, Answer]:
    """Every shape of answer that could tempt somebody to send again."""
    return {
        "reset": answers.reset(),
        "billed reset": answers.reset(billed=True),
        "close": answers.close(),
        "billed close": answers.close(billed=True),
        "cut": answers.cut(0.5),
        "cut at the head": answers.cut(0),
        "stall": answers.stall(),
        "stall in the body": answers.stall_in_body(),
        "drip": answers.drip(0.01),
        "slow": answers.slow(30),
        "empty": answers.empty_body(),
        "null": answers.json_value("null"),
        "not JSON": answers.not_json(),
        "half": answers.truncated_json(),
        "429": answers.rate_limited(0.01),
        "429 without a wait": answers.rate_limited(),
        "429 per day": answers.daily_quota(),
        "429 limit: 0": answers.quota_zero(),
        "429 spending": answers.spend_limit(),
        "429 capacity": answers.capacity(),
        "400": answers.error(400, "No."),
        "400 key": answers.invalid_key(),
        "402": answers.no_credit(),
        "403": answers.forbidden(),
        "404": answers.not_found(),
        "408": answers.error(408, "Too slow."),
        "409": answers.error(409, "Aborted."),
        "425": answers.error(425, "Too early."),
        "500": answers.internal(),
        "502": answers.error(502, "Bad gateway."),
        "503": answers.overloaded(),
        "503 page": answers.overloaded_html(),
        "504": answers.deadline(),
        "301": answers.redirect(elsewhere, 301),
        "302": answers.redirect(elsewhere, 302),
        "303": answers.redirect(elsewhere, 303),
        "307": answers.redirect(elsewhere, 307),
        "308": answers.redirect(elsewhere, 308),
    }


FIVE_TIMES = types.HttpRetryOptions(attempts=5, initial_delay=0, max_delay=0, jitter=0)
ENDLESS = ("stall", "stall in the body", "drip", "slow")
GOOD = {
    "image": answers.image(),
    "several": answers.several_images(3),
    "no image": answers.no_image(),
    "refused": answers.image_refused(),
    "blocked": answers.blocked(),
    "continuation": answers.unknown_finish_reason("CONTINUATION"),
    "function call": answers.unknown_finish_reason("MALFORMED_FUNCTION_CALL"),
    "no usage": answers.without_usage(),
    "bad base64": answers.bad_base64(),
}


async def requests_per_call(
    gemini: Gemini, simulator: Simulator, shapes: dict[str, Answer]
) -> dict[str, int]:
    """Make one call for each shape, its prompt the shape's name; return how many requests came."""

    async def call(name: str) -> None:
        try:
            await draw(gemini, name, timeout_seconds=0.8 if name in ENDLESS else 60)
        except ProviderError:
            assert name not in GOOD
        else:
            assert name in GOOD

    # The second lot by itself: a request must be out before its short deadline passes.
    for lot in (set(shapes).difference(ENDLESS), ENDLESS):
        async with anyio.create_task_group() as tasks:
            for name in lot:
                tasks.start_soon(call, name)
    return dict(Counter(line.prompt for line in simulator.bill.lines))


@both
async def test_every_fault_is_one_request_and_no_redirect_is_followed() -> None:
    async with Simulator() as elsewhere:
        shapes = {**faults(elsewhere.base_url), "gzip": answers.gzipped(), **GOOD}
        async with (
            Simulator(pixels=SMALL, answer=lambda call: shapes[call.prompt]) as simulator,
            backend(simulator, timeout_seconds=None) as gemini,
        ):
            found = await requests_per_call(gemini, simulator, shapes)

    assert found == dict.fromkeys(shapes, 1)
    assert elsewhere.bill.requests == 0


@pytest.mark.parametrize(
    ("stack", "retries"), [("aiohttp", None), ("aiohttp", FIVE_TIMES), ("httpx2", FIVE_TIMES)]
)
async def test_a_callers_own_client_sends_once_too(
    stack: str, retries: types.HttpRetryOptions | None
) -> None:
    shapes = {k: v for k, v in {**faults(""), **GOOD}.items() if not k.startswith("30")}
    transport = {"transport": httpx2.AsyncHTTPTransport()} if stack == "httpx2" else None
    async with Simulator(pixels=SMALL, answer=lambda call: shapes[call.prompt]) as simulator:
        client = callers_client(simulator, retry_options=retries, async_client_args=transport)
        async with Gemini(client=client) as gemini:
            found = await requests_per_call(gemini, simulator, shapes)
        await client.aio.aclose()
        client.close()

    assert found == dict.fromkeys(shapes, 1)


PROGRAM = """
import sys
sys.modules["aiohttp"] = None  # importing it fails
import anyio
from nanobatch.backend import Gemini, ImageRequest
from nanobatch.errors import ProviderError
from nanobatch.simulator import Simulator, answers

SHAPES = [answers.reset(), answers.close(), answers.cut(), answers.overloaded(), answers.stall()]

async def main():
    request = ImageRequest(model="gemini-3.1-flash-lite-image", prompt="a fox")
    async with Simulator(pixels=0.05, answer=lambda call: SHAPES[call.number]) as simulator:
        async with Gemini("key", base_url=simulator.base_url, timeout_seconds=0.5) as gemini:
            for _ in SHAPES:
                try:
                    await gemini.generate(request)
                except ProviderError as error:
                    print(error.kind, simulator.bill.requests)
    from google.genai import _api_client
    print("aiohttp:", _api_client.has_aiohttp)

anyio.run(main)
"""


def test_it_is_one_request_without_aiohttp_too() -> None:
    source = str(Path(nanobatch.__file__).parents[1])

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout.splitlines() == [
        "connection_lost 1",
        "connection_lost 2",
        "connection_lost 3",
        "overloaded 4",
        "timeout 5",
        "aiohttp: False",
    ]


def test_the_other_tests_here_run_with_aiohttp() -> None:
    from google.genai import _api_client

    assert _api_client.has_aiohttp
