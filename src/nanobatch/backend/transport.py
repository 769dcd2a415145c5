"""The one HTTP transport under the SDK: one call is one request, and its answer has limits.

Passing a transport also switches off the SDK's hidden second sending of a lost request, which it
does whenever aiohttp happens to be installed (google-genai 3.4.0: `_use_aiohttp`).
"""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

import anyio
import httpx2

from nanobatch.backend.address import is_same_origin
from nanobatch.backend.buffers import USUAL_BYTES, Body
from nanobatch.backend.cut import Cut, cut
from nanobatch.backend.letter import Letter, head_of, is_dictation, origin_of
from nanobatch.backend.redact import Redactor
from nanobatch.backend.room import Room
from nanobatch.backend.translate import (
    compressed,
    elsewhere,
    fault_of_answer,
    too_large,
    unreadable,
)
from nanobatch.backend.wire import (
    CONNECT_TIMEOUT_SECONDS,
    MAX_SENT_BYTES,
    Origin,
    Wire,
    is_possible,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping
    from contextlib import AbstractAsyncContextManager

    from nanobatch.backend.room import Share

__all__ = ["GuardedTransport", "keep_answer"]

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
STEP_BYTES = 1024 * 1024
SHARED_BYTES = 16 * 1024 * 1024
"""What unfinished answers may take together beyond 3 MiB each, beside the oldest of them: large
ones come in one after another, and eight endless answers take 104 MiB, not 512."""
_OK = 200
_UPLOAD_COMMAND = "x-goog-upload-command"
_UPLOAD_URL = "x-goog-upload-url"
_UPLOAD_STATUS = "x-goog-upload-status"
_KEY_HEADER = "x-goog-api-key"


@dataclass(slots=True)
class _Keeping:
    """What is kept of the call made in a context."""

    answers: list[Cut] = field(default_factory=list[Cut])
    shares: ExitStack = field(default_factory=ExitStack)
    """The room that its answer takes until somebody has read it."""


_keeping: ContextVar[_Keeping | None] = ContextVar("nanobatch_kept_answer", default=None)


@contextmanager
def keep_answer() -> Generator[list[Cut]]:
    """Collect the answer of the call made inside; the SDK itself then sees an empty one.

    The SDK would parse the megabyte of base64 twice and refuse it for one odd field.
    """
    keeping = _Keeping()
    token = _keeping.set(keeping)
    try:
        with keeping.shares:
            yield keeping.answers
    finally:
        _keeping.reset(token)


class _Incoming(Protocol):
    """An answer whose head is there, and perhaps the beginning of its body."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def length(self) -> int | None: ...

    @property
    def body(self) -> Body: ...

    @property
    def is_whole(self) -> bool: ...

    async def read_on(self, size_bytes: int) -> None: ...


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends each request once: no redirect, no compression, no endless body, no waiting line.

    Args:
        proxy: URL of the proxy to go through; directly if `None`.
        is_tls: Whether the API is reached by TLS; reading root certificates takes 20 ms.
    """

    def __init__(self, proxy: str | None = None, *, is_tls: bool = True) -> None:
        # No cap on connections: the pipeline's own permits decide how many calls are in flight,
        # and httpx2's default of 100 would silently queue calls whose deadline already runs.
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        # Without roots no certificate is good: TLS where none was foreseen fails, as it should.
        with_roots = is_tls or proxy is not None
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context = httpx2.create_ssl_context() if with_roots else bare
        self._stock = httpx2.AsyncHTTPTransport(
            verify=self.context, limits=limits, retries=0, proxy=proxy
        )
        self._wire = None if proxy else Wire(self.context, most_bytes=MAX_ANSWER_BYTES)
        self._room = Room(SHARED_BYTES, free_bytes=USUAL_BYTES)
        self._redactor: tuple[str, Redactor] = ("", Redactor(""))

    @contextmanager
    def hold_back(self, is_full: Callable[[], bool]) -> Generator[None]:
        """Begin with no answer's body while `is_full()`, for half a second at most."""
        brakes = [] if self._wire is None else self._wire.buffers.brakes
        brakes.append(is_full)
        try:
            yield
        finally:
            brakes.remove(is_full)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request of the SDK and read its answer whole.

        Raises:
            ProviderError: For every complete answer that is not 200.
            TransientError: If the body is compressed, or longer than the cap.
        """
        request.headers["accept-encoding"] = "identity"
        if is_dictation(request):
            return httpx2.Response(_OK, content=b"{}")
        timeout = cast("dict[str, float | None]", request.extensions.get("timeout") or {})
        longest = timeout.get("connect") or CONNECT_TIMEOUT_SECONDS
        timeout = {**timeout, "connect": min(longest, CONNECT_TIMEOUT_SECONDS)}
        request.extensions = {**request.extensions, "timeout": timeout}
        keeping = _keeping.get()
        with ExitStack() as mine:
            shares = mine if keeping is None else keeping.shares
            async with self._sent(request) as incoming:
                answer = await self._read(
                    incoming, shares, self._redactor_of(request.headers.get(_KEY_HEADER, ""))
                )
            if keeping is None:
                headers = _upload_headers(request, incoming)
                return httpx2.Response(_OK, headers=headers, content=answer.whole())
        keeping.answers.append(answer)
        return httpx2.Response(_OK, content=b"{}")

    async def send(self, letter: Letter, prompt: str, *, seconds: float) -> None:
        """Send a letter and keep its answer; see `keep_answer`.

        Args:
            letter: As the SDK wrote it.
            prompt: Goes into its gap.
            seconds: Deadline of the call.

        Raises:
            Exception: As `handle_async_request`.
        """
        keeping = _keeping.get() or _Keeping()
        connect_seconds = min(seconds, CONNECT_TIMEOUT_SECONDS)
        request = letter.ready(prompt)
        is_short = len(request) <= MAX_SENT_BYTES
        if self._wire is not None and is_short and is_possible():
            sent = self._sent_raw(self._wire, letter.origin, request, connect_seconds)
        else:
            sent = self._sent_stock(
                httpx2.Request(
                    "POST",
                    letter.url,
                    headers=letter.headers,
                    content=letter.body(prompt),
                    extensions={"timeout": {"connect": connect_seconds}},
                )
            )
        async with sent as incoming:
            redactor = self._redactor_of(letter.key)
            keeping.answers.append(await self._read(incoming, keeping.shares, redactor))

    @asynccontextmanager
    async def streamed(
        self, request: httpx2.Request, *, statuses: Collection[int], seconds: float
    ) -> AsyncGenerator[tuple[httpx2.Response, Redactor]]:
        """Send a request and hand its answer out unread, however long it is.

        Args:
            request: As the SDK wrote it.
            statuses: Those of answers that are handed out.
            seconds: Deadline of the answer's head; its body is the caller's to watch.

        Yields:
            An answer whose body is not encoded, and what takes the key out of it.

        Raises:
            ProviderError: Any other answer.
            TimeoutError: None came in time.
        """
        request.headers["accept-encoding"] = "identity"
        request.extensions = {"timeout": {"connect": min(seconds, CONNECT_TIMEOUT_SECONDS)}}
        redactor = self._redactor_of(request.headers.get(_KEY_HEADER, ""))
        async with AsyncExitStack() as stack:
            with anyio.fail_after(seconds), ExitStack() as shares:
                response = await self._stock.handle_async_request(request)
                stack.push_async_callback(response.aclose)
                incoming = _Stock(response)
                if incoming.status not in statuses:
                    stack.push_async_callback(incoming.aclose)
                    await self._read(incoming, shares, redactor)
            if _is_encoded(incoming):
                raise compressed(is_free=True)
            yield response, redactor

    async def aclose(self) -> None:
        """Close all connections."""
        if self._wire is not None and is_possible():
            await self._wire.aclose()
        await self._stock.aclose()

    def _sent(self, request: httpx2.Request) -> AbstractAsyncContextManager[_Incoming]:
        """Send a request of the SDK: over our own wire where that is possible."""
        seconds = request.extensions["timeout"]["connect"]
        body = request.content
        if self._wire is None or len(body) > MAX_SENT_BYTES or not is_possible():
            return self._sent_stock(request)
        head = head_of(request)
        whole = b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body)
        return self._sent_raw(self._wire, origin_of(request.url), whole, seconds)

    @asynccontextmanager
    async def _sent_raw(
        self, wire: Wire, origin: Origin, request: bytes, connect_seconds: float
    ) -> AsyncGenerator[_Incoming]:
        exchange = await wire.exchange(origin, request, connect_seconds=connect_seconds)
        try:
            yield exchange
        finally:
            exchange.close()

    @asynccontextmanager
    async def _sent_stock(self, request: httpx2.Request) -> AsyncGenerator[_Incoming]:
        incoming = _Stock(await self._stock.handle_async_request(request))
        try:
            yield incoming
        finally:
            await incoming.aclose()

    async def _read(self, incoming: _Incoming, shares: ExitStack, redactor: Redactor) -> Cut:
        """Read the answer to its end and cut it.

        Raises:
            ProviderError: It is an error, or has no end.
        """
        share = shares.enter_context(self._room.share())
        if incoming.status == _OK:
            await _read_answer(incoming, share)
            body = incoming.body
            return cut(body.memory, redactor, size_bytes=body.size_bytes)
        # 3xx ends here too: following it would carry the key to another origin.
        headers = {name: redactor.text(text) for name, text in incoming.headers.items()}
        text = redactor.body(await _read_error(incoming))
        raise fault_of_answer(incoming.status, headers, text)

    def _redactor_of(self, key: str) -> Redactor:
        if self._redactor[0] != key:
            self._redactor = (key, Redactor(key))
        return self._redactor[1]


class _Stock:
    """An answer that httpx2 reads: on trio, through a proxy, and for long requests."""

    def __init__(self, response: httpx2.Response) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        length = self.headers.get("content-length", "")
        self.length = int(length) if length.isascii() and length.isdigit() else None
        self.body = Body()
        self.is_whole = False
        self._response = response
        self._pieces = response.aiter_raw()

    async def read_on(self, size_bytes: int) -> None:
        until_bytes = self.body.size_bytes + size_bytes
        while self.body.size_bytes < until_bytes and not self.is_whole:
            piece = await anext(self._pieces, None)
            if piece is None:
                self.is_whole = True
            else:
                self.body.add(piece)

    async def aclose(self) -> None:
        self.body.close()
        await self._pieces.aclose()
        await self._response.aclose()


def _is_encoded(incoming: _Incoming) -> bool:
    return incoming.headers.get("content-encoding", "").strip().lower() not in {"", "identity"}


async def _read_answer(incoming: _Incoming, share: Share) -> None:
    """Read a 200 to its end.

    Raises:
        TransientError: It is compressed, or has no end.
    """
    if _is_encoded(incoming):
        raise compressed()
    await share.take(USUAL_BYTES)  # it may be there already
    while not incoming.is_whole:
        if max(incoming.body.size_bytes, incoming.length or 0) > MAX_ANSWER_BYTES:
            raise too_large(MAX_ANSWER_BYTES)
        await share.take(STEP_BYTES)
        await incoming.read_on(STEP_BYTES)


async def _read_error(incoming: _Incoming) -> bytes:
    """Return the beginning of an error: it is one after 64 KiB of it."""
    if _is_encoded(incoming):
        return b""  # the status says enough
    while not incoming.is_whole and incoming.body.size_bytes <= MAX_ERROR_BYTES:
        await incoming.read_on(MAX_ERROR_BYTES)
    return incoming.body.memory[: incoming.body.size_bytes]


def _upload_headers(request: httpx2.Request, incoming: _Incoming) -> dict[str, str]:
    """Return the headers by which the SDK goes on with an upload, for the same server only.

    Raises:
        TransientError: The file is to go to another server; or nothing is said of a piece that
            was sent, and the SDK would send it again and again, asleep in between.
    """
    if "upload" in request.headers.get(_UPLOAD_COMMAND, "") and not incoming.headers.get(
        _UPLOAD_STATUS
    ):
        raise unreadable("not a word about the upload", is_free=True)
    url = incoming.headers.get(_UPLOAD_URL, "")
    if url and not is_same_origin(url, str(request.url)):
        raise elsewhere(url)
    kept = (_UPLOAD_URL, _UPLOAD_STATUS)
    return {name: incoming.headers[name] for name in kept if name in incoming.headers}
