"""HTTP/1.1 over asyncio, as little of it as one call needs: here stand the tricks of the wire.

httpx2 hands an answer of a megabyte over in twenty pieces, each through five layers, and copies it
four times. Here the kernel writes the body to where it is decoded from, and the task that waits
wakes up once (docs/explanation/speed.md). h11 still reads every head and every answer that does not
say how long it is.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import anyio
import httpx2

from nanobatch.backend.buffers import Buffers
from nanobatch.backend.connection import Connection, Origin

if TYPE_CHECKING:
    import ssl

    from nanobatch.backend.buffers import Body

__all__ = ["Exchange", "Origin", "Wire", "is_possible"]

CONNECT_TIMEOUT_SECONDS: Final = 15.0
IDLE_SECONDS: Final = 5.0
"""As httpx2: a connection that lies longer may be closed by the server while we write to it, and
what was sent then is money nobody knows about."""

MAX_SENT_BYTES: Final = 64 * 1024
"""What a socket takes at once. A longer request may be refused before it is out, and asyncio
forgets the answer to a request it could not finish; httpx2 reads it."""


def is_possible() -> bool:
    """Return whether the code runs on asyncio; trio has no buffered protocols."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Wire:
    """The connections to one API; each sends one request at a time and never sends one again.

    Args:
        context: For TLS.
        most_bytes: A 200 that says it is longer is not read at all.
    """

    def __init__(self, context: ssl.SSLContext, *, most_bytes: int) -> None:
        self._context = context
        self._most_bytes = most_bytes
        context.set_alpn_protocols(["http/1.1"])
        self.buffers = Buffers()
        """Memory for the answers of all of them."""
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()

    async def exchange(self, origin: Origin, request: bytes, *, connect_seconds: float) -> Exchange:
        """Send a request and return its answer: its head, and a usual body if it is a 200.

        Cancelled, it closes the connection.

        Args:
            origin: Where to.
            request: Head and body, ready to be sent.
            connect_seconds: How long connecting may take.

        Raises:
            httpx2.TransportError: As httpx2 names what went wrong.
        """
        connection = self._reused(origin)
        if connection is None:
            connection = await self._connected(origin, connect_seconds)
        self._busy.add(connection)
        exchange = Exchange(self, connection)
        try:
            await connection.ask(request)
        except BaseException:
            exchange.close()
            raise
        return exchange

    async def aclose(self) -> None:
        """Close all connections."""
        connections = [*self._idle, *self._busy]
        self._idle.clear()
        self._busy.clear()
        for connection in connections:
            connection.abort()
        await asyncio.sleep(0)  # asyncio closes the sockets in its next round

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request, or close it."""
        if connection in self._busy:
            self._busy.discard(connection)
            if connection.rest():
                connection.idle_since = time.monotonic()
                self._idle.append(connection)
                return
        connection.abort()

    def _reused(self, origin: Origin) -> Connection | None:
        """Return the connection that has lain shortest, if it is still good."""
        loop = asyncio.get_running_loop()
        long_ago = time.monotonic() - IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            is_ours = connection.origin == origin and connection.loop is loop
            is_fresh = connection.is_open and connection.idle_since >= long_ago
            if is_ours and is_fresh and not connection.has_news:
                return connection
            connection.abort()
        return None

    async def _connected(self, origin: Origin, connect_seconds: float) -> Connection:
        is_tls = origin.scheme == "https"
        loop = asyncio.get_running_loop()
        try:
            with anyio.fail_after(connect_seconds):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, origin, self.buffers, most_bytes=self._most_bytes),
                    origin.host,
                    origin.port,
                    ssl=self._context if is_tls else None,
                    server_hostname=origin.host if is_tls else None,
                    happy_eyeballs_delay=0.25,
                )
        except TimeoutError as error:
            raise httpx2.ConnectTimeout(str(error)) from error
        except (OSError, UnicodeError) as error:
            raise httpx2.ConnectError(str(error)) from error
        return connection


class Exchange:
    """One request and its answer. Whoever has it closes it."""

    def __init__(self, wire: Wire, connection: Connection) -> None:
        self._wire = wire
        self._connection = connection
        self._is_closed = False

    @property
    def status(self) -> int:
        """The status."""
        return self._connection.response.status_code

    @property
    def headers(self) -> dict[str, str]:
        """The headers, by their names in lower case; what stands twice is joined by commas."""
        headers: dict[str, str] = {}
        for name, value in self._connection.response.headers:
            key, text = name.decode("ascii"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        return headers

    @property
    def length(self) -> int | None:
        """How long a 200 says its body is, if it does."""
        return self._connection.length

    @property
    def body(self) -> Body:
        """What is there of the body; its memory is somebody else's once this is closed."""
        return self._connection.body

    @property
    def is_whole(self) -> bool:
        """Whether that is all of it."""
        return self._connection.is_whole

    async def read_on(self, size_bytes: int) -> None:
        """Read about so many bytes more of it; what is not asked for stays on the wire.

        Raises:
            httpx2.TransportError: It ends too early, or is no HTTP.
        """
        await self._connection.read_on(size_bytes)

    def close(self) -> None:
        """Give the connection back, or close it if the answer was not read to its end."""
        if not self._is_closed:
            self._is_closed = True
            self._wire.give_back(self._connection)
