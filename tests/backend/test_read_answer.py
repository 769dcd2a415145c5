"""Reading one body: which image is the candidate, which usage is believed, what is optional."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from nanobatch.backend.answer import read_answer
from nanobatch.errors import TransientError
from nanobatch.models import TokenUsage
from tests.backend.wire import answer_json

if TYPE_CHECKING:
    from nanobatch.backend import Reply


def read(answer: str | bytes | dict[str, Any]) -> Reply:
    return read_answer(
        json.dumps(answer) if isinstance(answer, dict) else answer, latency_seconds=1.5
    )


def image(content: bytes, **more: Any) -> dict[str, Any]:
    data = base64.b64encode(content).decode()
    return {"inlineData": {"mimeType": "image/png", "data": data}, **more}


def with_usage(**usage: Any) -> TokenUsage | None:
    return read({"candidates": [], "usageMetadata": usage}).usage


def image_usage(**usage: Any) -> TokenUsage | None:
    candidate = {"content": {"parts": [image(b"1")]}, "finishReason": "STOP"}
    return read({"candidates": [candidate], "usageMetadata": usage}).usage


# The last image that is no thought is the candidate.


def test_the_last_image_that_is_no_thought_comes_last() -> None:
    reply = read(
        answer_json(
            image(b"draft", thought=True),
            {"text": "thinking", "thought": True},
            image(b"first"),
            image(b"second"),
            image(b"afterthought", thought=True),
        )
    )

    assert reply.images == (b"draft", b"afterthought", b"first", b"second")


def test_if_all_images_are_thoughts_the_last_of_them_is_the_candidate() -> None:
    reply = read(answer_json(image(b"a", thought=True), image(b"b", thought=True)))

    assert reply.images == (b"a", b"b")


def test_images_of_all_candidates_are_read_and_the_first_says_why_it_ended() -> None:
    candidates = [
        {"content": {"parts": [image(b"one")]}, "finishReason": "STOP"},
        {"content": {"parts": [image(b"two")]}, "finishReason": "MAX_TOKENS"},
    ]

    reply = read({"candidates": candidates})

    assert reply.images == (b"one", b"two")
    assert reply.finish_reason == "STOP"


def test_snake_case_is_read_too() -> None:
    data = base64.b64encode(b"snake").decode()

    assert read(answer_json({"inline_data": {"data": data}})).images == (b"snake",)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("+/+/", b"\xfb\xff\xbf"),
        ("-_-_", b"\xfb\xff\xbf"),
        ("QUI=", b"AB"),
        ("QUI", b"AB"),  # no padding
        ("Q\nUI\r\n", b"AB"),  # broken into lines
        ("QUJD====", b"ABC"),
        ("A", b"A"),  # one character is no base64
        ("@@@", b"@@@"),  # nor is this
        ("@@ no base64 @@", b"@@ no base64 @@"),  # though most of it are its digits
        ("QU=I", b"QU=I"),
        ("h\u00e9", "h\u00e9".encode()),
    ],
)
def test_base64_of_either_alphabet_is_decoded_and_the_rest_kept(text: str, content: bytes) -> None:
    reply = read(answer_json({"inlineData": {"data": text}}))

    assert reply.images == (content,)
    assert reply.usage == TokenUsage(prompt_tokens=10, image_tokens=1120, text_tokens=80)


@pytest.mark.parametrize("blob", [None, 5, [], {}, {"data": ""}, {"data": None}, {"data": 5}])
def test_a_part_without_bytes_is_no_image(blob: object) -> None:
    assert read(answer_json({"inlineData": blob})).images == ()


# Usage: all output that is not IMAGE is text.


def test_text_tokens_are_all_output_beside_the_image() -> None:
    usage = image_usage(
        promptTokenCount=7,
        candidatesTokenCount=1230,
        totalTokenCount=1417,
        thoughtsTokenCount=180,
        candidatesTokensDetails=[{"modality": "IMAGE", "tokenCount": 1120}],
        promptTokensDetails=[{"modality": "IMAGE", "tokenCount": 7}],
        serviceTier="standard",
        trafficType={"odd": []},
    )

    # 1,417 - 7 = 1,410 out; 1,410 - 1,120 = 290 of text, 180 of them thinking
    assert usage == TokenUsage(
        prompt_tokens=7, image_tokens=1120, text_tokens=290, thought_tokens=180
    )


def test_a_refusal_that_counts_its_thinking_twice_is_billed_once() -> None:
    usage = with_usage(
        promptTokenCount=1119,
        candidatesTokenCount=240,
        thoughtsTokenCount=240,
        totalTokenCount=1359,
    )

    assert usage == TokenUsage(
        prompt_tokens=1119, image_tokens=0, text_tokens=240, thought_tokens=240
    )


def test_a_blocked_prompt_has_no_total() -> None:
    usage = with_usage(promptTokenCount=1919, candidatesTokenCount=0)

    assert usage == TokenUsage(prompt_tokens=1919, image_tokens=0, text_tokens=0)


def test_without_a_total_the_sum_is_taken() -> None:
    usage = image_usage(
        promptTokenCount=10,
        candidatesTokenCount=1200,
        thoughtsTokenCount=100,
        candidatesTokensDetails=[{"modality": "IMAGE", "tokenCount": 1120}],
    )

    assert usage == TokenUsage(
        prompt_tokens=10, image_tokens=1120, text_tokens=180, thought_tokens=100
    )


def test_several_image_details_are_added() -> None:
    usage = image_usage(
        promptTokenCount=10,
        totalTokenCount=2260,
        candidatesTokensDetails=[
            {"modality": "IMAGE", "tokenCount": 1120},
            {"modality": "TEXT", "tokenCount": 10},
            {"modality": "IMAGE", "tokenCount": 1120.0},
            {"modality": "AUDIO", "tokenCount": 99},
            None,
            {"modality": "IMAGE"},
        ],
    )

    assert usage == TokenUsage(prompt_tokens=10, image_tokens=2240, text_tokens=10)


IMAGE = [{"modality": "IMAGE", "tokenCount": 1120}]


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"totalTokenCount": 1210, "candidatesTokensDetails": IMAGE},  # no prompt
        {"promptTokenCount": -1, "totalTokenCount": 1210, "candidatesTokensDetails": IMAGE},
        {"promptTokenCount": True, "totalTokenCount": 1210, "candidatesTokensDetails": IMAGE},
        {"promptTokenCount": 10, "totalTokenCount": 5, "candidatesTokensDetails": IMAGE},
        {"promptTokenCount": 10, "totalTokenCount": 1000, "candidatesTokensDetails": IMAGE},
        {"promptTokenCount": 10, "totalTokenCount": 1210},  # an image that no detail counts
        {"promptTokenCount": 10, "totalTokenCount": 1210, "candidatesTokensDetails": "IMAGE"},
        {"promptTokenCount": 10, "candidatesTokensDetails": IMAGE},
        {"promptTokenCount": 10, "totalTokenCount": 1210, "thoughtsTokenCount": 81,
         "candidatesTokensDetails": IMAGE},
        {"promptTokenCount": 10**30, "totalTokenCount": 10**31},
        {"promptTokenCount": "9" * 5000, "totalTokenCount": 1210},
    ],
)  # fmt: skip
def test_usage_that_does_not_add_up_is_no_usage(usage: dict[str, Any]) -> None:
    assert image_usage(**usage) is None


@pytest.mark.parametrize("usage", [None, [], "x", 5])
def test_usage_of_another_type_is_no_usage_and_the_image_stays(usage: object) -> None:
    reply = read(answer_json(image(b"x"), usageMetadata=usage))

    assert reply.usage is None
    assert reply.images == (b"x",)


# Everything else is optional.


@pytest.mark.parametrize(
    "candidate",
    [{}, {"content": None}, {"content": {}}, {"content": {"parts": None}},
     {"content": {"parts": {}}}, {"content": {"parts": [None, 1, "x", []]}},
     {"content": {"parts": [{"text": None}, {"text": 7}]}}],
)  # fmt: skip
def test_an_empty_candidate_is_an_empty_reply(candidate: dict[str, Any]) -> None:
    reply = read({"candidates": [candidate]})

    assert reply.images == ()
    assert reply.text == ""
    assert reply.finish_reason == ""
    assert reply.latency_seconds == 1.5


def test_text_is_joined_and_cut_at_4000_characters() -> None:
    parts = [{"text": "a" * 10}, {"text": "b" * 10_000}]

    reply = read(answer_json(*parts))

    assert reply.text == "a" * 10 + "\n" + "b" * 3989


def test_half_an_emoji_costs_no_image_and_no_utf_8_error() -> None:
    body = answer_json(image(b"paid"), {"text": "half \ud83d emoji"}, responseId="\udfff")

    reply = read(body)

    assert reply.images == (b"paid",)
    assert reply.text == "half \\ud83d emoji"
    assert reply.response_id == "\\udfff"


def test_no_text_of_the_model_can_steer_a_terminal() -> None:
    body = {
        "candidates": [
            {
                "content": {"parts": [{"text": "red \x1b[31m\u202eand\x00 two\nlines"}]},
                "finishReason": "STOP\x1b[2J",
            }
        ],
        "promptFeedback": {"blockReason": "OTHER\x07"},
    }

    reply = read(body)

    assert reply.text == "red  [31m and  two\nlines"
    assert reply.finish_reason == "STOP [2J"
    assert reply.block_reason == "OTHER "


def test_usage_that_stands_there_twice_is_no_usage_and_the_image_stays() -> None:
    once = answer_json(image(b"paid"))
    usage = once[once.index('"usageMetadata"') : -1]
    twice = f"{once[:-1]}, {usage}}}"

    for body in (twice, twice.encode()):
        reply = read_answer(body, latency_seconds=1.5)

        assert reply.images == (b"paid",)
        assert reply.usage is None
    assert read(once).usage is not None


def test_of_any_other_key_that_stands_there_twice_the_last_one_counts() -> None:
    body = '{"candidates": [], ' + answer_json(image(b"paid"))[1:]

    reply = read(body)

    assert reply.images == (b"paid",)
    assert reply.usage is not None


def test_words_of_any_length_are_cut() -> None:
    answer = {"candidates": [{"finishReason": "F" * 5000}], "responseId": "R" * 5000}

    reply = read({**answer, "promptFeedback": {"blockReason": "B" * 5000}})

    assert (len(reply.finish_reason), len(reply.response_id), len(reply.block_reason)) == (
        200,
        200,
        200,
    )


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"null", b"[]", b"{}", b"5", b'"usageMetadata"', b"{} {}", b"\xff\xfe",
     b"\xef\xbb\xbf" + answer_json().encode(), answer_json().encode("utf-16"),
     answer_json()[:-1].encode(), answer_json().encode() + b"x",
     b'{"error": {"code": 500}}', b"[" * 200_000, b'{"candidates": ' + b"9" * 5000 + b"}",
     b'{"candidates": [\xff]}', b"<html></html>"],
)  # fmt: skip
def test_what_is_no_answer_is_unreadable_and_of_unknown_cost(body: bytes) -> None:
    with pytest.raises(TransientError) as caught:
        read(body)

    error = caught.value
    assert (error.kind, error.status, error.is_unknown_money) == ("unreadable", 200, True)
    assert error.body == body
    assert not error.slow_down


def test_a_reply_does_not_show_its_images() -> None:
    assert "secret pixels" not in repr(read(answer_json(image(b"secret pixels"))))
