"""Answers that no honest provider gives: far too large, packed, or all headers and no end."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING

from nanobatch.simulator import Answer, answers

if TYPE_CHECKING:
    from nanobatch.simulator.delivery import Landing
    from nanobatch.simulator.exchange import Exchange, Message

MIB = 1024 * 1024
GIB = 1024 * MIB
BOMB_BYTES = 300 * MIB
_PIECE = b" " * 65_536


@dataclass(slots=True)
class Written:
    """How many bytes of one too large body the client let us write."""

    offered_bytes: int
    sent_bytes: int = 0
    client_left: bool = False


def large_body(
    written: Written,
    *,
    is_error: bool = False,
    is_announced: bool = True,
    then_stalls: bool = False,
) -> Answer:
    """A body with an honest length or none, written until the client leaves, or almost."""
    of = answers.internal() if is_error else answers.json_value("[")
    deliver = partial(_pour, written=written, is_announced=is_announced, then_stalls=then_stalls)
    return replace(of, deliver=deliver)


async def _pour(
    exchange: Exchange,
    message: Message,
    landing: Landing,
    *,
    written: Written,
    is_announced: bool,
    then_stalls: bool,
) -> None:
    head = f"HTTP/1.1 {message.status} Large\r\nContent-Type: application/json\r\n"
    length = f"Content-Length: {written.offered_bytes + then_stalls}"
    head += f"{length if is_announced else 'Connection: close'}\r\n\r\n"
    try:
        await exchange.line.send(head.encode())
        while written.sent_bytes < written.offered_bytes:
            await exchange.line.send(_PIECE)
            written.sent_bytes += len(_PIECE)
        if then_stalls:
            await exchange.line.gone()
    except OSError:
        written.client_left = True
        raise
    finally:
        landing(answered=False)
    exchange.line.close()


@cache
def _packed() -> bytes:
    return gzip.compress(bytes(BOMB_BYTES), compresslevel=9, mtime=0)


def gzip_bomb() -> Answer:
    """300 MiB of zeros, packed into a third of a megabyte."""
    return replace(answers.empty_body(), deliver=_send_bomb)


async def _send_bomb(exchange: Exchange, message: Message, landing: Landing) -> None:
    packed = _packed()
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
    await exchange.line.send(f"{head}Content-Length: {len(packed)}\r\n\r\n".encode())
    landing(answered=False)
    await exchange.line.send(packed)
    exchange.line.close()


def huge_header() -> Answer:
    """One header of 64 MiB."""
    return replace(answers.empty_body(), deliver=partial(_send_head, lines=False))


def many_headers() -> Answer:
    """A million header lines."""
    return replace(answers.empty_body(), deliver=partial(_send_head, lines=True))


async def _send_head(
    exchange: Exchange, message: Message, landing: Landing, *, lines: bool
) -> None:
    try:
        await exchange.line.send(b"HTTP/1.1 200 OK\r\nX-Pad: ")
        for _ in range(1_000):
            await exchange.line.send(b"a\r\nX-Pad: " * 6_500 if lines else _PIECE)
    finally:
        landing(answered=False)
    exchange.line.close()


def many_values() -> Answer:
    """60 MiB of empty lists: JSON that takes forty times its size once it is parsed."""
    return answers.json_value('{"candidates": [' + "[]," * (20 * MIB) + "[]]}")


def deep_json() -> Answer:
    """Two million brackets that open."""
    return answers.json_value('{"candidates": ' + "[" * 2_000_000)


def large_text() -> Answer:
    """60 MiB of something that is no JSON and begins like it."""
    return answers.json_value("{" + "welcome " * (60 * MIB // 8))
