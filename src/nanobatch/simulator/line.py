"""One accepted TCP connection, plain enough to be cut, reset or starved on purpose.

anyio's own socket streams send a FIN before every close, so a real connection reset is out of
their reach; here the socket is ours and anyio only waits for it.
"""

from __future__ import annotations

import socket
import struct
import sys

import anyio
import anyio.lowlevel

__all__ = ["Line", "accept", "listen"]

_CHUNK_BYTES = 256 * 1024
_LINGER_NOT = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class Line:
    """A non-blocking stream over one socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def receive(self) -> bytes:
        """Return the next bytes; none when the client has closed.

        Raises:
            OSError: The connection is broken.
        """
        while True:
            try:
                return self._sock.recv(_CHUNK_BYTES)
            except (BlockingIOError, InterruptedError):
                await anyio.wait_readable(self._sock)

    async def send(self, content: bytes | memoryview) -> None:
        """Write all bytes.

        Raises:
            OSError: The connection is broken.
        """
        await anyio.lowlevel.checkpoint()
        rest = memoryview(content)
        while rest:
            try:
                rest = rest[self._sock.send(rest[:_CHUNK_BYTES]) :]
            except (BlockingIOError, InterruptedError):
                await anyio.wait_writable(self._sock)

    async def gone(self) -> None:
        """Wait until the client leaves; whatever it still sends is thrown away."""
        try:
            while await self.receive():
                pass
        except OSError:
            return

    def reset(self) -> None:
        """Break the connection: the client sees a reset, not an end."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._sock.close()

    def close(self) -> None:
        """End the connection; closing twice is fine."""
        self._sock.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; the caller closes it.

    Raises:
        OSError: The address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.create_server((host, port), family=family, backlog=1024)
    sock.setblocking(False)  # noqa: FBT003 - the socket module's own signature
    return sock


async def accept(listener: socket.socket) -> Line:
    """Return the next connection."""
    while True:
        try:
            sock = listener.accept()[0]
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            await anyio.wait_readable(listener)
            continue
        try:
            return Line(sock)
        except OSError:  # it has left already
            sock.close()
