"""What an error answer says is read, believed within limits and shown on one line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nanobatch.backend import Gemini
from nanobatch.errors import AccountError, TransientError
from nanobatch.simulator import Simulator, answers
from tests.backend.wire import KEY, SMALL, answering, backend, fault_of, http, recording

pytestmark = pytest.mark.anyio

QUOTA = "type.googleapis.com/google.rpc.QuotaFailure"
RETRY = "type.googleapis.com/google.rpc.RetryInfo"


def error_body(message: str = "Slow down.", *details: dict[str, Any]) -> str:
    error = {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}
    return json.dumps({"error": error})


async def wait_named(body: str, *headers: str) -> float | None:
    answer = http(body, "429 Too Many Requests", "Content-Type: application/json", *headers)
    async with recording(answer) as server, Gemini(KEY, base_url=server.base_url) as gemini:
        error = await fault_of(gemini)
    assert isinstance(error, TransientError)
    assert error.slow_down
    return error.retry_after_seconds


@pytest.mark.parametrize(
    ("in_body", "in_header", "wait"),
    [
        ("37s", "12", 37),  # the larger of the two
        ("12s", "37", 37),
        ("47.516704415s", None, 47.516704415),
        (None, "20", 20),
        (None, None, None),
        ("soon", "later", None),
        ("soon", "9", 9),
        ("-5s", None, None),
        ("-5s", "3", 3),
        ("1000000000s", None, 600),  # never longer than ten minutes
        ("9" * 400 + "s", None, 600),
        ("nans", None, None),
        (["12s"], None, None),
        (None, "Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
async def test_the_wait_is_the_larger_sensible_one(
    in_body: object, in_header: str | None, wait: float | None
) -> None:
    details = [] if in_body is None else [{"@type": RETRY, "retryDelay": in_body}]
    headers = [] if in_header is None else [f"Retry-After: {in_header}"]

    named = await wait_named(error_body("Slow down.", *details), *headers)

    assert named == wait


async def test_one_violation_per_day_among_others_stops_the_account() -> None:
    violations = [
        {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"},
        {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"},
    ]
    details: list[dict[str, Any]] = [
        {"@type": RETRY, "retryDelay": "7s"},
        {"@type": QUOTA, "violations": violations},
    ]
    body = error_body("You exceeded your current quota.", *details)

    async with (
        recording(http(body, "429 Too Many Requests")) as server,
        Gemini(KEY, base_url=server.base_url) as gemini,
    ):
        error = await fault_of(gemini)

    assert isinstance(error, AccountError)
    assert error.kind == "daily_quota"
    assert "midnight Pacific" in str(error)


async def test_limit_zero_is_found_behind_a_long_message() -> None:
    message = "\n".join([f"* Quota exceeded for metric: m{n}, limit: 10" for n in range(40)])
    body = error_body(f"{message}\n* Quota exceeded for metric: last, limit: 0, model: m")

    async with (
        recording(http(body, "429 Too Many Requests")) as server,
        Gemini(KEY, base_url=server.base_url) as gemini,
    ):
        error = await fault_of(gemini)

    assert isinstance(error, AccountError)
    assert error.kind == "quota_zero"
    assert len(str(error)) < 800


async def test_limit_ten_is_not_limit_zero() -> None:
    wait = await wait_named(error_body("Quota exceeded for metric: a, limit: 0.5, limit: 05"))

    assert wait is None


async def test_an_error_in_a_list_is_read() -> None:
    body = f"[{error_body('Your prepayment credits are depleted.')}]"

    async with (
        recording(http(body, "429 Too Many Requests")) as server,
        Gemini(KEY, base_url=server.base_url) as gemini,
    ):
        error = await fault_of(gemini)

    assert error.kind == "no_credit"


@pytest.mark.parametrize(
    "body",
    ["", "null", "[]", "[null]", "{}", '{"error": null}', '{"error": "x"}', '{"error": {}}',
     '{"error": {"message": null, "status": 5, "details": {}}}', "[" * 5000, "9" * 5000,
     '{"error": {"details": [null, {"violations": [1]}, {"retryDelay": {}}]}}',
     '{"error": {"message": {"a": [1]}, "status": ["x"]}}'],
)  # fmt: skip
async def test_an_error_with_any_body_is_still_that_error(body: str) -> None:
    async with (
        recording(http(body, "503 Service Unavailable")) as server,
        Gemini(KEY, base_url=server.base_url) as gemini,
    ):
        error = await fault_of(gemini)

    assert isinstance(error, TransientError)
    assert (error.kind, error.status) == ("overloaded", 503)
    assert error.slow_down
    assert not error.is_unknown_money
    assert str(error).startswith("The provider answered 503: ")


async def test_a_web_page_is_not_quoted() -> None:
    async with (
        Simulator(pixels=SMALL, answer=answering(answers.overloaded_html())) as simulator,
        backend(simulator) as gemini,
    ):
        error = await fault_of(gemini)

    assert str(error) == "The provider answered 503: an HTML page"


async def test_a_message_is_one_printable_line() -> None:
    async with (
        Simulator(
            answer=answering(answers.error(400, "a\n\x1b[31mb\u202ec\x00 \ud800d"))
        ) as simulator,
        backend(simulator) as gemini,
    ):
        error = await fault_of(gemini)

    assert str(error) == "The provider answered 400: a [31mb c \\ud800d"
