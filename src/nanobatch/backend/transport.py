"""The one HTTP transport under the SDK: one call is one request, and its answer has limits.

Passing a transport also switches off the SDK's hidden second sending of a lost request, which it
does whenever aiohttp happens to be installed (google-genai 3.4.0: `_use_aiohttp`).
"""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, cast

import anyio
import httpx2

from nanobatch.backend.address import is_same_origin
from nanobatch.backend.cut import Cut, cut
from nanobatch.backend.letter import Letter, is_dictation
from nanobatch.backend.redact import Redactor
from nanobatch.backend.room import Room
from nanobatch.backend.translate import (
    compressed,
    elsewhere,
    fault_of_answer,
    too_large,
    unreadable,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Generator

    from nanobatch.backend.room import Share

__all__ = ["GuardedTransport", "keep_answer"]

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
USUAL_ANSWER_BYTES = 3 * 1024 * 1024
"""A 1K image in base64, with room to spare: so much of every answer is read without waiting."""
SHARED_BYTES = 16 * 1024 * 1024
"""What unfinished answers may take beyond that together, beside the oldest of them: large ones come
in one after another, and eight endless answers take 104 MiB, not 512."""
LARGE_ANSWER_BYTES = 32 * 1024 * 1024
"""Where an answer begins to grow in one buffer; only the oldest can become so large.

Above this size glibc always gives a buffer pages of its own (`DEFAULT_MMAP_THRESHOLD_MAX`).
Source: https://man7.org/linux/man-pages/man3/mallopt.3.html, M_MMAP_THRESHOLD, from memory.
"""
CONNECT_TIMEOUT_SECONDS = 15.0
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
        """For the SDK's own clients, so that roots are read once."""
        self._wire = httpx2.AsyncHTTPTransport(
            verify=self.context, limits=limits, retries=0, proxy=proxy
        )
        self._room = Room(SHARED_BYTES, free_bytes=USUAL_ANSWER_BYTES)
        self._redactor: tuple[str, Redactor] = ("", Redactor(""))

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
            async with self._sent(request) as response:
                answer = await self._read(
                    response, shares, self._redactor_of(request.headers.get(_KEY_HEADER, ""))
                )
            if keeping is None:
                headers = _upload_headers(request, response)
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
        request = httpx2.Request(
            "POST",
            letter.url,
            headers=letter.headers,
            content=letter.body(prompt),
            extensions={"timeout": {"connect": min(seconds, CONNECT_TIMEOUT_SECONDS)}},
        )
        async with self._sent(request) as response:
            redactor = self._redactor_of(letter.key)
            keeping.answers.append(await self._read(response, keeping.shares, redactor))

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
                response = await stack.enter_async_context(self._sent(request))
                if response.status_code not in statuses:
                    await self._read(response, shares, redactor)
            if not _is_identity(response):
                raise compressed(is_free=True)
            yield response, redactor

    async def aclose(self) -> None:
        """Close all connections."""
        await self._wire.aclose()

    @asynccontextmanager
    async def _sent(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Response]:
        response = await self._wire.handle_async_request(request)
        try:
            yield response
        finally:
            await response.aclose()

    async def _read(self, response: httpx2.Response, shares: ExitStack, redactor: Redactor) -> Cut:
        """Read the answer to its end and cut it.

        Raises:
            ProviderError: It is an error, or has no end.
        """
        body = await _read(response, shares.enter_context(self._room.share()))
        if response.status_code != _OK:
            # 3xx ends here too: following it would carry the key to another origin.
            headers = {name: redactor.text(text) for name, text in response.headers.items()}
            raise fault_of_answer(response.status_code, headers, redactor.body(body))
        return cut(body, redactor)

    def _redactor_of(self, key: str) -> Redactor:
        if self._redactor[0] != key:
            self._redactor = (key, Redactor(key))
        return self._redactor[1]


async def _read(response: httpx2.Response, share: Share) -> bytes:
    is_ok = response.status_code == _OK
    if not _is_identity(response):
        if not is_ok:
            return b""  # the status says enough
        raise compressed()
    body = _Body()
    try:
        return await _fill(body, response, share, is_ok=is_ok)
    finally:
        body.clear()  # a traceback holds this frame, in cycles that nobody collects for long


async def _fill(body: _Body, response: httpx2.Response, share: Share, *, is_ok: bool) -> bytes:
    cap = MAX_ANSWER_BYTES if is_ok else MAX_ERROR_BYTES
    async with aclosing(response.aiter_raw()) as chunks:
        async for chunk in chunks:
            await share.take(len(chunk))
            body.add(chunk)
            if body.size_bytes <= cap:
                continue
            if not is_ok:
                break  # an error is an error after 64 KiB of it
            raise too_large(cap)
    return body.take()


def _is_identity(response: httpx2.Response) -> bool:
    return response.headers.get("content-encoding", "").strip().lower() in {"", "identity"}


def _upload_headers(request: httpx2.Request, response: httpx2.Response) -> dict[str, str]:
    """Return the headers by which the SDK goes on with an upload, for the same server only.

    Raises:
        TransientError: The file is to go to another server; or nothing is said of a piece that
            was sent, and the SDK would send it again and again, asleep in between.
    """
    if "upload" in request.headers.get(_UPLOAD_COMMAND, "") and not response.headers.get(
        _UPLOAD_STATUS
    ):
        raise unreadable("not a word about the upload", is_free=True)
    url = response.headers.get(_UPLOAD_URL, "")
    if url and not is_same_origin(url, str(request.url)):
        raise elsewhere(url)
    kept = (_UPLOAD_URL, _UPLOAD_STATUS)
    return {name: response.headers[name] for name in kept if name in response.headers}


class _Body:
    """Pieces of an answer: small ones are joined at the end, a very large one while it comes.

    Buffers that grow side by side would tear holes into the memory. A very large one has pages of
    its own, which the system moves without a copy: joined at the end it would be there twice.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self._pieces: list[bytes] = []
        self._joined: BytesIO | None = None

    def add(self, piece: bytes) -> None:
        self.size_bytes += len(piece)
        self._pieces.append(piece)
        if self._joined is not None or self.size_bytes > LARGE_ANSWER_BYTES:
            self._joined = self._joined or BytesIO()
            self._joined.writelines(self._pieces)
            self._pieces.clear()

    def take(self) -> bytes:
        """Return it whole; the buffer of a large one is handed over, not copied."""
        return b"".join(self._pieces) if self._joined is None else self._joined.getvalue()

    def clear(self) -> None:
        self._pieces.clear()
        self._joined = None
