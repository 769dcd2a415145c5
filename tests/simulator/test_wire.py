"""What a client sees of an ordinary answer."""

from __future__ import annotations

import base64
import hashlib
import io
import math
from typing import Any

import httpx2
import pytest
from PIL import Image

from nanobatch.simulator import Call, Simulator
from tests.simulator.wire import (
    BANANA,
    KEY,
    LITE,
    PRO,
    SMALL,
    body,
    contrast,
    files_of,
    opened,
    png,
    send,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_prompt_gets_a_png_and_a_usage_that_adds_up() -> None:
    async with Simulator(pixels=SMALL) as simulator:
        response = await send(simulator, body("a fox", imageConfig={"aspectRatio": "16:9"}))

    answer = response.json()
    usage = answer["usageMetadata"]
    assert response.status_code == 200
    assert answer["candidates"][0]["finishReason"] == "STOP"
    assert answer["candidates"][0]["content"]["role"] == "model"
    assert answer["modelVersion"] == LITE
    assert answer["responseId"]
    assert opened(files_of(response)[0]).size == (344, 192)  # 1376x768, a quarter of each side
    assert usage["promptTokenCount"] == 2  # 5 bytes, 4 a token
    assert usage["promptTokensDetails"] == [{"modality": "TEXT", "tokenCount": 2}]
    assert usage["candidatesTokensDetails"] == [{"modality": "IMAGE", "tokenCount": 1120}]
    assert 88 <= usage["candidatesTokenCount"] - 1120 <= 630
    assert usage["totalTokenCount"] == 2 + usage["candidatesTokenCount"]
    assert "thoughtsTokenCount" not in usage


@pytest.mark.parametrize(
    ("model", "level", "low", "high"),
    [(LITE, "HIGH", 700, 792), (BANANA, None, 600, 900), (BANANA, "high", 900, 1300),
     (PRO, "MINIMAL", 50, 350)],
)  # fmt: skip
async def test_thinking_is_counted_by_level(
    model: str, level: str | None, low: int, high: int
) -> None:
    config: dict[str, Any] = {} if level is None else {"thinkingConfig": {"thinkingLevel": level}}

    async with Simulator(pixels=SMALL) as simulator:
        usage = (await send(simulator, body(**config), model=model)).json()["usageMetadata"]

    assert low <= usage["thoughtsTokenCount"] <= high
    assert usage["totalTokenCount"] == (
        usage["promptTokenCount"] + usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]
    )


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [(BANANA, "1K", 1120), (BANANA, "2K", 1680), (BANANA, "4K", 3780), (PRO, "2K", 1120),
     (PRO, "4K", 2000)],
)  # fmt: skip
async def test_image_tokens_follow_model_and_size(model: str, size: str, tokens: int) -> None:
    async with Simulator(pixels=0.05) as simulator:
        response = await send(simulator, body(imageConfig={"imageSize": size}), model=model)

    details = response.json()["usageMetadata"]["candidatesTokensDetails"]
    assert details == [{"modality": "IMAGE", "tokenCount": tokens}]


async def test_pro_draws_jpeg_and_the_others_png() -> None:
    async with Simulator(pixels=SMALL) as simulator:
        pro = await send(simulator, model=PRO)
        banana = await send(simulator, model=BANANA)

    assert opened(files_of(pro)[0]).format == "JPEG"
    assert opened(files_of(banana)[0]).format == "PNG"


async def test_a_picture_at_full_size_looks_like_a_photo_to_a_filter() -> None:
    async with Simulator() as simulator:
        file = files_of(await send(simulator, body("a city at night")))[0]

    assert opened(file).size == (1024, 1024)
    assert len(file) > 100_000
    assert contrast(file) > 10


async def test_snake_case_and_both_versions_are_understood() -> None:
    blob = {"mime_type": "image/png", "data": base64.b64encode(png()).decode()}
    asked = {
        "contents": [{"parts": [{"text": "x"}, {"inline_data": blob}]}],
        "generation_config": {
            "response_modalities": ["TEXT", "IMAGE"],
            "image_config": {"aspect_ratio": "9:16", "image_size": "1K"},
            "thinking_config": {"thinking_level": "HIGH", "include_thoughts": False},
        },
    }
    calls: list[Call] = []

    async with Simulator(pixels=SMALL, answer=calls.append) as simulator:
        response = await send(simulator, asked, version="v1")

    assert response.status_code == 200
    assert calls[0].aspect_ratio == "9:16"
    assert calls[0].thinking_level == "HIGH"
    assert calls[0].api_version == "v1"
    assert calls[0].input_images == 1


async def test_a_call_says_what_was_asked_and_how_often() -> None:
    calls: list[Call] = []

    async with Simulator(pixels=SMALL, answer=calls.append) as simulator:
        await send(simulator, body("a"))
        await send(simulator, body("b"), model="nano-banana-pro-preview")
        await send(simulator, body("a", images=(png(),)))
        await send(simulator, body("a"))

    assert [(call.prompt, call.nth, call.number) for call in calls] == [
        ("a", 0, 0),
        ("b", 0, 1),
        ("a", 0, 2),  # with an image it is another question
        ("a", 1, 3),
    ]
    assert [call.is_finish for call in calls] == [False, False, True, False]
    assert calls[1].model == PRO


async def test_without_a_ratio_the_input_image_decides() -> None:
    async with Simulator(pixels=SMALL) as simulator:
        plain = await send(simulator)
        wide = await send(simulator, body(images=(png(320, 181),)))

    assert opened(files_of(plain)[0]).size == (256, 256)
    assert opened(files_of(wide)[0]).size == (344, 192)  # 16:9


async def test_a_finish_is_recognisably_the_draft_at_the_size_asked_for() -> None:
    async with Simulator(pixels=SMALL) as simulator:
        draft = files_of(await send(simulator, body("mountains at dawn")))[0]
        wanted = body("the same, finished", images=(draft,), imageConfig={"imageSize": "2K"})
        finish = files_of(await send(simulator, wanted, model=BANANA))[0]

    assert opened(finish).size == (512, 512)
    assert _correlation(draft, finish) > 0.8
    assert draft != finish


async def test_every_answer_has_bytes_of_its_own() -> None:
    async with Simulator(pixels=SMALL, drawings=1) as simulator:
        files = [
            files_of(await send(simulator, body("one"), model=model))[0]
            for model in (LITE, PRO)
            for _ in range(4)
        ]

    pixels = {opened(file).convert("RGB").tobytes() for file in files}
    assert len({hashlib.sha256(file).digest() for file in files}) == 8
    assert len(pixels) == 2  # one drawing a tier


async def test_one_connection_serves_many_requests() -> None:
    async with (
        Simulator(pixels=SMALL) as simulator,
        httpx2.AsyncClient(base_url=simulator.base_url, headers=KEY) as client,
    ):
        path = f"/v1beta/models/{LITE}:generateContent"
        answers = [await client.post(path, json=body(f"scene {n}")) for n in range(5)]
        models = await client.get("/v1beta/models")
        missing = await client.get("/v1beta/batches/abc")

    assert [answer.status_code for answer in answers] == [200] * 5
    assert models.status_code == 200
    assert missing.status_code == 404
    assert missing.json()["error"]["status"] == "NOT_FOUND"


async def test_several_tones_of_one_prompt_are_drawn() -> None:
    async with Simulator(pixels=SMALL, drawings=24) as simulator:
        files = [files_of(await send(simulator, body("the ocean")))[0] for _ in range(12)]

    pixels = {opened(file).convert("RGB").tobytes() for file in files}
    assert len(pixels) == 3  # 24 drawings over 8 scenes


def _correlation(first: bytes, second: bytes) -> float:
    """Return Pearson's r of two images as 32x32 greys."""
    small = [
        list(Image.open(io.BytesIO(file)).convert("L").resize((32, 32)).tobytes())
        for file in (first, second)
    ]
    means = [sum(levels) / len(levels) for levels in small]
    a, b = ([level - mean for level in levels] for levels, mean in zip(small, means, strict=True))
    shared = sum(x * y for x, y in zip(a, b, strict=True))
    return shared / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
