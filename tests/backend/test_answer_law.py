"""Whatever JSON comes with a 200: a reply or the one error, and never a wrong number."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from nanobatch.backend.answer import read_answer
from nanobatch.errors import TransientError

if TYPE_CHECKING:
    from nanobatch.backend import Reply

NAMES = (
    "candidates", "content", "parts", "text", "thought", "inlineData", "inline_data", "data",
    "mimeType", "finishReason", "finishMessage", "usageMetadata", "promptTokenCount",
    "totalTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "candidatesTokensDetails",
    "modality", "tokenCount", "promptFeedback", "blockReason", "responseId", "IMAGE",
)  # fmt: skip

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(0, 5000)
    | st.floats()
    | st.text(st.characters())  # lone surrogates too
    | st.sampled_from(NAMES)
    | st.integers(0, 5000).map(str)
    | st.binary().map(lambda b: base64.b64encode(b).decode())
)
anything: st.SearchStrategy[Any] = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=6)
    ),
    max_leaves=25,
)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of about the right shape: any field may be missing or be anything."""
    return st.fixed_dictionaries({}, optional={n: s | anything for n, s in fields.items()})


count = st.integers(-1, 3000)
blob = optional(mimeType=st.text(), data=st.binary().map(lambda b: base64.b64encode(b).decode()))
part = optional(text=st.text(), thought=st.booleans(), inlineData=blob, inline_data=blob)
detail = optional(modality=st.sampled_from(["IMAGE", "TEXT"]), tokenCount=count)
answer = optional(
    candidates=st.lists(
        optional(
            content=optional(parts=st.lists(part, max_size=4)),
            finishReason=st.text(),
            finishMessage=st.text(),
        ),
        max_size=3,
    ),
    usageMetadata=optional(
        promptTokenCount=count,
        totalTokenCount=count,
        candidatesTokenCount=count,
        thoughtsTokenCount=count,
        candidatesTokensDetails=st.lists(detail, max_size=3),
    ),
    promptFeedback=optional(blockReason=st.text()),
    responseId=st.text(),
)


def read(body: bytes | str) -> Reply | TransientError:
    """Any other exception is a failed test."""
    try:
        return read_answer(body, latency_seconds=0)
    except TransientError as error:
        return error


def check(body: bytes | str) -> None:
    reply = read(body)
    if isinstance(reply, TransientError):
        assert reply.is_unknown_money
        assert reply.kind == "unreadable"
        return
    for text in (reply.text, reply.finish_reason, reply.response_id, reply.block_reason):
        assert len(text.encode("utf-8")) <= 4 * 4000
    assert all(type(image) is bytes and image for image in reply.images)
    usage = reply.usage
    if usage is None:
        return
    counts = (usage.prompt_tokens, usage.image_tokens, usage.text_tokens)
    assert all(type(number) is int and 0 <= number < 10**13 for number in counts)
    assert 0 <= (usage.thought_tokens or 0) <= usage.text_tokens
    assert usage.image_tokens > 0 or not reply.images


@given(answer | anything)
def test_any_json_is_a_reply_or_the_one_error(value: object) -> None:
    check(json.dumps(value))
    check(json.dumps(value).encode())
    with contextlib.suppress(UnicodeEncodeError):  # what is no UTF-8 cannot be on the wire
        check(json.dumps(value, ensure_ascii=False).encode())


@given(st.binary() | st.text(st.characters()))
def test_any_body_at_all_is_a_reply_or_the_one_error(body: bytes | str) -> None:
    check(body)


@given(answer, st.integers(0, 10_000))
def test_an_answer_cut_anywhere_is_a_reply_or_the_one_error(
    value: dict[str, Any], length: int
) -> None:
    check(json.dumps(value).encode()[:length])
