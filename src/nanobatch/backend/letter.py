"""A request as the SDK writes it, kept so that the next prompt can be put into it.

The SDK turns a request into bytes through four models and a tree of dictionaries: 2 ms, and all
of it comes out the same for every prompt. So it writes each kind of request once, with a mark for
a prompt, and what it wrote is used again. The SDK still decides what stands there.
"""

from __future__ import annotations

import json
import secrets
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import h11
import httpx2

from nanobatch.backend.wire import Origin

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["MARK", "Kind", "Letter", "dictation", "is_dictation", "written"]

MARK: Final = secrets.token_hex(16)
"""The prompt of a request that is only written down."""

_PORTS: Final = {"http": 80, "https": 443}


class Kind(NamedTuple):
    """What decides how a request is written, beside its prompt."""

    model: str
    aspect_ratio: str
    size: str
    thinking_level: str | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A request with a gap for the prompt."""

    url: str
    headers: list[tuple[bytes, bytes]] = field(repr=False)
    """As the SDK set them, with the key; without a length."""
    key: str = field(repr=False)
    origin: Origin
    head: bytes = field(repr=False)
    """Ready to be sent, but for the length."""
    before: bytes
    after: bytes
    """The body around the prompt's JSON text."""

    def body(self, prompt: str) -> bytes:
        """Return the body with a prompt in its place, as the SDK would write it."""
        return self.before + json.dumps(prompt).encode() + self.after

    def ready(self, prompt: str) -> bytes:
        """Return head and body."""
        body = self.body(prompt)
        return b"%scontent-length: %d\r\n\r\n%s" % (self.head, len(body), body)


_dictated: ContextVar[list[httpx2.Request] | None] = ContextVar("nanobatch_dictated", default=None)


@contextmanager
def dictation() -> Generator[list[httpx2.Request]]:
    """Have what the SDK would send inside written down instead; the SDK sees an empty answer."""
    requests: list[httpx2.Request] = []
    token = _dictated.set(requests)
    try:
        yield requests
    finally:
        _dictated.reset(token)


def is_dictation(request: httpx2.Request) -> bool:
    """Write a request down if it is dictated, and say so."""
    requests = _dictated.get()
    if requests is not None:
        requests.append(request)
    return requests is not None


def written(request: httpx2.Request) -> Letter | None:
    """Make a letter of a request whose prompt is the mark; `None` if it is no such request."""
    before, mark, after = request.content.partition(json.dumps(MARK).encode())
    if not mark or MARK.encode() in after:
        return None
    headers = [pair for pair in request.headers.raw if pair[0].lower() != b"content-length"]
    url = request.url
    return Letter(
        url=str(url),
        headers=headers,
        key=request.headers.get("x-goog-api-key", ""),
        origin=origin_of(url),
        head=head_of(request),
        before=before,
        after=after,
    )


def origin_of(url: httpx2.URL) -> Origin:
    """Return where a URL leads."""
    return Origin(url.scheme, url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme])


def head_of(request: httpx2.Request) -> bytes:
    """Return the head of a request as bytes, checked by h11, without a length and its end.

    Raises:
        httpx2.LocalProtocolError: It cannot be sent.
    """
    headers = [pair for pair in request.headers.raw if pair[0].lower() != b"content-length"]
    try:
        head = h11.Connection(h11.CLIENT).send(
            h11.Request(method=request.method, target=request.url.raw_path, headers=headers)
        )
    except h11.LocalProtocolError as error:
        raise httpx2.LocalProtocolError(str(error)) from error
    return bytes(head or b"").removesuffix(b"\r\n")
