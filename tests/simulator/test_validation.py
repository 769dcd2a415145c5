"""What Gemini refuses is refused, with its status and its words, and costs nothing."""

from __future__ import annotations

from datetime import date
from typing import Any

import httpx2
import pytest

from nanobatch.simulator import Simulator
from tests.simulator.wire import BANANA, KEY, LITE, PRO, SMALL, body, png, send

pytestmark = pytest.mark.anyio

NANO_BANANA_2 = "gemini-3.1-flash-image"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"numberOfImages": 2}, "Unknown name \"numberOfImages\" at 'generation_config'"),
        (
            {"imageConfig": {"imageOutputOptions": {}}},
            "Unknown name \"imageOutputOptions\" at 'generation_config.image_config'",
        ),
        ({"imageConfig": {"imageSize": "2K"}}, "Image size 2K is not supported"),
        ({"imageConfig": {"imageSize": "1k"}}, "Image size 1k is not supported"),
        ({"imageConfig": {"aspectRatio": "7:5"}}, "Aspect ratio 7:5 is not supported"),
        ({"candidateCount": 2}, "Multiple candidates is not enabled"),
        ({"thinkingConfig": {"thinkingLevel": "MEDIUM"}}, "Thinking level MEDIUM"),
        ({"responseModalities": ["TEXT"]}, "response modalities"),
        ({"responseModalities": ["SMELL"]}, "response_modalities"),
        ({"imageConfig": "1K"}, "expected an object"),
    ],
)
async def test_a_config_that_cannot_be_drawn_is_a_400(config: dict[str, Any], message: str) -> None:
    async with Simulator() as simulator:
        response = await send(simulator, body(**config))

    error = response.json()["error"]
    assert response.status_code == 400
    assert error["status"] == "INVALID_ARGUMENT"
    assert message in error["message"]
    assert simulator.bill.requests == 1
    assert simulator.bill.nano_usd == 0


@pytest.mark.parametrize(
    ("json", "message"),
    [
        ([], "Invalid JSON payload"),
        ({}, "contents is not specified"),
        ({"contents": [{"parts": []}]}, "must not be empty"),
        ({"contents": [{"parts": [{}]}]}, "required oneof field"),
        ({"contents": [{"parts": [{"text": " "}]}]}, "must have a text parameter"),
        ({"prompt": "a"}, 'Unknown name "prompt"'),
        (
            {"contents": [{"parts": [{"inlineData": {"mimeType": "text/plain", "data": ""}}]}]},
            "Unsupported MIME type",
        ),
        (
            {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "?"}}]}]},
            "Base64 decoding failed",
        ),
    ],
)
async def test_contents_that_cannot_be_read_are_a_400(json: Any, message: str) -> None:
    async with Simulator() as simulator:
        response = await send(simulator, json)

    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


async def test_input_images_must_be_images_and_not_too_many() -> None:
    async with Simulator() as simulator:
        broken = await send(simulator, body(images=(b"no image",)))
        headless = await send(simulator, body(images=(png()[:60],)))
        many = await send(simulator, body(images=(png(),) * 15))

    assert "Unable to process input image" in broken.json()["error"]["message"]
    assert headless.status_code == 400
    assert "at most 14" in many.json()["error"]["message"]


async def test_pro_has_ten_ratios_and_the_others_fourteen() -> None:
    tall = body(imageConfig={"aspectRatio": "1:8"})

    async with Simulator(pixels=0.1) as simulator:
        pro = await send(simulator, tall, model=PRO)
        banana = await send(simulator, tall, model=BANANA)

    assert (pro.status_code, banana.status_code) == (400, 200)


async def test_the_smallest_size_is_for_nano_banana_2_only() -> None:
    small = body(imageConfig={"imageSize": "512"})

    async with Simulator(pixels=0.1, today=date(2026, 10, 1)) as simulator:
        old = await send(simulator, small, model=NANO_BANANA_2)
        new = await send(simulator, small, model=BANANA)

    assert (old.status_code, new.status_code) == (200, 400)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gemini-9-image", "models/gemini-9-image is not found for API version v1beta, or is not"),
        ("imagen-4.0-generate-001", "is not found for API version v1beta"),
        ("gemini-3-pro-image-preview", "is not found for API version v1beta"),
        (NANO_BANANA_2, f"This model models/{NANO_BANANA_2} is no longer available"),
        ("gemini-2.5-flash-image", "is no longer available to new users"),
    ],
)
async def test_unknown_and_retired_models_are_a_404(model: str, message: str) -> None:
    async with Simulator(today=date(2026, 11, 23)) as simulator:
        response = await send(simulator, model=model)

    assert response.status_code == 404
    assert response.json()["error"]["status"] == "NOT_FOUND"
    assert message in response.json()["error"]["message"]


async def test_a_model_works_until_the_day_it_retires() -> None:
    async with Simulator(pixels=SMALL, today=date(2026, 10, 28)) as simulator:
        before = await send(simulator, model=NANO_BANANA_2)
    async with Simulator(pixels=SMALL, today=date(2026, 10, 29)) as simulator:
        after = await send(simulator, model=NANO_BANANA_2)

    assert (before.status_code, after.status_code) == (200, 404)


async def test_a_key_is_needed_and_must_be_the_right_one() -> None:
    async with Simulator(pixels=SMALL, api_key="right") as simulator:
        none = await send(simulator, headers={})
        wrong = await send(simulator, headers={"x-goog-api-key": "wrong"})
        right = await send(simulator, headers={"x-goog-api-key": "right"})

    assert none.status_code == 403
    assert none.json()["error"]["status"] == "PERMISSION_DENIED"
    assert wrong.status_code == 400
    assert wrong.json()["error"]["details"][0]["reason"] == "API_KEY_INVALID"
    assert right.status_code == 200


async def test_a_body_above_20_mb_is_refused() -> None:
    async with Simulator() as simulator:
        response = await send(simulator, body("x" * (20 * 1024 * 1024)))

    assert response.status_code == 400
    assert "payload size exceeds the limit" in response.json()["error"]["message"]


async def test_the_deadline_of_the_client_is_kept() -> None:
    async with Simulator(latency_seconds=30) as simulator:
        response = await send(simulator, headers={**KEY, "x-server-timeout": "0.05"})

    assert response.status_code == 504
    assert response.json()["error"]["status"] == "DEADLINE_EXCEEDED"
    assert simulator.bill.nano_usd == 0


async def test_counting_tokens_and_listing_models_is_free() -> None:
    async with (
        Simulator(today=date(2026, 11, 23)) as simulator,
        httpx2.AsyncClient(base_url=simulator.base_url, headers=KEY) as client,
    ):
        counted = await client.post(
            f"/v1/models/{LITE}:countTokens", json={"contents": [{"parts": [{"text": "12345"}]}]}
        )
        first = (await client.get("/v1beta/models?pageSize=2")).json()
        second = (
            await client.get(f"/v1beta/models?pageSize=9&pageToken={first['nextPageToken']}")
        ).json()
        one = await client.get(f"/v1beta/models/{LITE}")
        gone = await client.get("/v1beta/models/gemini-2.5-flash-image")

    names = [model["name"] for model in first["models"] + second["models"]]
    assert counted.json()["totalTokens"] == 2
    judges = ["models/gemini-3.1-flash-lite", "models/gemini-3.8-flash"]
    assert names == [f"models/{LITE}", f"models/{BANANA}", f"models/{PRO}", *judges]
    assert "nextPageToken" not in second
    assert "generateContent" in one.json()["supportedGenerationMethods"]
    assert gone.status_code == 404
    assert simulator.bill.requests == 0


@pytest.mark.parametrize("method", ["embedContent", "predict", "streamGenerateContent"])
async def test_methods_that_are_not_simulated_are_a_404(method: str) -> None:
    async with Simulator() as simulator, httpx2.AsyncClient() as client:
        response = await client.post(
            f"{simulator.base_url}/v1beta/models/{LITE}:{method}", json={}, headers=KEY
        )

    assert response.status_code == 404
    assert f"is not supported for {method}" in response.json()["error"]["message"]
