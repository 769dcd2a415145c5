"""Whatever a provider sends: a reply or a documented error, quickly, and never a wrong number."""

from __future__ import annotations

import base64
import json
import pickle
from copy import deepcopy
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from nanobatch import Gemini, ImageRequest, ProviderError, Reply, TransientError
from nanobatch.backend.answer import read_answer
from nanobatch.backend.translate import fault_of_answer
from nanobatch.simulator import Answer, Simulator
from nanobatch.simulator.studio import Content
from tests.fuzz.mutator import INPUTS, Campaign, Mutator

if TYPE_CHECKING:
    from nanobatch.simulator import Call

KEY = "AIzaSyTheKeyOfTheseTests-0123456789abcd"
IMAGE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(60)).decode()
HTTP_INPUTS = max(60, INPUTS // 50)


def _answer(*parts: dict[str, Any], **top: Any) -> dict[str, Any]:
    usage = {
        "promptTokenCount": 10,
        "candidatesTokenCount": 1200,
        "totalTokenCount": 1250,
        "thoughtsTokenCount": 40,
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
    }
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP"}
    return {"candidates": [candidate], "usageMetadata": usage, "responseId": "r-1", **top}


_BLOB = {"inlineData": {"mimeType": "image/png", "data": IMAGE}}
_GOOD = [
    _answer(_BLOB),
    _answer({"text": "Here you are \U0001f98a"}, {**_BLOB, "thought": True}, _BLOB),
    _answer({"inline_data": {"mime_type": "image/jpeg", "data": "_-8"}}),
    _answer({"text": "I cannot draw that."}),
    _answer(candidates=[], promptFeedback={"blockReason": "PROHIBITED_CONTENT"}),
    _answer(candidates=[{"finishReason": "IMAGE_SAFETY", "finishMessage": "no"}]),
]
_BAD = [
    {
        "error": {
            "code": 429,
            "status": "RESOURCE_EXHAUSTED",
            "message": f"Quota exceeded, limit: 0, key={KEY}",
            "details": [
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.5s"},
                {"violations": [{"quotaId": "GenerateRequestsPerDayPerProject"}]},
                {"reason": "API_KEY_INVALID"},
            ],
        }
    },
    [{"error": {"code": 400, "message": "API key not valid", "status": "FAILED_PRECONDITION"}}],
]
_TOKENS = [
    *(b'"%s":' % name for name in (b"data", b"thought", b"usageMetadata", b"parts", b"error")),
    b"null", b"true", b"-1", b"1e999", b"NaN", b"-Infinity", b"1" * 400, b'"12"', b"1.0", b"[]",
    b"{}", b"[" * 5000, b'{"parts":' * 300, b"\\ud800", b'"\\u0000"', b"\xff\xfe", b"\xef\xbb\xbf",
    b"<html>", b"limit: 0", b"PerDay", b'"retryDelay": "1e400s"', b"=" * 50, b"%41", b"\0",
]  # fmt: skip

BODIES = Mutator(
    corpus=[
        *(json.dumps(body).encode() for body in (*_GOOD, *_BAD)),
        json.dumps(_GOOD[1], ensure_ascii=False, indent=1).encode(),
        b"<html><body>502 Bad Gateway</body></html>",
        b"",
    ],
    tokens=_TOKENS,
)


_ODD: tuple[Any, ...] = (
    None, True, -1, 1.0, 10**30, 1e300, "", "12", "\0", "\ud800", "a" * 300_000, [], {}, [[]],
    [None], {"": {}}, IMAGE, "IMAGE",
)  # fmt: skip


def _body(number: int) -> bytes:
    """Return a body that is almost right: every other one is JSON still."""
    return BODIES.make(number) if number % 2 else _odd_json(Random(number))


def _odd_json(random: Random) -> bytes:
    """Return an answer or an error in which some values are something else."""
    body: Any = json.loads(json.dumps(random.choice([*_GOOD, *_BAD])))
    for _ in range(random.choice((1, 1, 2, 5))):
        place = body
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key: Any = random.choice(keys or [None])
            inner = place[key] if keys else None
            if not isinstance(inner, dict | list) or not inner or random.random() < 0.2:
                break
            place = inner
        odd = deepcopy(random.choice(_ODD))
        if isinstance(place, dict):
            place[random.choice((key or "x", "data", "thought"))] = odd
        else:
            place[key : (key or 0) + random.randrange(2)] = [odd] * 2
    return json.dumps(body).encode()


def _check_reply(reply: Reply) -> str:
    """A reply is fit for the ledger: text that can be stored, counts that can be billed."""
    for text in (reply.text, reply.finish_reason, reply.response_id, reply.block_reason):
        assert len(text.encode("utf-8")) <= 4 * 4000
    assert all(type(image) is bytes and image for image in reply.images)
    usage = reply.usage
    if usage is not None:
        counts = (usage.prompt_tokens, usage.image_tokens, usage.text_tokens)
        assert all(type(number) is int and 0 <= number < 10**13 for number in counts)
        assert usage.image_tokens > 0 or not reply.images
    return "replies"


def _check_fault(fault: ProviderError) -> str:
    """A fault is one printable line without the key, and survives a process boundary."""
    assert str(fault)
    assert str(fault).isprintable()
    assert len(str(fault)) < 1000
    assert KEY not in str(fault)
    assert str(pickle.loads(pickle.dumps(fault))) == str(fault)  # noqa: S301 - our own
    if isinstance(fault, TransientError) and fault.retry_after_seconds is not None:
        assert 0 <= fault.retry_after_seconds <= 600
    return type(fault).__name__


def _read(body: bytes) -> str:
    try:
        reply = read_answer(body, latency_seconds=0)
    except TransientError as error:
        fault = error
    else:
        return _check_reply(reply)
    assert fault.is_unknown_money, "a 200 that nobody can read may have cost something"
    return _check_fault(fault)


def _read_fault(body: bytes) -> str:
    random = Random(body)
    status = random.choice((100, 201, 204, 301, 400, 401, 402, 403, 404, 408, 429, 500, 503, 999))
    wait = random.choice(("", "7", "-1", "nan", "1e999", "Tue, 24 Nov 2026 09:00:00 GMT", "\u0667"))
    location = body[:60].decode("latin-1")
    return _check_fault(fault_of_answer(status, {"retry-after": wait, "location": location}, body))


@pytest.mark.timeout(0)  # the long version takes a while
def test_any_body_of_a_200_is_a_reply_or_the_one_error() -> None:
    campaign = Campaign().run(_body, _read, usually=1500)

    assert campaign.outcomes.keys() == {"replies", "TransientError"}


@pytest.mark.timeout(0)
def test_any_body_of_another_answer_is_a_documented_error() -> None:
    campaign = Campaign().run(_body, _read_fault, usually=1500)

    assert campaign.outcomes.keys() == {
        "AccountError",
        "BadRequestError",
        "ModelGoneError",
        "TransientError",
    }


@pytest.mark.timeout(0)
async def test_any_body_through_the_sdk_over_http_is_a_reply_or_a_documented_error() -> None:
    def answer(call: Call) -> Answer:
        status = Random(call.number).choice((200, 200, 200, 400, 403, 404, 429, 500, 503))
        body = _body(call.number)
        return Answer(status=status, compose=lambda _: Content(body=body))

    outcomes: set[str] = set()
    async with (
        Simulator(answer=answer) as server,
        Gemini(KEY, base_url=server.base_url, timeout_seconds=20) as gemini,
    ):
        for number in range(HTTP_INPUTS):
            request = ImageRequest(model="gemini-3.1-flash-lite-image", prompt=f"fox {number}")
            try:
                outcomes.add(_check_reply(await gemini.generate(request)))
            except ProviderError as fault:
                outcomes.add(_check_fault(fault))

    assert server.bill.requests == HTTP_INPUTS
    assert {"replies", "TransientError", "BadRequestError", "ModelGoneError"} <= outcomes
