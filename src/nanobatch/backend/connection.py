"""One HTTP/1.1 connection over asyncio: the kernel writes a body to where it is decoded from."""

from __future__ import annotations

import asyncio
import select
import sys
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import h11
import httpx2

from nanobatch.backend.buffers import USUAL_BYTES, Body

if TYPE_CHECKING:
    from nanobatch.backend.buffers import Buffers

__all__ = ["Connection", "Origin"]

_HEAD_BYTES: Final = 4 * 1024
"""Read first: a head and little more, because what follows it is copied."""

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
    PAUSED = "nothing is read until somebody asks for more"
    PLAIN = "the event loop writes the body to where it stays"
    FRAMED = "h11 finds the body in what is read"
    DONE = "the answer is there whole"


class Connection(asyncio.BufferedProtocol):
    """One connection. The event loop asks where to read to, so a body is written where it stays.

    Args:
        loop: Whose it is.
        origin: Where it leads.
        buffers: Memory for bodies.
        most_bytes: A 200 that says it is longer is not read at all.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, origin: Origin, buffers: Buffers, *, most_bytes: int
    ) -> None:
        self.loop = loop
        self.origin = origin
        self.idle_since = 0.0
        self.response = h11.Response(status_code=_OK, headers=[])
        self.length: int | None = None
        """How long a plain 200 says it is; `None` for everything that h11 is to read."""
        self._buffers = buffers
        self._most_bytes = most_bytes
        self._body: Body | None = None
        self._until_bytes = 0
        """How much of the body may be read before somebody asks for more."""
        self._transport: asyncio.Transport | None = None
        self._state = _State.IDLE
        self._reader = h11.Connection(h11.CLIENT)
        self._waiter: asyncio.Future[None] | None = None
        self._into = buffers.scratch
        self._is_kept_open = False
        """Whether a next answer may come here."""
        self._is_ended = False
        self._fault: httpx2.TransportError | None = None

    async def ask(self, request: bytes) -> None:
        """Send a request; return when its answer's head is there, with a usual body behind it."""
        self._reader = h11.Connection(h11.CLIENT)
        self._reader.send(_ANY_REQUEST)
        self._reader.send(_END)
        self._state = _State.HEAD
        self._into = self._buffers.scratch[:_HEAD_BYTES]
        self.length = None
        if self._transport is None or self._is_ended:
            raise httpx2.ReadError("The connection is closed.")
        self._transport.write(request)
        await self._wait()

    async def read_on(self, size_bytes: int) -> None:
        """Read about so many bytes more of the body, or to its end."""
        self._until_bytes = self.body.size_bytes + size_bytes
        self._go_on()
        if self._state in (_State.PLAIN, _State.FRAMED):
            await self._wait()

    @property
    def body(self) -> Body:
        """What is there of the body; it is gone once the answer is."""
        if self._body is None:
            self._body = Body()
        return self._body

    @property
    def is_whole(self) -> bool:
        """Whether the body is there to its end."""
        return self._state is _State.DONE

    def rest(self) -> bool:
        """Forget the answer and wait for the next request; `False` if there can be none."""
        is_read, self._state = self._state is _State.DONE, _State.IDLE
        self._into = self._buffers.scratch  # before the memory becomes somebody else's
        if self._body is not None:
            body, self._body = self._body, None
            body.close()
        if not (is_read and self._is_kept_open and self.is_open):
            return False
        self._go_on_reading()  # to see it being closed
        return True

    @property
    def is_open(self) -> bool:
        """Whether it can take a request."""
        return not (self._is_ended or self._transport is None or self._transport.is_closing())

    @property
    def has_news(self) -> bool:
        """Whether something came that the event loop has not seen yet: most likely its end."""
        if self._transport is None:
            return True
        return _is_readable(self._transport.get_extra_info("socket").fileno())

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
            case _State.PLAIN:
                self.body.size_bytes += nbytes
                self._into = self._into[nbytes:]
                if not self._into:
                    self._fill()
            case _State.HEAD:
                self._receive(bytes(self._into[:nbytes]))
                self._read_head()
            case _State.FRAMED:
                self._receive(bytes(self._into[:nbytes]))
                self._drain()
            case _State.IDLE | _State.WAITING | _State.PAUSED | _State.DONE:
                self._is_ended = True  # an answer to no question
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
        if self._is_ended and error is None:
            return
        self._is_ended = True
        if error is not None:
            self._fail(httpx2.ReadError(str(error)))
        elif self._state is _State.HEAD:
            self._fail(httpx2.RemoteProtocolError("It ended without an answer."))
        elif self._state is _State.PLAIN:
            self._fail(httpx2.RemoteProtocolError("The answer ended before its length."))
        elif self._state is _State.FRAMED:
            self._receive(b"")
            self._drain()

    def _read_head(self) -> None:
        """Read as much of the head as is there; behind it, let the body come."""
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
        self._is_kept_open = self._reader.our_state is h11.DONE
        is_plain, self.length = _length(event)
        if is_plain and (self.length or 0) <= self._most_bytes:
            self._state = _State.WAITING
            if not self._buffers.ask(self._begin):
                self._stop_reading()
        else:
            self._pause()

    def _begin(self) -> None:
        """Let the body come in, now that there is memory for it."""
        if self._state is not _State.WAITING:  # given up meanwhile
            return
        self._until_bytes = USUAL_BYTES
        try:
            self._body = self._buffers.body(self.length)
            if self.length is not None:
                begun = self._reader.trailing_data[0]
                self._is_kept_open = self._is_kept_open and len(begun) <= self.length
                self._body.add(begun[: self.length])
            self._go_on()
        except OSError as error:  # the system has no memory for it
            self._fail(httpx2.ReadError(f"No memory for the answer: {error.strerror}."))

    def _go_on(self) -> None:
        """Read up to what somebody has asked for."""
        if self.length is None:
            self._state, self._into = _State.FRAMED, self._buffers.scratch
            if self._is_ended:
                self._receive(b"")
            self._drain()
        else:
            self._state = _State.PLAIN
            self._fill()
        if self._state in (_State.PLAIN, _State.FRAMED):
            if self._is_ended:
                self._fail(httpx2.RemoteProtocolError("The answer ended before its length."))
            else:
                self._go_on_reading()

    def _fill(self) -> None:
        """Say where the next bytes of a plain body go, if there are any."""
        self._into = self._buffers.scratch
        missing = cast("int", self.length) - self.body.size_bytes
        wanted = min(missing, self._until_bytes - self.body.size_bytes)
        if missing == 0:
            self._done()
        elif wanted <= 0:
            self._pause()
        else:
            self._into = self.body.window(wanted)

    def _drain(self) -> None:
        """Move what h11 has found of the body to where it stays."""
        try:
            while self.body.size_bytes < self._until_bytes:
                event = self._reader.next_event()
                if isinstance(event, h11.Data):
                    self.body.add(event.data)
                elif event is h11.NEED_DATA:
                    return
                else:
                    is_ready = (self._reader.our_state, self._reader.their_state)
                    behind = self._reader.trailing_data[0]
                    self._is_kept_open = is_ready == (h11.DONE, h11.DONE) and not behind
                    self._done()
                    return
        except h11.RemoteProtocolError as error:
            self._fail(httpx2.RemoteProtocolError(str(error)))
            return
        self._pause()

    def _done(self) -> None:
        self._state = _State.DONE
        self._wake()

    def _pause(self) -> None:
        self._state = _State.PAUSED
        self._stop_reading()
        self._wake()

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


def _length(response: h11.Response) -> tuple[bool, int | None]:
    """Return whether an answer is a plain 200, and how long it then says it is."""
    length: int | None = None
    if response.status_code != _OK:
        return False, None
    for name, value in response.headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            return False, None
        if name == b"transfer-encoding":
            return True, None
        if name == b"content-length":
            length = int(value)
    return True, length


def _is_readable(descriptor: int) -> bool:
    if sys.platform == "win32":
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
