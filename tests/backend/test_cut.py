"""Cutting images out of an answer changes nothing of what is read from it."""

from __future__ import annotations

import base64
import binascii
import json
import mmap
import os

import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobatch.backend.answer import read_answer
from nanobatch.backend.cut import cut
from nanobatch.backend.redact import Redactor

KEY = "AIzaSyTheKeyOfTheseTests-0123456789abcd"
IMAGE = os.urandom(30_000)
TEXT = base64.b64encode(IMAGE).decode()


def answer(*parts: object, indent: int | None = 2) -> bytes:
    usage = {
        "promptTokenCount": 10,
        "totalTokenCount": 1210,
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
    }
    candidate = {"content": {"parts": list(parts)}, "finishReason": "STOP"}
    return json.dumps({"candidates": [candidate], "usageMetadata": usage}, indent=indent).encode()


def image(text: str = TEXT, **fields: object) -> dict[str, object]:
    return {"inlineData": {"mimeType": "image/png", "data": text}, **fields}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("behind", [b"", b'what another answer left in this memory " : data'])
def test_an_image_is_cut_and_read_as_it_was(indent: int | None, behind: bytes) -> None:
    body = answer({"text": 'a "data" of words'}, image(), indent=indent)

    with mmap.mmap(-1, len(body) + 100) as memory:
        memory[: len(body + behind)] = body + behind
        found = cut(memory, Redactor(KEY), size_bytes=len(body))
    reply = read_answer(found.skeleton, images=found.images, latency_seconds=1)

    assert len(found.skeleton) < 1_000
    assert reply.images == (IMAGE,)
    assert reply == read_answer(body, latency_seconds=1)
    assert found.whole() == body


def test_several_images_keep_their_order_thoughts_first() -> None:
    others = [os.urandom(9_000 + n) for n in range(3)]
    texts = [base64.b64encode(one).decode() for one in others]
    body = answer(image(texts[0]), image(texts[1], thought=True), {"text": "x"}, image(texts[2]))

    found = cut(body, Redactor(KEY))
    reply = read_answer(found.skeleton, images=found.images, latency_seconds=1)

    assert reply.images == (others[1], others[0], others[2])
    assert found.whole() == body


@pytest.mark.parametrize(
    "text",
    [
        "A" * 4_095,  # too short to be worth it
        TEXT.replace("+", "-").replace("/", "_"),  # the other alphabet
        TEXT[:-1],  # a length no padding explains
        TEXT[:9_000] + "\n" + TEXT[9_000:],
        TEXT[:9_000] + '"' + TEXT[9_000:],
        TEXT[:9_000] + "\\" + TEXT[9_000:],
        TEXT + "====",
    ],
)
def test_what_is_no_plain_base64_stays_for_the_reader(text: str) -> None:
    body = answer(image(text))

    found = cut(body, Redactor(KEY))

    assert found.images == {}
    assert found.skeleton == body


def test_a_text_that_looks_like_an_image_is_not_cut() -> None:
    quoted = json.dumps({"data": TEXT})  # its quotes are escaped inside of a text

    found = cut(answer({"text": quoted}), Redactor(KEY))

    assert found.images == {}


def test_an_answer_that_breaks_off_within_the_image_is_not_cut() -> None:
    body = answer(image())[:20_000]

    assert cut(body, Redactor(KEY)).skeleton == body


def test_the_key_is_cut_out_of_what_is_not_image() -> None:
    found = cut(answer(image(), {"text": f"your key is {KEY}"}), Redactor(KEY))

    assert KEY.encode() not in found.skeleton
    assert KEY.encode() not in found.whole()
    assert list(found.images.values()) == [IMAGE]


def test_a_flood_of_places_is_not_looked_through() -> None:
    body = b'{"candidates":[' + b'{"data":"x"},' * 1_000 + answer(image()) + b"]}"

    assert cut(body, Redactor(KEY)).images == {}


@given(st.binary(min_size=0, max_size=60), st.integers(0, 90), st.characters(max_codepoint=255))
def test_the_fast_decoder_accepts_nothing_the_strict_one_refuses(
    content: bytes, place: int, character: str
) -> None:
    text = base64.b64encode(content).decode()
    damaged = (text[:place] + character + text[place:]).encode("latin-1")
    try:
        fast = pybase64.b64decode(damaged, validate=True)
    except (binascii.Error, ValueError):
        return

    assert fast == binascii.a2b_base64(damaged, strict_mode=True)
