"""Opening, closing, keys, addresses and the free count of tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import httpx2
import pytest
from google import genai

from nanobatch.backend import Gemini
from nanobatch.errors import (
    AccountError,
    ConfigError,
    MissingKeyError,
    ModelGoneError,
    TransientError,
)
from nanobatch.simulator import Simulator
from tests.backend.wire import (
    KEY,
    LITE,
    SMALL,
    asking,
    backend,
    callers_client,
    draw,
    fault_of,
    http,
    recording,
)

if TYPE_CHECKING:
    from nanobatch.backend import ImageBackend

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


# Keys


@pytest.mark.parametrize("given", [None, "", "  \n"])
async def test_without_any_key_it_does_not_open(given: str | None) -> None:
    gemini = Gemini(given)

    with pytest.raises(MissingKeyError, match="set GEMINI_API_KEY") as caught:
        await gemini.__aenter__()

    assert "nanobatch.simulator" in str(caught.value)
    assert not gemini.is_open


async def test_a_key_is_looked_for_when_it_opens_not_before(
    environment: pytest.MonkeyPatch,
) -> None:
    gemini = Gemini()
    environment.setenv("GEMINI_API_KEY", "late")

    async with gemini:
        assert gemini.is_open


@pytest.mark.parametrize(
    ("variables", "given", "used"),
    [
        ({"GEMINI_API_KEY": "gemini"}, None, "gemini"),
        ({"GOOGLE_API_KEY": "google"}, None, "google"),
        ({"GEMINI_API_KEY": "gemini", "GOOGLE_API_KEY": "google"}, None, "google"),
        ({"GEMINI_API_KEY": "gemini", "GOOGLE_API_KEY": " "}, None, "gemini"),
        ({"GEMINI_API_KEY": "gemini", "GOOGLE_API_KEY": "google"}, " mine\n", "mine"),
    ],
)
async def test_which_key_is_sent(
    environment: pytest.MonkeyPatch, variables: dict[str, str], given: str | None, used: str
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)

    async with (
        recording(http('{"candidates": []}')) as server,
        Gemini(given, base_url=server.base_url) as gemini,
    ):
        await gemini.generate(asking())

    assert server.headers["x-goog-api-key"] == used


async def test_a_wrong_key_is_the_accounts_business() -> None:
    async with Simulator(api_key="right") as simulator, backend(simulator) as gemini:
        error = await fault_of(gemini)

    assert isinstance(error, AccountError)
    assert (error.kind, error.status) == ("invalid_key", 400)
    assert "Check the API key." in str(error)


# Addresses


@pytest.mark.parametrize(
    "base_url",
    [
        "https://example.org",
        "https://example.org:8443/gateway",
        "HTTPS://EXAMPLE.ORG",
        "http://127.0.0.1:8000",
        "http://127.9.9.9",
        "http://localhost:8000",
        "http://[::1]:8000",
        "",
        None,
    ],
)
async def test_https_and_loopback_may_have_the_key(base_url: str | None) -> None:
    async with Gemini(KEY, base_url=base_url) as gemini:
        assert gemini.is_open


@pytest.mark.parametrize(
    "base_url",
    [
        "http://example.org",
        "http://10.0.0.1",
        "http://0.0.0.0:80",
        "http://127.0.0.1.example.org",
        "http://localhost.example.org",
        "http://127.0.0.1@example.org/",
        "http://[2001:db8::1]",
        "ftp://127.0.0.1",
        "ws://localhost",
        "example.org",
        "https://",
        "https:///path",
        "https://[::1",
        "https://example.org:port",
        "//example.org",
    ],
)
def test_nobody_else_may_have_it(base_url: str) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        Gemini(KEY, base_url=base_url)


async def test_an_address_of_the_environment_is_used_and_checked(
    environment: pytest.MonkeyPatch,
) -> None:
    async with Simulator(pixels=SMALL) as simulator:
        environment.setenv("GOOGLE_GEMINI_BASE_URL", simulator.base_url)
        async with Gemini(KEY) as gemini:
            await draw(gemini)
        environment.setenv("GOOGLE_GEMINI_BASE_URL", "http://example.org")
        with pytest.raises(ConfigError, match="would send the API key in the clear"):
            await Gemini(KEY).__aenter__()

    assert simulator.bill.requests == 1


async def test_ipv6_loopback_works() -> None:
    try:
        async with Simulator(pixels=SMALL, host="::1") as simulator, backend(simulator) as gemini:
            await draw(gemini)
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")

    assert "[::1]" in repr(gemini)
    assert simulator.bill.requests == 1


# The proxy of the environment


async def test_a_proxy_of_the_environment_is_used_and_its_refusal_cost_nothing(
    environment: pytest.MonkeyPatch,
) -> None:
    async with recording(http("", "407 Proxy Authentication Required")) as proxy:
        environment.setenv("HTTPS_PROXY", proxy.base_url)
        async with Gemini(KEY) as gemini:
            error = await fault_of(gemini)

    assert proxy.heads[0].startswith("CONNECT generativelanguage.googleapis.com:443 HTTP/1.1")
    assert KEY not in proxy.heads[0]
    assert (error.kind, error.is_unknown_money) == ("connect", False)


async def test_loopback_goes_past_the_proxy(environment: pytest.MonkeyPatch) -> None:
    async with Simulator(pixels=SMALL) as simulator:
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
            environment.setenv(name, "http://127.0.0.1:1")
        async with backend(simulator) as gemini:
            await draw(gemini)

    assert simulator.bill.requests == 1


@pytest.mark.parametrize("proxy", ["gopher://me:hunter2@example.org", "http://[::1"])
async def test_a_proxy_that_cannot_be_used_is_said_without_its_password(
    environment: pytest.MonkeyPatch, proxy: str
) -> None:
    environment.setenv("HTTPS_PROXY", proxy)

    with pytest.raises(ConfigError, match="proxy that the environment names") as caught:
        await Gemini(KEY).__aenter__()

    assert "hunter2" not in str(caught.value)


async def test_an_http_stack_that_is_not_ours_is_refused(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GOOGLE_GENAI_HTTP_CLIENT", "httpx")

    with pytest.raises(ConfigError, match="unset it"):
        await Gemini(KEY).__aenter__()


# Opening and closing


@both
async def test_a_closed_backend_can_be_opened_again() -> None:
    async with Simulator(pixels=SMALL) as simulator:
        gemini = backend(simulator)
        for _ in range(3):
            async with gemini:
                await draw(gemini)
            assert not gemini.is_open

    assert simulator.bill.requests == 3


@both
async def test_closing_twice_and_opening_twice_are_fine() -> None:
    async with Simulator(pixels=SMALL) as simulator:
        gemini = backend(simulator)
        await gemini.aclose()
        async with gemini, gemini:
            await draw(gemini)
        await gemini.aclose()
        await gemini.aclose()

    assert not gemini.is_open


async def test_a_closed_backend_says_how_to_open_it() -> None:
    gemini = Gemini(KEY)

    with pytest.raises(ConfigError, match="async with"):
        await draw(gemini)
    with pytest.raises(ConfigError, match="async with"):
        await gemini.count_tokens(model=LITE, prompt="x")


async def test_a_callers_client_stays_open() -> None:
    async with Simulator(pixels=SMALL) as simulator:
        client = callers_client(
            simulator, async_client_args={"transport": httpx2.AsyncHTTPTransport()}
        )
        gemini = Gemini(client=client)
        async with gemini:
            await draw(gemini)
        again = await client.aio.models.generate_content(model=LITE, contents="still open")
        async with gemini:
            await draw(gemini)
        await client.aio.aclose()
        client.close()

    assert again.parts
    assert repr(gemini) == "Gemini(client=...)"
    assert simulator.bill.requests == 3


def test_a_client_and_a_key_of_its_own_are_one_too_many() -> None:
    client = genai.Client(api_key=KEY)

    with pytest.raises(ConfigError, match="either client="):
        Gemini("key", client=client)
    with pytest.raises(ConfigError, match="either client="):
        Gemini(client=client, base_url="https://example.org")
    client.close()


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
def test_a_deadline_is_finite_and_above_zero(seconds: float) -> None:
    with pytest.raises(ConfigError, match="timeout_seconds"):
        Gemini(KEY, timeout_seconds=seconds)


def test_it_is_a_backend() -> None:
    anybody: ImageBackend = Gemini(KEY)

    assert repr(anybody) == "Gemini()"


@both
async def test_one_connection_is_used_again() -> None:
    async with Simulator(pixels=SMALL) as simulator, backend(simulator) as gemini:
        replies = [await draw(gemini, f"scene {number}") for number in range(5)]

    assert [len(reply.images) for reply in replies] == [1] * 5
    assert len({reply.response_id for reply in replies}) == 5


# Counting


@both
async def test_tokens_are_counted_for_free() -> None:
    async with Simulator() as simulator, backend(simulator) as gemini:
        counted = await gemini.count_tokens(model=LITE, prompt="12345")

    assert counted == 2  # 5 bytes, 4 a token
    assert simulator.bill.requests == 0


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")  # the SDK's own
async def test_tokens_are_counted_through_a_callers_client() -> None:
    async with Simulator() as simulator:
        client = callers_client(simulator)
        async with Gemini(client=client) as gemini:
            counted = await gemini.count_tokens(model=LITE, prompt="12345")
        await client.aio.aclose()
        client.close()

    assert counted == 2


async def test_counting_for_an_unknown_model_is_that_error() -> None:
    async with Simulator() as simulator, backend(simulator) as gemini:
        with pytest.raises(ModelGoneError):
            await gemini.count_tokens(model="gemini-9", prompt="x")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (http("{}"), "unreadable"),
        (http(""), "unreadable"),
        (http("not JSON"), "unreadable"),
        (http('{"totalTokens": 1}', "200 OK", "Content-Encoding: gzip"), "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", "connection_lost"),
        (b"", "connection_lost"),
        (http("{}", "503 Service Unavailable"), "overloaded"),
    ],
)
async def test_a_count_that_fails_never_has_unknown_money(answer: bytes, kind: str) -> None:
    async with (
        recording(answer) as server,
        Gemini(KEY, base_url=server.base_url) as gemini,
    ):
        with pytest.raises(TransientError) as caught:
            await gemini.count_tokens(model=LITE, prompt="x")

    assert caught.value.kind == kind
    assert not caught.value.is_unknown_money
    assert "billed" not in str(caught.value)


async def test_a_count_has_a_deadline() -> None:
    late = b"HTTP/1.1 100 Continue\r\n\r\n"
    async with (
        recording(late, again_and_again=True) as server,
        Gemini(KEY, base_url=server.base_url, timeout_seconds=0.2) as gemini,
    ):
        with pytest.raises(TransientError, match=r"No complete answer within 0\.2 s\.$") as caught:
            await gemini.count_tokens(model=LITE, prompt="x")

    assert caught.value.__context__ is None
    assert not caught.value.is_unknown_money
