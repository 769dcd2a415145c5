"""A line of results: paid for, so read with patience; hostile, so believed in nothing."""

from __future__ import annotations

import base64
import json
import pickle
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobatch.backend import Gemini, lines_of
from nanobatch.backend.batch import lines
from nanobatch.backend.batch.result import read_line
from nanobatch.errors import (
    AccountError,
    BadRequestError,
    ModelGoneError,
    ProviderError,
    TransientError,
)
from tests.backend.batching import line
from tests.backend.wire import KEY, answer_json

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1024 * 1024
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 400
IMAGE = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(PNG).decode()}}
ANSWER: dict[str, Any] = json.loads(answer_json(IMAGE))


def fault_in(text: bytes) -> tuple[str | None, ProviderError]:
    read = read_line(text)
    assert read.reply is None
    assert read.fault is not None
    return read.key, read.fault


def assert_unreadable(text: bytes, *, key: str | None, says: str = "") -> None:
    found, fault = fault_in(text)
    assert isinstance(fault, TransientError)
    assert (fault.kind, fault.status, fault.is_unknown_money) == ("unreadable", None, True)
    assert str(fault).startswith("A line of the results cannot be read (")
    assert says in str(fault)
    assert found == key


def test_an_answer_is_read_as_any_other() -> None:
    read = Gemini(KEY).read_line(line(key="k1", response=ANSWER) + b"\n")

    assert (read.key, read.fault) == ("k1", None)
    assert read.reply is not None
    assert read.reply.images == (PNG,)
    assert read.reply.usage is not None
    usage = read.reply.usage
    assert (usage.prompt_tokens, usage.image_tokens, usage.text_tokens) == (10, 1120, 80)
    assert read.reply.latency_seconds == 0


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"response": ANSWER, "key": "k1"}).encode(),
        json.dumps({"key": "k1", "response": ANSWER}, indent=None, separators=(",", ":")).encode(),
        b"  " + line(key="k1", response=ANSWER) + b"\r",
        line(key="k1", response=ANSWER, metadata={"error": 1, "key": 2, "response": 3}),
        line(key="k1", response={**ANSWER, "key": "x", "deep": [[{"key": []}]]}),
        line(key="k1", response=ANSWER, error=None),
        line(key="k1", response=ANSWER, error={"code": 13, "message": "both"}),
    ],
)
def test_an_answer_is_found_wherever_it_stands(text: bytes) -> None:
    read = read_line(text)

    assert read.key == "k1"
    assert read.reply is not None
    assert read.reply.images == (PNG,)


def test_an_answer_without_a_key_is_an_answer_nobody_asked_for() -> None:
    read = read_line(line(response=ANSWER))

    assert read.key is None
    assert read.reply is not None
    assert read.reply.usage is not None


@pytest.mark.parametrize("key", [7, None, [], {}, "", "x" * 201, "a\nb", "half \ud83e", True])
def test_a_key_that_is_none_is_not_taken(key: object) -> None:
    read = read_line(line(key=key, response=ANSWER))

    assert read.key is None
    assert read.reply is not None


@pytest.mark.parametrize(
    ("code", "kind", "status", "error"),
    [
        (1, "server_error", 500, TransientError),
        (2, "server_error", 500, TransientError),
        (3, "bad_request", 400, BadRequestError),
        (4, "server_error", 504, TransientError),
        (5, "model_gone", 404, ModelGoneError),
        (6, "server_error", 500, TransientError),
        (7, "permission", 403, AccountError),
        (8, "rate_limit", 429, TransientError),
        (9, "precondition", 400, AccountError),
        (10, "server_error", 500, TransientError),
        (11, "bad_request", 400, BadRequestError),
        (12, "server_error", 501, TransientError),
        (13, "server_error", 500, TransientError),
        (14, "overloaded", 503, TransientError),
        (15, "server_error", 500, TransientError),
        (16, "invalid_key", 401, AccountError),
        (0, "server_error", 500, TransientError),
        (99, "server_error", 500, TransientError),
        (-3, "server_error", 500, TransientError),
        ("3", "bad_request", 400, BadRequestError),
        (3.0, "bad_request", 400, BadRequestError),
        (400, "bad_request", 400, BadRequestError),
        (429, "rate_limit", 429, TransientError),
        (200, "server_error", 500, TransientError),
        (None, "server_error", 500, TransientError),
        ("INVALID", "server_error", 500, TransientError),
    ],
)
def test_a_code_is_the_fault_that_its_http_status_is(
    code: object, kind: str, status: int, error: type[ProviderError]
) -> None:
    key, fault = fault_in(line(key="k1", error={"code": code, "message": "Sorry."}))

    assert type(fault) is error
    assert (key, fault.kind, fault.status, fault.is_unknown_money) == ("k1", kind, status, False)
    assert "Sorry." in str(fault)
    assert str(pickle.loads(pickle.dumps(fault))) == str(fault)  # noqa: S301 - our own


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"status": "INVALID_ARGUMENT"}, "bad_request"),
        ({"code": 3, "message": "API key not valid."}, "invalid_key"),
        ({"code": 8, "message": "Your prepayment credits are depleted."}, "no_credit"),
        ({"code": 8, "message": "Quota exceeded, limit: 0, model: M"}, "quota_zero"),
        (
            {
                "code": 8,
                "details": [{"violations": [{"quotaId": "GenerateRequestsPerDayPerProject"}]}],
            },
            "daily_quota",
        ),
        ("something went wrong", "server_error"),
        ([], "server_error"),
        ({}, "server_error"),
        (False, "server_error"),
    ],
)
def test_an_error_is_read_by_the_table_of_faults(error: object, kind: str) -> None:
    key, fault = fault_in(line(key="k1", error=error))

    assert (key, fault.kind, fault.is_unknown_money) == ("k1", kind, False)


def test_an_error_is_shown_on_one_line_without_a_key() -> None:
    message = f"Bad\nkey {KEY} \u001b[31m " + "x" * 100_000
    _, fault = fault_in(line(key="k1", error={"code": 3, "message": message}))

    assert KEY not in str(fault)
    assert "\n" not in str(fault)
    assert "\u001b" not in str(fault)
    assert len(str(fault)) < 800


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (b"", None),
        (b"null", None),
        (b"[1]", None),
        (b"7", None),
        (b"<html>", None),
        (b"\xff\xfe\x00", None),
        (b"x" * 100_000, None),
        (b"[" * 100_000, None),
        (b'{"a":' * 100_000, None),
        (b'{"key": "k1", "response": ' + b"[" * 100_000, "k1"),
        (b'{"key": "k1", "response": {' + b"[]," * 300_000 + b"}}", "k1"),
        (line(key="k1", response=ANSWER)[:-1], "k1"),
        (line(key="k1", response=ANSWER)[:50_000], "k1"),
        (line(key="k1", response=ANSWER) + b"junk", "k1"),
        (line(key="k\u00e4\u2603", response=ANSWER)[:-1], "kä☃"),
        ('{"key": "kä☃", "response": '.encode(), "kä☃"),
        (b'{"key": "k\xff", "response": ', None),
        (b'{"key": "' + b"k" * 300 + b'", "response": ', None),
        (b'{"key": 7, "response": ', None),
    ],
)
def test_what_is_no_json_is_unreadable_by_the_key_it_begins_with(
    text: bytes, key: str | None
) -> None:
    assert_unreadable(text, key=key, says="it is no JSON object, or was cut off")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"response": None},
        {"response": {}},
        {"response": []},
        {"response": "text"},
        {"response": {"odd": 1}},
        {"response": {"error": {"code": 3}}},
        {"response": {}, "error": {"code": 3, "message": "both, and no answer"}},
        {"answer": {"candidates": []}},
    ],
)
def test_what_is_neither_answer_nor_error_may_have_been_paid_for(fields: dict[str, Any]) -> None:
    text = line(key="k1", **fields)

    assert_unreadable(text, key="k1", says="neither an answer nor an error")
    fault = read_line(text).fault
    assert isinstance(fault, TransientError)
    assert fault.body == text


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        (b'{"key": "a", "key": "b", "response": %s}', None, "more than one 'key'"),
        (b'{"key": "a", "response": {}, "response": %s}', "a", "more than one 'response'"),
        (b'{"key": "a", "response": %s, "response": {}}', "a", "more than one 'response'"),
        (b'{"key": "a", "error": {}, "error": {"response": %s}}', "a", "more than one 'error'"),
    ],
)
def test_a_line_that_says_something_twice_says_nothing(
    text: bytes, key: str | None, says: str
) -> None:
    assert_unreadable(text % json.dumps(ANSWER).encode(), key=key, says=says)


def test_usage_that_stands_there_twice_costs_only_the_usage() -> None:
    twice = json.dumps(ANSWER)[:-1] + ', "usageMetadata": {"promptTokenCount": 1}}'

    read = read_line(f'{{"key": "k1", "response": {twice}}}'.encode())

    assert read.reply is not None
    assert read.reply.images == (PNG,)
    assert read.reply.usage is None


def test_bad_base64_is_a_broken_image_that_was_paid_for() -> None:
    bad = json.dumps(ANSWER).replace('"iVBOR', '"*VBOR')

    read = read_line(f'{{"key": "k1", "response": {bad}}}'.encode())

    assert read.reply is not None
    assert read.reply.usage is not None
    assert read.reply.images[0].startswith(b"*VBOR")


def test_base64_that_is_no_image_is_no_harm() -> None:
    picture = base64.b64encode(PNG).decode()
    text = line(data=picture, key="k1", response={**ANSWER, "data": picture})

    read = read_line(text)

    assert read.key == "k1"
    assert read.reply is not None
    assert read.reply.images == (PNG,)


@given(st.binary(max_size=400) | st.text(max_size=400).map(lambda t: t.encode("utf-8", "replace")))
def test_no_line_raises(text: bytes) -> None:
    read = read_line(text)

    assert (read.reply is None) != (read.fault is None)


@given(position=st.integers(0, 2_000), byte=st.integers(0, 255), cut=st.booleans())
def test_no_damaged_line_raises(position: int, byte: int, *, cut: bool) -> None:
    small = json.loads(answer_json({"inlineData": {"data": base64.b64encode(b"png").decode()}}))
    text = bytearray(line(key="k1", response=small))
    position %= len(text)
    text[position:] = bytes([byte]) + (b"" if cut else text[position + 1 :])

    read = read_line(bytes(text))

    assert (read.reply is None) != (read.fault is None)
    if read.fault is not None and read.fault.is_unknown_money:
        assert read.fault.kind == "unreadable"


def test_no_depth_raises() -> None:
    """Deep enough, one look at a line succeeds and the next one does not."""
    head = b'{"key": "k1", "response": {"candidates": [], "key": '

    for depth in range(1, sys.getrecursionlimit() + 50):
        read = read_line(head + b"[" * depth + b"]" * depth + b"}}")

        assert read.key == "k1" or (read.key is None and read.fault is not None)
        assert (read.reply is None) != (read.fault is None)


def test_lines_come_one_by_one_without_their_ends(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(b'{"a": 1}\n\n{"b": "\xc2\x85\xe2\x80\xa8\x0b"}\r\n  \r\n{"cut off": ')

    assert list(lines_of(path)) == [
        b'{"a": 1}', b'{"b": "\xc2\x85\xe2\x80\xa8\x0b"}', b'{"cut off": ',
    ]  # fmt: skip


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    assert list(lines_of(tmp_path / "empty")) == []


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_a_line_as_long_as_may_be_is_whole(
    tmp_path: Path, ends: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 1_000)
    path = tmp_path / "results.jsonl"
    path.write_bytes((b"x" * (1_001 - len(ends)) + ends) * 2 + b"end")

    assert [len(one) for one in lines_of(path)] == [1_001 - len(ends)] * 2 + [3]


def test_a_line_that_is_too_long_is_cut_reported_and_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with path.open("wb") as file:
        file.write(line(key="first", response=ANSWER) + b"\n" + b'{"key": "long", "response": "')
        for _ in range(150):
            file.write(b"x" * MIB)
        file.write(b'"}\n' + line(key="last", response=ANSWER))
    tracemalloc.start()
    try:
        read = [(read.key, read.fault) for read in map(read_line, lines_of(path))]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert [key for key, _ in read] == ["first", "long", "last"]
    fault = read[1][1]
    assert fault is not None
    assert "longer than 64 MiB" in str(fault)
    assert fault.is_unknown_money
    assert peak < 160 * MIB
