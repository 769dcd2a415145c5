"""Every failure of a call says who must act and whether it may have cost something."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx2
import pytest
from aiohttp.client_reqrep import ConnectionKey

from nanobatch.backend import Gemini
from nanobatch.errors import (
    AccountError,
    BadRequestError,
    ModelGoneError,
    ProviderError,
    TransientError,
)
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
    recording,
)

if TYPE_CHECKING:
    from nanobatch.simulator import Answer

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@dataclass(frozen=True, kw_only=True)
class Case:
    """One answer and what it must become."""

    name: str
    answer: Answer
    error: type[ProviderError] = TransientError
    kind: str
    status: int | None
    unknown: bool = False
    slow_down: bool = False
    wait: float | None = None

    def __str__(self) -> str:
        return self.name


CASES = [
    Case(name="429", answer=answers.rate_limited(), kind="rate_limit", status=429, slow_down=True),
    Case(
        name="429 with a wait",
        answer=answers.rate_limited(47.5),
        kind="rate_limit",
        status=429,
        slow_down=True,
        wait=47.5,
    ),
    Case(
        name="429 of spending",
        answer=answers.spend_limit(),
        kind="spend_limit",
        status=429,
        slow_down=True,
        wait=20,
    ),
    Case(
        name="429 of capacity",
        answer=answers.capacity(),
        kind="rate_limit",
        status=429,
        slow_down=True,
    ),
    Case(
        name="429 per day, though it says 7 s",
        answer=answers.daily_quota(),
        error=AccountError,
        kind="daily_quota",
        status=429,
    ),
    Case(
        name="429 with limit: 0",
        answer=answers.quota_zero(),
        error=AccountError,
        kind="quota_zero",
        status=429,
    ),
    Case(
        name="429 of an empty account, as it once was",
        answer=answers.error(429, "Your prepayment credits are depleted."),
        error=AccountError,
        kind="no_credit",
        status=429,
    ),
    Case(name="402", answer=answers.no_credit(), error=AccountError, kind="no_credit", status=402),
    Case(name="403", answer=answers.forbidden(), error=AccountError, kind="permission", status=403),
    Case(
        name="401",
        answer=answers.error(401, "Request had invalid authentication credentials."),
        error=AccountError,
        kind="invalid_key",
        status=401,
    ),
    Case(
        name="400 of the key",
        answer=answers.invalid_key(),
        error=AccountError,
        kind="invalid_key",
        status=400,
    ),
    Case(
        name="400 of the country",
        answer=answers.error(
            400, "Free tier is not available in your country.", "FAILED_PRECONDITION"
        ),
        error=AccountError,
        kind="precondition",
        status=400,
    ),
    Case(
        name="400",
        answer=answers.error(400, "Unable to process input image."),
        error=BadRequestError,
        kind="bad_request",
        status=400,
    ),
    Case(
        name="413",
        answer=answers.error(413, "Request payload is too large."),
        error=BadRequestError,
        kind="bad_request",
        status=413,
    ),
    Case(
        name="404", answer=answers.not_found(), error=ModelGoneError, kind="model_gone", status=404
    ),
    Case(
        name="408",
        answer=answers.error(408, "The client was too slow."),
        kind="server_timeout",
        status=408,
        slow_down=True,
    ),
    Case(name="500", answer=answers.internal(), kind="server_error", status=500),
    Case(name="503", answer=answers.overloaded(), kind="overloaded", status=503, slow_down=True),
    Case(
        name="503 of a proxy",
        answer=answers.overloaded_html(),
        kind="overloaded",
        status=503,
        slow_down=True,
    ),
    Case(name="504", answer=answers.deadline(), kind="server_error", status=504),
    Case(name="a reset", answer=answers.reset(), kind="connection_lost", status=None, unknown=True),
    Case(name="a close", answer=answers.close(), kind="connection_lost", status=None, unknown=True),
    Case(
        name="a cut body", answer=answers.cut(), kind="connection_lost", status=None, unknown=True
    ),
    Case(
        name="a cut head",
        answer=answers.cut(0.0),
        kind="connection_lost",
        status=None,
        unknown=True,
    ),
    Case(name="empty", answer=answers.empty_body(), kind="unreadable", status=200, unknown=True),
    Case(name="a web page", answer=answers.not_json(), kind="unreadable", status=200, unknown=True),
    Case(
        name="half an answer",
        answer=answers.truncated_json(),
        kind="unreadable",
        status=200,
        unknown=True,
    ),
    *(
        Case(
            name=f"JSON {text}",
            answer=answers.json_value(text),
            kind="unreadable",
            status=200,
            unknown=True,
        )
        for text in ("null", "[]", "{}", "1", '"candidates"', '{"error": {"code": 500}}')
    ),
]
OURS_ONLY = [
    Case(
        name="204",
        answer=replace(answers.json_value(""), status=204),
        kind="protocol",
        status=204,
        unknown=True,
    ),
    Case(name="gzip", answer=answers.gzipped(), kind="protocol", status=200, unknown=True),
    Case(
        name="gzipped 503",
        answer=answers.gzipped(answers.overloaded()),
        kind="overloaded",
        status=503,
        slow_down=True,
    ),
]


def facts(error: ProviderError) -> tuple[object, ...]:
    if isinstance(error, TransientError):
        return (
            type(error),
            error.kind,
            error.status,
            error.is_unknown_money,
            error.slow_down,
            error.retry_after_seconds,
        )
    return (type(error), error.kind, error.status, error.is_unknown_money, False, None)


def expected(case: Case) -> tuple[object, ...]:
    return (case.error, case.kind, case.status, case.unknown, case.slow_down, case.wait)


@both
async def test_every_fault_has_its_class_its_word_and_its_cost() -> None:
    cases = [*CASES, *OURS_ONLY]
    async with (
        Simulator(pixels=SMALL, answer=answering(*(case.answer for case in cases))) as simulator,
        backend(simulator) as gemini,
    ):
        errors = {case.name: await fault_of(gemini) for case in cases}

    assert {name: facts(error) for name, error in errors.items()} == {
        case.name: expected(case) for case in cases
    }
    assert simulator.bill.requests == len(cases)
    # The other side of the wire keeps a bill: whatever is on it was not reported as free.
    on_the_bill = [line.nano_usd > 0 for line in simulator.bill.lines]
    assert any(on_the_bill)
    for error, was_billed in zip(errors.values(), on_the_bill, strict=True):
        assert error.is_unknown_money or not was_billed


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")  # the SDK's own
@pytest.mark.parametrize("stack", ["aiohttp", "httpx2"])
async def test_a_callers_own_client_gets_the_same_faults(stack: str) -> None:
    transport = {"transport": httpx2.AsyncHTTPTransport()} if stack == "httpx2" else None
    async with Simulator(
        pixels=SMALL, answer=answering(*(case.answer for case in CASES))
    ) as simulator:
        client = callers_client(simulator, async_client_args=transport)
        async with Gemini(client=client, timeout_seconds=20) as gemini:
            found = {case.name: facts(await fault_of(gemini)) for case in CASES}
        await client.aio.aclose()
        client.close()

    assert found == {case.name: expected(case) for case in CASES}
    assert simulator.bill.requests == len(CASES)


async def test_the_paid_body_that_could_not_be_read_is_kept_for_quarantine() -> None:
    async with (
        Simulator(pixels=SMALL, answer=answering(answers.json_value('{"odd": 1}'))) as simulator,
        backend(simulator) as gemini,
    ):
        error = await fault_of(gemini)

    assert isinstance(error, TransientError)
    assert error.body == b'{"odd": 1}'
    assert "odd" not in str(error)


@both
async def test_nobody_listening_cost_nothing() -> None:
    async with Simulator() as simulator:
        gone = simulator.base_url

    async with Gemini(KEY, base_url=gone) as gemini:
        error = await fault_of(gemini)

    assert facts(error) == (TransientError, "connect", None, False, False, None)
    assert "No connection to the provider (ConnectError)" in str(error)


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")  # the SDK's own
async def test_nobody_listening_cost_nothing_through_a_callers_client() -> None:
    async with Simulator() as simulator:
        pass_through = callers_client(simulator)

    async with Gemini(client=pass_through) as gemini:
        error = await fault_of(gemini)
    await pass_through.aio.aclose()
    pass_through.close()

    assert facts(error) == (TransientError, "connect", None, False, False, None)


async def test_a_certificate_nobody_trusts_is_no_fault_of_the_job() -> None:
    class Distrusts(httpx2.AsyncBaseTransport):
        """Fails as aiohttp does, whose error is a `ValueError` too."""

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            key = ConnectionKey(request.url.host, 443, True, True, None, None, None)
            cause = ssl.SSLCertVerificationError("certificate has expired")
            raise aiohttp.ClientConnectorCertificateError(key, cause)

    async with Simulator() as simulator:
        client = callers_client(simulator, async_client_args={"transport": Distrusts()})
        async with Gemini(client=client) as gemini:
            error = await fault_of(gemini)
        await client.aio.aclose()
        client.close()

    assert facts(error) == (TransientError, "connect", None, False, False, None)


async def test_a_closed_client_of_the_caller_sent_nothing() -> None:
    async with Simulator() as simulator:
        client = callers_client(
            simulator, async_client_args={"transport": httpx2.AsyncHTTPTransport()}
        )
        await client.aio.aclose()
        client.close()
        async with Gemini(client=client) as gemini:
            error = await fault_of(gemini)

    assert facts(error) == (TransientError, "connect", None, False, False, None)
    assert simulator.bill.requests == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"prompt": 5}, "text: Input should be a valid string"),
        ({"model": "../files/secret"}, "invalid model parameter"),
    ],
)
async def test_what_the_sdk_refuses_is_a_bad_request_and_sends_nothing(
    fields: dict[str, Any], words: str
) -> None:
    async with Simulator() as simulator, backend(simulator) as gemini:
        error = await fault_of(gemini, **fields)

    assert facts(error) == (BadRequestError, "bad_request", None, False, False, None)
    assert str(error).startswith("The SDK refused the request before sending it: ")
    assert words in str(error)
    assert simulator.bill.requests == 0


async def test_a_header_flood_is_cut_off() -> None:
    flood = b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 100_000

    async with recording(flood) as server, Gemini(KEY, base_url=server.base_url) as gemini:
        error = await fault_of(gemini)

    assert facts(error) == (TransientError, "connection_lost", None, True, False, None)


async def test_a_flood_of_interim_answers_ends_with_the_deadline() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100

    async with (
        recording(interim, again_and_again=True) as server,
        Gemini(KEY, base_url=server.base_url, timeout_seconds=0.3) as gemini,
    ):
        error = await fault_of(gemini)

    assert facts(error) == (TransientError, "timeout", None, True, False, None)


@both
async def test_after_a_fault_the_next_call_works() -> None:
    broken = [answers.reset(), answers.cut(), answers.overloaded(), answers.stall()]
    async with (
        Simulator(pixels=SMALL, answer=answering(*broken)) as simulator,
        backend(simulator, timeout_seconds=None) as gemini,
    ):
        for seconds in (20, 20, 20, 0.8):
            await fault_of(gemini, timeout_seconds=seconds)
        reply = await draw(gemini)

    assert len(reply.images) == 1
    assert simulator.bill.requests == 5


async def test_the_deadline_of_the_request_counts_unless_the_backend_has_one() -> None:
    async with Simulator(answer=lambda _: answers.stall()) as simulator:
        async with backend(simulator, timeout_seconds=None) as gemini:
            with pytest.raises(TransientError, match=r"No complete answer within 0\.2 s\."):
                await gemini.generate(asking(timeout_seconds=0.2))
        async with backend(simulator, timeout_seconds=0.1) as gemini:
            with pytest.raises(TransientError, match=r"No complete answer within 0\.1 s\."):
                await gemini.generate(asking(timeout_seconds=300))
