"""What is sent, to the byte."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from nanobatch.backend import Gemini
from nanobatch.simulator import Simulator
from tests.backend.wire import (
    BANANA,
    KEY,
    LITE,
    SMALL,
    Recorder,
    answer_json,
    asking,
    backend,
    callers_client,
    http,
    recording,
)

if TYPE_CHECKING:
    from nanobatch.backend import ImageRequest
    from nanobatch.simulator import Call

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])

PNG = b"\x89PNG\r\n\x1a\n" + b"p" * 20
JPEG = b"\xff\xd8\xff\xe0" + b"j" * 20
WEBP = b"RIFF\x00\x00\x00\x00WEBPVP8 " + b"w" * 20
HEIC = b"\x00\x00\x00\x18ftypheic" + b"h" * 20
WAVE = b"RIFF\x00\x00\x00\x00WAVEfmt "


async def sent(request: ImageRequest, *, timeout_seconds: float | None = None) -> Recorder:
    async with (
        recording(http(answer_json())) as server,
        Gemini(KEY, base_url=server.base_url, timeout_seconds=timeout_seconds) as gemini,
    ):
        await gemini.generate(request)
    assert len(server.heads) == 1
    return server


@both
async def test_the_whole_body_is_what_the_api_documents() -> None:
    request = asking(
        "a fox", aspect_ratio="16:9", size="2K", model=BANANA, thinking_level="minimal"
    )

    server = await sent(request)

    assert server.json == {
        "contents": [{"role": "user", "parts": [{"text": "a fox"}]}],
        "generationConfig": {
            "responseModalities": ["IMAGE"],
            "imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"},
            "thinkingConfig": {"thinking_level": "MINIMAL"},  # the SDK's own mixture of cases
        },
    }


async def test_no_thinking_level_is_no_thinking_config() -> None:
    server = await sent(asking())

    assert set(server.json["generationConfig"]) == {"responseModalities", "imageConfig"}


@pytest.mark.parametrize(
    "prompt",
    [
        "  two spaces on both sides  ",
        "line one\nline two\r\n\ttabbed\n\n",
        "a fox 🦊 with a family 👨‍👩‍👧 and a flag 🇨🇭",
        "e\u0301 is not \u00e9",
        '{"json": "in the prompt"} \\n is no newline',
        "files/not-a-file",
        "\u202eright to left\u200b and nothing",
        "x" * 30_000,
    ],
)
async def test_the_prompt_is_sent_byte_for_byte(prompt: str) -> None:
    server = await sent(asking(prompt))

    assert server.json["contents"] == [{"role": "user", "parts": [{"text": prompt}]}]


async def test_input_images_follow_the_prompt_in_their_order_with_their_type() -> None:
    images = (JPEG, PNG, WEBP, HEIC, WAVE, PNG)

    server = await sent(asking("finish this", input_images=images))

    first, *rest = server.json["contents"][0]["parts"]
    assert first == {"text": "finish this"}
    assert [base64.urlsafe_b64decode(part["inlineData"]["data"]) for part in rest] == list(images)
    assert [part["inlineData"]["mime_type"] for part in rest] == [
        "image/jpeg",
        "image/png",
        "image/webp",
        "image/heic",
        "image/heic",  # whatever it is, the API will say so
        "image/png",
    ]


async def test_path_key_and_encoding() -> None:
    server = await sent(asking())

    assert server.heads[0].startswith(f"POST /v1beta/models/{LITE}:generateContent HTTP/1.1")
    assert server.headers["x-goog-api-key"] == KEY
    assert server.headers["accept-encoding"] == "identity"
    assert server.headers["content-type"] == "application/json"
    assert KEY not in server.heads[0].splitlines()[0]


async def test_the_server_is_told_the_deadline() -> None:
    from_request = await sent(asking(timeout_seconds=120))
    from_backend = await sent(asking(timeout_seconds=120), timeout_seconds=30.5)

    assert from_request.headers["x-server-timeout"] == "120"
    assert from_backend.headers["x-server-timeout"] == "31"  # in whole seconds, rounded up


async def test_the_version_of_the_environment_does_not_count(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("GOOGLE_GENAI_API_VERSION", "v1")
    environment.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")

    server = await sent(asking())

    assert server.path.startswith("/v1beta/")


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")  # the SDK's own
async def test_a_callers_client_keeps_its_own_version_and_sends_the_same_body() -> None:
    async with recording(http(answer_json())) as server:
        client = callers_client(server, api_version="v1")
        async with Gemini(client=client) as gemini:
            await gemini.generate(asking("a fox"))
        await client.aio.aclose()
        client.close()

    ours = await sent(asking("a fox"))
    assert server.path == f"/v1/models/{LITE}:generateContent"
    assert server.json == ours.json


@both
async def test_the_simulator_understands_every_word() -> None:
    calls: list[Call] = []
    async with (
        Simulator(pixels=SMALL, answer=calls.append) as simulator,
        backend(simulator) as gemini,
    ):
        draft = await gemini.generate(asking("a fox", size="2K", model=BANANA))
        finish = asking(
            "finish it",
            model=BANANA,
            aspect_ratio="4:1",
            size="4K",
            input_images=draft.images,
            thinking_level="high",
        )
        await gemini.generate(finish)

    seen: list[dict[str, Any]] = [
        {
            "prompt": call.prompt,
            "size": call.size,
            "ratio": call.aspect_ratio,
            "images": call.input_images,
            "level": call.thinking_level,
            "version": call.api_version,
        }
        for call in calls
    ]
    assert seen == [
        {"prompt": "a fox", "size": "2K", "ratio": "1:1", "images": 0, "level": "MEDIUM",
         "version": "v1beta"},
        {"prompt": "finish it", "size": "4K", "ratio": "4:1", "images": 1, "level": "HIGH",
         "version": "v1beta"},
    ]  # fmt: skip
