"""The one HTTP transport under the SDK: one call is one request, and its answer has limits.

Passing a transport also switches off the SDK's hidden second sending of a lost request, which it
does whenever aiohttp happens to be installed (google-genai 3.4.0: `_use_aiohttp`).
"""

from __future__ import annotations

from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, cast

import httpx2

from nanobatch.backend.translate import compressed, fault_of_answer, too_large

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["GuardedTransport", "keep_answer"]

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
CONNECT_TIMEOUT_SECONDS = 15.0
_OK = 200

_kept: ContextVar[list[bytes | str] | None] = ContextVar("nanobatch_kept_answer", default=None)


@contextmanager
def keep_answer() -> Generator[list[bytes | str]]:
    """Collect the raw body of the call made inside; the SDK itself then sees an empty answer.

    The SDK would parse the megabyte of base64 twice and refuse it for one odd field.
    """
    bodies: list[bytes | str] = []
    token = _kept.set(bodies)
    try:
        yield bodies
    finally:
        _kept.reset(token)


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends each request once: no redirect, no compression, no endless body, no waiting line.

    Args:
        proxy: URL of the proxy to go through; directly if `None`.
    """

    def __init__(self, proxy: str | None = None) -> None:
        # No cap on connections: the pipeline's own permits decide how many calls are in flight,
        # and httpx2's default of 100 would silently queue calls whose deadline already runs.
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        self._wire = httpx2.AsyncHTTPTransport(limits=limits, retries=0, proxy=proxy)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request and read its answer whole.

        Raises:
            ProviderError: For every complete answer that is not 200.
            TransientError: If the body is compressed, or longer than the cap.
        """
        request.headers["accept-encoding"] = "identity"
        timeout = cast("dict[str, float | None]", request.extensions.get("timeout") or {})
        longest = timeout.get("connect") or CONNECT_TIMEOUT_SECONDS
        timeout = {**timeout, "connect": min(longest, CONNECT_TIMEOUT_SECONDS)}
        request.extensions = {**request.extensions, "timeout": timeout}
        response = await self._wire.handle_async_request(request)
        try:
            body = await _read(response)
        finally:
            await response.aclose()
        if response.status_code != _OK:
            # 3xx ends here too: following it would carry the key to another origin.
            key = request.headers.get("x-goog-api-key", "").encode()
            body = body.replace(key, b"[key]") if key else body
            raise fault_of_answer(response.status_code, response.headers, body)
        bodies = _kept.get()
        if bodies is None:
            return httpx2.Response(_OK, headers=response.headers, content=body)
        bodies.append(body)
        return httpx2.Response(_OK, content=b"{}")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._wire.aclose()


async def _read(response: httpx2.Response) -> bytes:
    is_ok = response.status_code == _OK
    if response.headers.get("content-encoding", "").strip().lower() not in {"", "identity"}:
        if not is_ok:
            return b""  # the status says enough
        raise compressed()
    cap = MAX_ANSWER_BYTES if is_ok else MAX_ERROR_BYTES
    body = bytearray()
    async with aclosing(response.aiter_raw()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) <= cap:
                continue
            if not is_ok:
                break  # an error is an error after 64 KiB of it
            raise too_large(cap)
    return bytes(body)
