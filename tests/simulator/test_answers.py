"""Every constructor of `answers` does on the wire what it says."""

from __future__ import annotations

import gzip
import json

import anyio
import anyio.to_thread
import httpx2
import pytest

from nanobatch.simulator import Answer, Simulator, answers
from tests.simulator.wire import (
    BANANA,
    KEY,
    LITE,
    PRO,
    SMALL,
    answering,
    body,
    contrast,
    files_of,
    opened,
    send,
)

pytestmark = pytest.mark.anyio


async def ask(answer: Answer, *, model: str = LITE) -> httpx2.Response:
    async with Simulator(pixels=SMALL, answer=answering(answer)) as simulator:
        return await send(simulator, model=model)


# Images


@pytest.mark.parametrize(("kind", "low", "high"), [("good", 12, 128), ("blank", 0, 0.01),
                                                   ("dark", 0, 2), ("blurred", 4, 128),
                                                   ("noise", 40, 128)])  # fmt: skip
async def test_kinds_of_images_differ_in_contrast(kind: str, low: float, high: float) -> None:
    response = await ask(answers.image(kind))  # type: ignore[arg-type]  # a parameter is a str

    assert low <= contrast(files_of(response)[0]) <= high


async def test_a_blurred_image_has_no_detail() -> None:
    good, blurred = [
        files_of(await ask(answer))[0] for answer in (answers.image(), answers.image("blurred"))
    ]

    assert len(blurred) < len(good) / 2


async def test_a_truncated_image_lacks_its_end() -> None:
    file = files_of(await ask(answers.truncated_image()))[0]

    assert file.startswith(b"\x89PNG")
    assert b"IEND" not in file[-16:]
    with pytest.raises(OSError, match="truncated"):
        opened(file)


async def test_several_images_are_different_pictures() -> None:
    files = files_of(await ask(answers.several_images(3)))

    assert len(files) == 3
    assert len({opened(file).tobytes() for file in files}) >= 2


async def test_a_thought_comes_before_its_image() -> None:
    response = await ask(answers.thought_then_image(), model=BANANA)

    parts = response.json()["candidates"][0]["content"]["parts"]
    assert [part.get("thought", False) for part in parts] == [True, True, False]
    assert ["inlineData" in part for part in parts] == [False, True, True]
    assert response.json()["usageMetadata"]["candidatesTokensDetails"][0]["tokenCount"] == 2240


async def test_text_can_come_before_the_image() -> None:
    parts = (await ask(answers.text_then_image())).json()["candidates"][0]["content"]["parts"]

    assert [sorted(part) for part in parts] == [["text"], ["inlineData"]]


async def test_a_mislabelled_image_is_a_jpeg_called_png() -> None:
    response = await ask(answers.mislabelled())

    part = response.json()["candidates"][0]["content"]["parts"][0]
    assert part["inlineData"]["mimeType"] == "image/png"
    assert files_of(response)[0].startswith(b"\xff\xd8\xff")


async def test_a_bomb_is_small_and_claims_to_be_enormous() -> None:
    file = files_of(await ask(answers.bomb()))[0]

    assert len(file) < 1000
    assert int.from_bytes(file[16:20]) == int.from_bytes(file[20:24]) == 20_000


async def test_odd_formats() -> None:
    svg = files_of(await ask(answers.svg()))[0]
    animated = files_of(await ask(answers.animated()))[0]

    assert svg.startswith(b"<svg")
    assert b"acTL" in animated
    assert getattr(opened(animated), "n_frames", 1) == 2


async def test_usage_can_be_missing() -> None:
    response = await ask(answers.without_usage())

    assert "usageMetadata" not in response.json()
    assert contrast(files_of(response)[0]) > 10


async def test_base64_can_be_bad() -> None:
    answer = (await ask(answers.bad_base64())).json()

    data = answer["candidates"][0]["content"]["parts"][0]["inlineData"]["data"]
    assert "@" in data
    assert answer["usageMetadata"]["candidatesTokensDetails"][0]["tokenCount"] == 1120


# Refusals


async def test_a_blocked_prompt_has_no_candidates() -> None:
    answer = (await ask(answers.blocked("PROHIBITED_CONTENT"))).json()

    assert "candidates" not in answer
    assert answer["promptFeedback"]["blockReason"] == "PROHIBITED_CONTENT"
    assert answer["usageMetadata"] == {"promptTokenCount": 4, "candidatesTokenCount": 0}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (answers.image_refused(), "IMAGE_SAFETY"),
        (answers.image_refused("IMAGE_RECITATION"), "IMAGE_RECITATION"),
        (answers.prohibited(), "IMAGE_PROHIBITED_CONTENT"),
    ],
)
async def test_a_withheld_image_names_its_reason(answer: Answer, reason: str) -> None:
    candidate = (await ask(answer)).json()["candidates"][0]

    assert candidate["finishReason"] == reason
    assert candidate["finishMessage"]
    assert candidate["content"] == {"role": "model"}


@pytest.mark.parametrize(("quirk", "is_repeated"), [(True, True), (False, False), (None, True)])
async def test_the_usage_quirk_of_pro_is_an_option(quirk: bool | None, is_repeated: bool) -> None:
    usage = (await ask(answers.image_refused(usage_quirk=quirk), model=PRO)).json()["usageMetadata"]

    assert (usage.get("candidatesTokenCount") == usage["thoughtsTokenCount"]) is is_repeated
    assert usage["totalTokenCount"] == 4 + usage["thoughtsTokenCount"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(answers.no_image("No."), "NO_IMAGE"), (answers.text_only("No."), "STOP")],
)
async def test_text_can_come_instead_of_an_image(answer: Answer, reason: str) -> None:
    candidate = (await ask(answer)).json()["candidates"][0]

    assert candidate["finishReason"] == reason
    assert candidate["content"]["parts"] == [{"text": "No."}]


async def test_empty_shapes() -> None:
    null = (await ask(answers.parts_null())).json()["candidates"][0]
    empty = (await ask(answers.empty_content())).json()["candidates"][0]
    unknown = (await ask(answers.unknown_finish_reason())).json()["candidates"][0]

    assert null["content"]["parts"] is None
    assert empty == {"content": {}, "finishReason": "STOP"}
    assert unknown["finishReason"] == "IMAGE_UNDER_CONSIDERATION"


# Errors


@pytest.mark.parametrize(
    ("answer", "status", "word", "message"),
    [
        (answers.error(418, "tea", "TEAPOT"), 418, "TEAPOT", "tea"),
        (answers.rate_limited(), 429, "RESOURCE_EXHAUSTED", "exceeded your current quota"),
        (answers.daily_quota(), 429, "RESOURCE_EXHAUSTED", "exceeded your current quota"),
        (answers.quota_zero(), 429, "RESOURCE_EXHAUSTED", "limit: 0,"),
        (answers.spend_limit(), 429, "RESOURCE_EXHAUSTED", "spend-based rate limit"),
        (answers.capacity(), 429, "RESOURCE_EXHAUSTED", "Resource has been exhausted"),
        (answers.no_credit(), 402, "RESOURCE_EXHAUSTED", "prepayment credits are depleted"),
        (answers.invalid_key(), 400, "INVALID_ARGUMENT", "API key not valid"),
        (answers.forbidden(), 403, "PERMISSION_DENIED", "API key"),
        (answers.not_found(), 404, "NOT_FOUND", f"models/{LITE} is not found"),
        (answers.overloaded(), 503, "UNAVAILABLE", "high demand"),
        (answers.internal(), 500, "INTERNAL", "internal error"),
        (answers.deadline(), 504, "DEADLINE_EXCEEDED", "Deadline expired"),
    ],
)
async def test_errors_are_worded_as_google_words_them(
    answer: Answer, status: int, word: str, message: str
) -> None:
    response = await ask(answer)

    error = response.json()["error"]
    assert response.status_code == error["code"] == status
    assert error["status"] == word
    assert message in error["message"]


async def test_the_daily_quota_still_names_a_short_wait() -> None:
    details = (await ask(answers.daily_quota())).json()["error"]["details"]

    violation = details[1]["violations"][0]
    assert violation["quotaId"] == "GenerateRequestsPerDayPerProjectPerModel"
    assert details[2]["retryDelay"] == "7s"


async def test_a_rate_limit_names_a_wait_only_when_asked_to() -> None:
    named = (await ask(answers.rate_limited(1.5))).json()["error"]
    silent = (await ask(answers.rate_limited())).json()["error"]

    assert named["details"][-1]["retryDelay"] == "1.5s"
    assert "Please retry in 1.5s." in named["message"]
    assert not any("retryDelay" in detail for detail in silent["details"])


async def test_an_invalid_key_has_its_reason() -> None:
    details = (await ask(answers.invalid_key())).json()["error"]["details"]

    assert details[0]["reason"] == "API_KEY_INVALID"


async def test_an_overload_can_be_a_web_page() -> None:
    response = await ask(answers.overloaded_html())

    assert response.status_code == 503
    assert response.headers["content-type"].startswith("text/html")
    assert response.text.startswith("<!DOCTYPE html>")


async def test_a_redirect_points_elsewhere() -> None:
    response = await ask(answers.redirect("http://127.0.0.1:9/elsewhere"))

    assert response.status_code == 307
    assert response.headers["location"] == "http://127.0.0.1:9/elsewhere"


# Faults on the way


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (answers.empty_body(), ""),
        (answers.json_value("null"), "null"),
        (answers.json_value("[]"), "[]"),
        (answers.json_value("{}"), "{}"),
    ],
)
async def test_a_200_can_hold_next_to_nothing(answer: Answer, text: str) -> None:
    response = await ask(answer)

    assert response.status_code == 200
    assert response.text == text


@pytest.mark.parametrize("answer", [answers.not_json(), answers.truncated_json()])
async def test_a_200_can_be_unreadable(answer: Answer) -> None:
    response = await ask(answer)

    assert response.status_code == 200
    assert len(response.content) == int(response.headers["content-length"]) > 0
    with pytest.raises(json.JSONDecodeError):
        response.json()


async def test_a_body_can_be_endless() -> None:
    seen = 0

    async with Simulator(answer=answering(answers.endless_body())) as simulator:
        url = f"{simulator.base_url}/v1beta/models/{LITE}:generateContent"
        async with (
            httpx2.AsyncClient() as client,
            client.stream("POST", url, json=body(), headers=KEY) as response,
        ):
            async for chunk in response.aiter_raw():
                seen += len(chunk)
                if seen > 4_000_000:
                    break

    assert response.status_code == 200
    assert simulator.bill.lines[0].answered is False
    assert simulator.bill.in_flight == 0


async def test_a_body_can_be_compressed_unasked() -> None:
    async with Simulator(answer=answering(answers.gzipped(answers.text_only("No.")))) as simulator:
        url = f"{simulator.base_url}/v1beta/models/{LITE}:generateContent"
        headers = {**KEY, "accept-encoding": "identity"}
        async with (
            httpx2.AsyncClient() as client,
            client.stream("POST", url, json=body(), headers=headers) as response,
        ):
            raw = b"".join([chunk async for chunk in response.aiter_raw()])

    assert response.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(raw))["candidates"][0]["finishReason"] == "STOP"


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_reset_is_a_reset_and_a_close_is_a_close() -> None:
    given = (answers.reset(), answers.close())

    async with Simulator(answer=answering(*given)) as simulator:
        with pytest.raises(anyio.BrokenResourceError):
            await _raw(simulator)
        closed = await _raw(simulator)

    assert closed == b""


async def test_a_cut_body_is_shorter_than_announced() -> None:
    async with Simulator(pixels=SMALL, answer=answering(answers.cut(0.25))) as simulator:
        received = await _raw(simulator)

    head, _, rest = received.partition(b"\r\n\r\n")
    announced = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert len(rest) == announced // 4


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize(
    ("answer", "low", "high"), [(answers.stall(), 0, 0), (answers.stall_in_body(), 20, 10**7)]
)
async def test_a_stall_lasts_until_the_client_leaves(answer: Answer, low: int, high: int) -> None:
    received = bytearray()

    async with Simulator(pixels=SMALL, answer=answering(answer)) as simulator:
        with anyio.move_on_after(0.2) as patience:
            await _raw(simulator, received)
        with anyio.fail_after(5):
            while simulator.bill.in_flight:
                await anyio.lowlevel.checkpoint()

    assert patience.cancelled_caught
    assert low <= len(received) <= high


async def test_a_slow_body_arrives_in_the_end() -> None:
    started = anyio.current_time()
    response = await ask(answers.slow(0.1, answers.text_only("slow")))

    assert anyio.current_time() - started >= 0.1
    assert response.json()["candidates"][0]["content"]["parts"] == [{"text": "slow"}]


async def test_a_dripping_body_is_complete() -> None:
    response = await ask(answers.drip(0, answers.text_only("drip")))

    assert response.json()["candidates"][0]["content"]["parts"] == [{"text": "drip"}]


async def test_any_answer_can_come_later() -> None:
    started = anyio.current_time()
    response = await ask(answers.capacity().after(0.1))

    assert response.status_code == 429
    assert anyio.current_time() - started >= 0.1


def test_every_constructor_is_tried_here() -> None:
    """A new answer needs a test: its name must stand in a file of this folder."""
    from pathlib import Path

    files = Path(__file__).parent.glob("test_*.py")
    text = "".join(file.read_text(encoding="utf-8") for file in files)

    assert [name for name in answers.__all__ if f"answers.{name}(" not in text] == []


async def _raw(simulator: Simulator, received: bytearray | None = None) -> bytes:
    """Send one request over a bare socket and read until the end."""
    received = bytearray() if received is None else received
    content = json.dumps(body()).encode()
    head = (
        f"POST /v1beta/models/{LITE}:generateContent HTTP/1.1\r\nHost: x\r\n"
        f"x-goog-api-key: k\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    port = int(simulator.base_url.rsplit(":", 1)[1])
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(head.encode() + content)
        try:
            while True:
                received += await stream.receive()
        except anyio.EndOfStream:
            return bytes(received)
