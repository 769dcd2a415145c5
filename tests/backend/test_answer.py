"""Reading an answer: the image and its usage survive whatever else is odd."""

from __future__ import annotations

import json

import httpx2
import pytest
from google.genai import types

from nanobatch.backend import Gemini
from nanobatch.models import TokenUsage
from nanobatch.simulator import Simulator, answers
from tests.backend.wire import (
    KEY,
    SMALL,
    answer_json,
    answering,
    asking,
    backend,
    callers_client,
    draw,
    http,
    recording,
)

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
PRO = "gemini-3-pro-image"
PNG = b"\x89PNG\r\n\x1a\n"


def billed_tokens(usage: TokenUsage | None) -> tuple[int, int, int] | None:
    if usage is None:
        return None
    return usage.prompt_tokens, usage.image_tokens, usage.text_tokens


@both
async def test_an_ordinary_answer_says_everything() -> None:
    async with Simulator(pixels=SMALL) as simulator, backend(simulator) as gemini:
        reply = await draw(gemini, thinking_level="high")

    line = simulator.bill.lines[0]
    assert len(reply.images) == 1
    assert reply.images[0].startswith(PNG)
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == line.prompt_tokens == 4  # 14 bytes
    assert reply.usage.image_tokens == line.image_tokens == 1120
    assert reply.usage.text_tokens == line.text_tokens
    assert 700 <= (reply.usage.thought_tokens or 0) <= 792  # high, on this model
    assert reply.finish_reason == "STOP"
    assert reply.text == ""
    assert reply.block_reason == ""
    assert reply.response_id
    assert 0 < reply.latency_seconds < 20


SHAPES = {
    "several": answers.several_images(4),
    "thought": answers.thought_then_image(),
    "text": answers.text_then_image(),
    "bad base64": answers.bad_base64(),
    "svg": answers.svg(),
    "truncated": answers.truncated_image(),
    "no image": answers.no_image("Shall I try again?"),
    "text only": answers.text_only("I cannot."),
    "blocked": answers.blocked("SAFETY"),
    "refused": answers.image_refused(),
    "refused, quirk": answers.image_refused(usage_quirk=True),
    "prohibited": answers.prohibited(),
    "parts null": answers.parts_null(),
    "empty content": answers.empty_content(),
    "unknown": answers.unknown_finish_reason("IMAGE_UNDER_REVIEW"),
}


@both
async def test_every_usage_is_what_was_billed_to_the_token() -> None:
    """The simulator keeps its bill in code of its own; Pro thinks on every call."""
    async with (
        Simulator(pixels=SMALL, answer=answering(*SHAPES.values())) as simulator,
        backend(simulator) as gemini,
    ):
        replies = {name: await draw(gemini, model=PRO) for name in SHAPES}

    found = {name: billed_tokens(reply.usage) for name, reply in replies.items()}
    assert found == {
        name: (line.prompt_tokens, line.image_tokens, line.text_tokens)
        for name, line in zip(SHAPES, simulator.bill.lines, strict=True)
    }
    assert {name: len(reply.images) for name, reply in replies.items()} == {
        **dict.fromkeys(SHAPES, 0),
        "several": 4,
        "thought": 2,
        "text": 1,
        "bad base64": 1,
        "svg": 1,
        "truncated": 1,
    }


async def test_a_callers_client_reads_the_same() -> None:
    async with (
        Simulator(pixels=SMALL, answer=answering(*SHAPES.values())) as one,
        backend(one) as gemini,
    ):
        ours = [await draw(gemini) for _ in SHAPES]
    async with Simulator(pixels=SMALL, answer=answering(*SHAPES.values())) as two:
        client = callers_client(two, async_client_args={"transport": httpx2.AsyncHTTPTransport()})
        async with Gemini(client=client) as gemini:
            theirs = [await draw(gemini) for _ in SHAPES]
        await client.aio.aclose()
        client.close()

    assert [(r.images, r.usage, r.text, r.finish_reason) for r in theirs] == [
        (r.images, r.usage, r.text, r.finish_reason) for r in ours
    ]


async def test_refusals_carry_their_words() -> None:
    names = ("no image", "text only", "blocked", "refused", "prohibited", "parts null", "unknown")
    async with (
        Simulator(answer=answering(*(SHAPES[name] for name in names))) as simulator,
        backend(simulator) as gemini,
    ):
        replies = {name: await draw(gemini) for name in names}

    assert {n: (r.finish_reason, r.block_reason) for n, r in replies.items()} == {
        "no image": ("NO_IMAGE", ""),
        "text only": ("STOP", ""),
        "blocked": ("", "SAFETY"),
        "refused": ("IMAGE_SAFETY", ""),
        "prohibited": ("IMAGE_PROHIBITED_CONTENT", ""),
        "parts null": ("STOP", ""),
        "unknown": ("IMAGE_UNDER_REVIEW", ""),
    }
    assert replies["no image"].text == "Shall I try again?"
    assert replies["text only"].text == "I cannot."
    assert replies["refused"].text.startswith("Unable to show the generated image.")
    assert "Support code: 42876398." in replies["prohibited"].text


async def test_an_answer_without_usage_has_no_usage_but_its_image() -> None:
    async with (
        Simulator(pixels=SMALL, answer=answering(answers.without_usage())) as simulator,
        backend(simulator) as gemini,
    ):
        reply = await draw(gemini)

    assert reply.usage is None
    assert len(reply.images) == 1


async def test_what_the_sdk_would_refuse_is_read() -> None:
    """`totalTokenCount: 1210.0`, an unknown enum and bad base64 are errors to pydantic."""
    answer = json.loads(
        answer_json({"inlineData": {"data": "Z29vZA=="}}, {"inlineData": {"data": "%%%"}})
    )
    answer["usageMetadata"]["totalTokenCount"] = "1210"
    answer["usageMetadata"]["candidatesTokenCount"] = 1.5
    answer["candidates"][0]["finishReason"] = {"new": "shape"}
    answer["candidates"][0]["index"] = "first"

    async with (
        recording(http(json.dumps(answer))) as server,
        Gemini(KEY, base_url=server.base_url) as gemini,
    ):
        reply = await gemini.generate(asking())

    assert reply.images == (b"good", b"%%%")
    assert reply.usage == TokenUsage(prompt_tokens=10, image_tokens=1120, text_tokens=80)
    assert reply.finish_reason == ""


async def test_an_answer_that_has_come_is_read_even_if_the_sdk_fails_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a new version of the SDK does not like its own answer")

    monkeypatch.setattr(types.GenerateContentResponse, "_from_response", fail)
    async with Simulator(pixels=SMALL) as simulator, backend(simulator) as gemini:
        reply = await draw(gemini)

    assert len(reply.images) == 1
    assert reply.usage is not None
    assert reply.usage.image_tokens == 1120
