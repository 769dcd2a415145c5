"""HTTP/1.1 on one connection: reads requests whole, writes answers in pieces of any shape."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

import anyio
import h11

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.simulator.line import Line

__all__ = ["Exchange", "Message", "Received", "json_message"]

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_PIECE_BYTES = 1024 * 1024
MAX_HEADER_BYTES = 128 * 1024
MAX_BODY_BYTES = 2 * 1024**3
"""Longest body of any request: the largest file the Files API takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One complete request."""

    method: str
    """In capitals."""

    path: str
    """Decoded, without the query."""

    query: dict[str, str]
    """First value of every query field."""

    headers: dict[str, str]
    """Names in lower case."""

    body: bytes
    """The whole body."""

    size_bytes: int
    """Length of the body as sent; larger than `body` if it was too long to keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One answer as it would be written in full."""

    status: int = 200
    """HTTP status."""

    headers: tuple[tuple[str, str], ...] = ()
    """Beside the length."""

    body: bytes = b""
    """The whole body."""

    path: Path | None = None
    """A file that is the body instead, too large to be held."""

    @property
    def size_bytes(self) -> int:
        """Length of the whole body."""
        return len(self.body) if self.path is None else self.path.stat().st_size


def json_message(body: bytes, *, status: int = 200) -> Message:
    """Return an answer that is JSON."""
    return Message(
        status=status, headers=(("content-type", "application/json; charset=UTF-8"),), body=body
    )


class Exchange:
    """The requests and answers of one keep-alive connection, one after another."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)

    async def next_request(self, *, keep_bytes: int) -> Received | None:
        """Return the next request; `None` when the client has closed.

        Args:
            keep_bytes: Bodies longer than this are read to their end and not kept, except those
                of uploads.

        Raises:
            OSError: The connection is broken.
            h11.RemoteProtocolError: What came is no HTTP.
        """
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        parts = urlsplit(head.target.decode("latin-1"))
        if parts.path.startswith("/upload/"):
            keep_bytes = MAX_BODY_BYTES
        body = bytearray()
        size_bytes = 0
        while isinstance(event := await self._event(), h11.Data):
            size_bytes += len(event.data)
            if size_bytes <= keep_bytes:
                body += event.data
        if not isinstance(event, h11.EndOfMessage):
            return None
        return Received(
            method=head.method.decode("ascii"),
            path=unquote(parts.path),
            query={name: values[0] for name, values in parse_qs(parts.query).items()},
            headers={
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in head.headers
            },
            body=bytes(body),
            size_bytes=size_bytes,
        )

    async def start(self, message: Message, *, is_endless: bool = False) -> None:
        """Write status and headers; an endless body is sent in chunks."""
        headers = [("server", "scaffolding on HTTPServer2"), *message.headers]
        headers.append(
            ("transfer-encoding", "chunked")
            if is_endless
            else ("content-length", str(message.size_bytes))
        )
        reason = _REASONS.get(message.status, "").encode()
        event = h11.Response(status_code=message.status, headers=headers, reason=reason)
        await self._write(self._http.send(event))

    async def interim(self, status: int) -> None:
        """Write a 1xx answer, after which the real one may follow."""
        await self._write(
            self._http.send(h11.InformationalResponse(status_code=status, headers=[]))
        )

    async def send(self, content: bytes | memoryview) -> None:
        """Write a piece of the body."""
        event = h11.Data(data=content)  # type: ignore[arg-type]  # any buffer will do
        for piece in self._http.send_with_data_passthrough(event) or ():
            await self.line.send(piece)

    async def end(self) -> None:
        """Finish the answer, so that the connection can take the next request."""
        await self._write(self._http.send(h11.EndOfMessage()))

    async def write(self, message: Message, *, is_chunked: bool = False) -> None:
        """Write a whole answer, in chunks of unannounced length or not."""
        await self.start(message, is_endless=is_chunked)
        await self._body(message, message.size_bytes)
        await self.end()

    async def write_part(self, message: Message, fraction: float) -> None:
        """Announce a whole answer, write a part of its body, break the connection."""
        await self.start(message)
        await self._body(message, int(message.size_bytes * fraction))
        self.line.close()

    async def _body(self, message: Message, size_bytes: int) -> None:
        """Write the first bytes of a body; a file is never held whole."""
        if message.path is None:
            await self.send(memoryview(message.body)[:size_bytes])
            return
        async with await anyio.open_file(message.path, "rb") as file:
            while size_bytes and (piece := await file.read(min(size_bytes, _PIECE_BYTES))):
                await self.send(piece)
                size_bytes -= len(piece)

    def is_reusable(self) -> bool:
        """Return whether the connection can take another request, and make it ready."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        return False

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            if self._http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                await self._write(self._http.send(go_on))
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]  # h11 types its sentinels loosely
            self._http.receive_data(await self.line.receive())

    async def _write(self, content: bytes | None) -> None:
        if content:
            await self.line.send(content)
