"""The key is in one header of the request and nowhere else."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
from typing import TYPE_CHECKING

import httpx2
import pytest

from nanobatch.backend import Gemini
from nanobatch.errors import AccountError, NanobatchError, ProviderError, TransientError
from nanobatch.simulator import Simulator, answers
from tests.backend.wire import (
    KEY,
    SMALL,
    answering,
    asking,
    backend,
    callers_client,
    draw,
    fault_of,
    http,
    recording,
)

if TYPE_CHECKING:
    from nanobatch.simulator import Answer

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])

ODD_KEY = "no-google-form-7f3a9c"
"""A key that no pattern recognises."""


def echoing(key: str) -> list[Answer]:
    """Answers of a provider, or of a proxy, that repeats the key."""
    return [
        answers.error(403, f"Consumer 'api_key:{key}' has been suspended."),
        answers.error(400, f"Bad header x-goog-api-key: {key}"),
        answers.error(429, f"Quota exceeded for {key}", details=[{"reason": key}]),
        answers.error(503, f"https://example.org/?key={key}&alt=json"),
        answers.redirect(f"https://example.org/?key={key}"),
        answers.empty_body(),
        answers.reset(),
        answers.cut(),
        answers.stall(),
    ]


PATIENCE = [20, 20, 20, 20, 20, 20, 20, 20, 0.3]
"""Seconds for each of them: the last one stalls."""


def everything_about(error: ProviderError) -> str:
    """All texts in which an error may be shown, kept or sent to another process."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    public = {name: value for name, value in vars(error).items() if name != "body"}
    return "\n".join(
        [str(error), repr(error), repr(error.args), repr(public), *shown.format(),
         repr(pickle.dumps(error)), repr(error.__cause__), repr(error.__context__)]
    )  # fmt: skip


async def errors_with(key: str) -> list[ProviderError]:
    given = echoing(key)
    async with (
        Simulator(pixels=SMALL, answer=answering(*given)) as simulator,
        Gemini(key, base_url=simulator.base_url) as gemini,
    ):
        return [await fault_of(gemini, timeout_seconds=seconds) for seconds in PATIENCE]


@both
@pytest.mark.parametrize("number", [0, 1])
async def test_no_error_shows_the_key(number: int) -> None:
    errors = await errors_with((KEY, ODD_KEY)[number])

    found = "\n".join(everything_about(error) for error in errors)
    assert "Consumer 'api_key:[key]' has been suspended." in found
    assert KEY not in found
    assert ODD_KEY not in found


async def test_an_error_holds_on_to_nothing_of_the_sdk() -> None:
    for error in await errors_with(KEY):
        assert error.__cause__ is None
        assert error.__context__ is None


async def test_through_a_callers_client_a_key_of_googles_form_is_not_shown() -> None:
    given = echoing(KEY)[:4]
    async with Simulator(answer=answering(*given)) as simulator:
        client = callers_client(
            simulator, async_client_args={"transport": httpx2.AsyncHTTPTransport()}
        )
        async with Gemini(client=client) as gemini:
            errors = [await fault_of(gemini) for _ in given]
        await client.aio.aclose()
        client.close()

    assert "[key]" in str(errors[0])
    assert KEY not in "\n".join(everything_about(error) for error in errors)


async def test_a_key_across_the_cut_of_a_message_is_not_shown_in_part() -> None:
    for length in range(540, 620, 7):
        body = json.dumps({"error": {"message": "x" * length + " " + KEY, "status": "INTERNAL"}})
        async with (
            recording(http(body, "500 Internal Server Error")) as server,
            Gemini(KEY, base_url=server.base_url) as gemini,
        ):
            error = await fault_of(gemini)
        assert KEY[:8] not in str(error)


@both
async def test_no_log_line_of_anybody_shows_the_key(caplog: pytest.LogCaptureFixture) -> None:
    given = echoing(KEY)
    with caplog.at_level(logging.DEBUG):
        async with (
            Simulator(pixels=SMALL, answer=answering(*given)) as simulator,
            backend(simulator, timeout_seconds=None) as gemini,
        ):
            for seconds in PATIENCE:
                await fault_of(gemini, timeout_seconds=seconds)
            await draw(gemini)
            await gemini.count_tokens(model="gemini-3-pro-image", prompt="a fox")

    lines = [
        text
        for record in caplog.records
        for text in (record.getMessage(), repr(record.args), repr(record.exc_info))
    ]
    assert lines  # the HTTP stack does log at this level
    # httpcore2 logs the headers of answers, and one of these redirects to an address with the key
    assert [line for line in lines if KEY in line and "location" not in line.lower()] == []
    assert [line for line in lines if KEY in line and not line.startswith("receive_")] == []


async def test_nothing_that_can_be_printed_of_a_backend_shows_the_key() -> None:
    gemini = Gemini(KEY, base_url="https://me:hunter2@example.org:8443/base?key=" + KEY)

    async with gemini:
        shown = f"{gemini!r} {gemini!s} {vars(gemini)['_api_key']!r} {vars(gemini)['_client']!r}"

    assert repr(gemini) == "Gemini(base_url='https://example.org:8443')"
    assert KEY not in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize(
    "base_url",
    [f"http://me:hunter2@example.org/?key={KEY}", f"https://[{KEY}", f"https://h:{KEY}/"],
)
def test_a_refused_address_is_not_repeated(base_url: str) -> None:
    with pytest.raises(NanobatchError) as caught:
        Gemini(KEY, base_url=base_url)

    shown = "".join(traceback.TracebackException.from_exception(caught.value).format())
    assert "hunter2" not in str(caught.value)
    assert KEY not in str(caught.value)
    assert "hunter2" not in shown.replace(base_url, "")


async def test_a_key_that_no_header_can_carry_is_refused_without_showing_it() -> None:
    for key in ("two\nlines-secret", "\u0441\u0435\u043a\u0440\u0435\u0442", "nul\x00-secret"):
        with pytest.raises(NanobatchError, match="copy it again") as caught:
            async with Gemini(key):
                pass
        assert "secret" not in str(caught.value)
        assert key not in repr(caught.value)


async def test_a_refused_request_does_not_repeat_images() -> None:
    async with Simulator() as simulator, backend(simulator) as gemini:
        error = await fault_of(gemini, input_images=("pixels" * 100,))

    assert "before sending it" in str(error)
    assert "pixels" not in f"{error!r} {pickle.dumps(error)!r}"
    assert simulator.bill.requests == 0


async def test_a_kept_body_is_not_pickled() -> None:
    async with (
        Simulator(answer=answering(answers.json_value('{"pixels": 1}'))) as simulator,
        backend(simulator) as gemini,
    ):
        error = await fault_of(gemini)

    assert isinstance(error, TransientError)
    assert error.body == b'{"pixels": 1}'
    assert b"pixels" not in pickle.dumps(error)


async def test_errors_pickle_with_their_facts() -> None:
    async with (
        Simulator(answer=answering(answers.rate_limited(9), answers.no_credit())) as simulator,
        backend(simulator) as gemini,
    ):
        limited, broke = [
            pickle.loads(pickle.dumps(await fault_of(gemini)))  # noqa: S301 - our own bytes
            for _ in range(2)
        ]

    assert (limited.kind, limited.status, limited.slow_down) == ("rate_limit", 429, True)
    assert limited.retry_after_seconds == 9
    assert isinstance(broke, AccountError)
    assert broke.kind == "no_credit"


def test_a_request_does_not_show_its_images() -> None:
    assert "pixels" not in repr(asking(input_images=(b"pixels",)))
