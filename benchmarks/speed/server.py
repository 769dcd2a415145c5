"""A server that answers as fast as sockets allow, so that the client is what is measured."""

from __future__ import annotations

import argparse
import asyncio
import gzip
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.speed.payload import answer_with

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_PIECE_BYTES = 512 * 1024
"""Written at a time: what a socket does not take at once is copied by asyncio."""


class _Answering(asyncio.Protocol):
    """One connection: reads requests whole and answers each after the latency."""

    def __init__(self, plain: bytes, zipped: bytes | None, latency_seconds: float) -> None:
        self._plain = plain
        self._zipped = zipped
        self._latency_seconds = latency_seconds
        self._received = bytearray()
        self._rest = memoryview(b"")
        self._is_paused = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of where to write."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - tells the type checker
        # Not 0: TLS in asyncio pauses at the limit, and 0 is reached by an empty buffer.
        transport.set_write_buffer_limits(high=1, low=0)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Write nothing more."""
        del exc
        self._transport = None

    def pause_writing(self) -> None:
        """Wait until the socket has taken what was written."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._is_paused = False
        self._write_rest()

    def data_received(self, data: bytes) -> None:
        """Answer a request once it is whole."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end]).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or b"0")
            if len(self._received) < end + 4 + length:
                return
            del self._received[: end + 4 + length]
            accepted = head.partition(b"accept-encoding:")[2].partition(b"\r\n")[0]
            answer = self._zipped if self._zipped and b"gzip" in accepted else self._plain
            if self._latency_seconds:
                loop = asyncio.get_running_loop()
                loop.call_later(self._latency_seconds, self._answer, answer)
            else:
                self._answer(answer)

    def _answer(self, answer: bytes) -> None:
        self._rest = memoryview(answer)
        self._write_rest()

    def _write_rest(self) -> None:
        while self._rest and not self._is_paused and self._transport is not None:
            piece, self._rest = self._rest[:_PIECE_BYTES], self._rest[_PIECE_BYTES:]
            self._transport.write(piece)


def _plain(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def _zipped(body: bytes) -> bytes:
    """Return a compressed answer in chunks, as Google's front end sends one."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n"
    chunks = [
        b"%x\r\n%s\r\n" % (len(chunk), chunk)
        for start in range(0, len(body), 65_536)
        if (chunk := body[start : start + 65_536])
    ]
    head += b"transfer-encoding: chunked\r\n\r\n"
    return head + b"".join(chunks) + b"0\r\n\r\n"


async def _serve(options: argparse.Namespace) -> None:
    body = answer_with(options.image.read_bytes())
    plain = _plain(body)
    zipped = _zipped(gzip.compress(body, 6)) if options.gzip else None
    context = None
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate)
    server = await asyncio.get_running_loop().create_server(
        lambda: _Answering(plain, zipped, options.latency_ms / 1000),
        "127.0.0.1",
        0,
        ssl=context,
        backlog=1024,
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until killed; the first line on stdout is the port."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=Path, required=True, help="the file every answer holds")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--gzip", action="store_true", help="compress for those who accept it")
    parser.add_argument("--certificate", default="", help="PEM file with key: serve TLS")
    asyncio.run(_serve(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
