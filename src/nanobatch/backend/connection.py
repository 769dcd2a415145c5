"""One HTTP/1.1 connection over asyncio: the kernel writes a body to where it is decoded from."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import h11
import httpx2

if TYPE_CHECKING:
    from nanobatch.backend.buffers import Buffers

__all__ = ["Connection", "Origin"]

_HEAD_BYTES: Final = 4 * 1024
"""Read first: a head and little more, because what follows it is copied."""

_PIECE_BYTES: Final = 64 * 1024
_ANY_REQUEST: Final = h11.Request(method="POST", target="/", headers=[("host", "any")])
_END: Final = h11.EndOfMessage()
_OK: Final = 200


class Origin(NamedTuple):
    """Where a connection leads."""

    scheme: str
    host: str
    port: int


class _State(Enum):
    IDLE = "no answer is expected"
    HEAD = "a request is out, its answer has no head yet"
    WAITING = "its answer has a head and waits for memory"
    WHOLE = "the event loop writes the body to where it stays"
    PIECES = "the body is asked for piece by piece"
    DONE = "the answer is there whole"


class Connection(asyncio.BufferedProtocol):
    """One connection. The event loop asks where to read to, so a body is written where it stays."""

    def __init__(self, loop: asyncio.AbstractEventLoop, origin: Origin, buffers: Buffers) -> None:
        self.loop = loop
        self.origin = origin
        self._buffers = buffers
        self.idle_since = 0.0
        self.response = h11.Response(status_code=_OK, headers=[])
        self.body: bytearray | None = None
        self.size_bytes = 0
        self._transport: asyncio.Transport | None = None
        self._state = _State.IDLE
        self._reader = h11.Connection(h11.CLIENT)
        self._waiter: asyncio.Future[None] | None = None
        self._scratch = bytearray(_HEAD_BYTES)
        self._into = memoryview(self._scratch)
        self._most_whole_bytes = 0
        self._is_ended = False
        self._fault: httpx2.TransportError | None = None

    async def ask(self, request: bytes, *, most_whole_bytes: int) -> None:
        """Send a request; return when its answer's head is there, with a short body behind it."""
        self._reader = h11.Connection(h11.CLIENT)
        self._reader.send(_ANY_REQUEST)
        self._reader.send(_END)
        self._most_whole_bytes = most_whole_bytes
        self._state = _State.HEAD
        if self._transport is None or self._is_ended:
            raise httpx2.ReadError("The connection is closed.")
        self._transport.write(request)
        await self._wait()

    async def piece(self) -> bytes:
        """Return the next piece of the body; empty at its end."""
        while True:
            event = self._next_event()
            if isinstance(event, h11.Data):
                return bytes(event.data)
            if event is not h11.NEED_DATA:
                return b""
            if self._fault is not None:
                raise self._fault
            if self._is_ended:
                self._receive(b"")
            else:
                self._go_on_reading()
                await self._wait()

    def rest(self) -> bool:
        """Forget the answer and wait for the next request; `False` if there can be none."""
        self.let_go()
        self._into = memoryview(self._scratch)
        is_read = self._state is _State.DONE or (
            self._state is _State.PIECES
            and (self._reader.our_state, self._reader.their_state) == (h11.DONE, h11.DONE)
        )
        self._state = _State.IDLE
        if not is_read or not self.is_open:
            return False
        self._go_on_reading()  # to see it being closed
        return True

    @property
    def is_open(self) -> bool:
        """Whether it can take a request."""
        return not (self._is_ended or self._transport is None or self._transport.is_closing())

    def let_go(self) -> None:
        """Give the body's memory back."""
        body, self.body = self.body, None
        if body is not None:
            self._buffers.give_back(body)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of where to write."""
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where to read to: the rest of the body, and nothing behind it."""
        del sizehint
        return self._into

    def buffer_updated(self, nbytes: int) -> None:
        """Go on with what was read."""
        match self._state:
            case _State.WHOLE:
                self._into = self._into[nbytes:]
                if not self._into:
                    self._into = memoryview(self._scratch)
                    self._state = _State.DONE
                    self._wake()
            case _State.HEAD:
                self._receive(bytes(self._into[:nbytes]))
                self._read_head()
            case _State.PIECES:
                self._receive(bytes(self._into[:nbytes]))
                self._stop_reading()
                self._wake()
            case _State.IDLE | _State.DONE | _State.WAITING:  # an answer to no question
                self._is_ended = True
                self.abort()

    def eof_received(self) -> bool:
        """Take note that nothing more comes; the connection closes itself."""
        self._end(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that nothing more comes, and why."""
        self._end(exc)
        self._transport = None

    def _end(self, error: Exception | None) -> None:
        self._is_ended = True
        if error is not None:
            self._fail(httpx2.ReadError(str(error)))
        elif self._state is _State.HEAD:
            self._fail(httpx2.RemoteProtocolError("It ended without an answer."))
        elif self._state in (_State.WHOLE, _State.WAITING):
            self._fail(httpx2.RemoteProtocolError("The answer ended before its length."))
        self._wake()

    def _read_head(self) -> None:
        """Read as much of the head as is there; behind it, find out how the body comes."""
        try:
            event = self._reader.next_event()
            while isinstance(event, h11.InformationalResponse):
                event = self._reader.next_event()
        except h11.RemoteProtocolError as error:
            self._fail(httpx2.RemoteProtocolError(str(error)))
            return
        if event is h11.NEED_DATA:
            return
        if not isinstance(event, h11.Response):
            self._fail(httpx2.RemoteProtocolError("That is no answer."))
            return
        self.response = event
        length = _length(event)
        is_kept_open = self._reader.our_state is h11.DONE
        if length is not None and 0 < length <= self._most_whole_bytes and is_kept_open:
            self._wait_for_memory(length)
        else:
            self._state = _State.PIECES
            self._stop_reading()
            self._into = memoryview(bytearray(_PIECE_BYTES))
            self._wake()

    def _wait_for_memory(self, length: int) -> None:
        """Have the body read as soon as there is memory for it."""
        begun = self._reader.trailing_data[0]
        if len(begun) > length:
            self._fail(httpx2.RemoteProtocolError("The answer is longer than it says."))
            return
        self._state = _State.WAITING
        if not self._buffers.ask(lambda: self._read_whole(begun, length)):
            self._stop_reading()

    def _read_whole(self, begun: bytes, length: int) -> None:
        """Let the event loop write the rest of the body to where it belongs."""
        if self._state is not _State.WAITING:  # given up meanwhile
            return
        self._state = _State.WHOLE
        self.body, self.size_bytes = self._buffers.take(length), length
        self.body[: len(begun)] = begun
        self._into = memoryview(self.body)[len(begun) : length]
        if not self._into:
            self.buffer_updated(0)
        elif not self.is_open:
            self._end(None)
        else:
            self._go_on_reading()

    def _next_event(self) -> object:
        try:
            return self._reader.next_event()
        except h11.RemoteProtocolError as error:
            raise httpx2.RemoteProtocolError(str(error)) from error

    def _receive(self, piece: bytes) -> None:
        with suppress(h11.RemoteProtocolError):  # bytes behind the end: the state says enough
            self._reader.receive_data(piece)

    async def _wait(self) -> None:
        if self._fault is None:
            self._waiter = self.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._fault is not None:
            raise self._fault

    def _fail(self, fault: httpx2.TransportError) -> None:
        self._fault = self._fault or fault
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _stop_reading(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def _go_on_reading(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()


def _length(response: h11.Response) -> int | None:
    """Return how long a plain 200 says it is; `None` for everything that h11 is to read."""
    length: int | None = None
    if response.status_code != _OK:
        return None
    for name, value in response.headers:
        if name == b"transfer-encoding":
            return None
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            return None
        if name == b"content-length":
            length = int(value)
    return length
