"""The ways in which an answer reaches the client, or does not."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import anyio

if TYPE_CHECKING:
    from nanobatch.simulator.exchange import Exchange, Message

__all__ = [
    "Delivery",
    "Landing",
    "close",
    "cut",
    "drip",
    "endless",
    "gzipped",
    "interim_flood",
    "reset",
    "reset_in_body",
    "slow",
    "stall",
    "stall_in_body",
    "whole",
]

_LAST_BYTES = 512
_PIECES = 20
_EARLY_HINTS = 103


class Landing(Protocol):
    """Told once, just before the last byte, that a call is over."""

    def __call__(self, *, answered: bool) -> None:
        """Take the call out of the air; `answered` says whether the answer is complete."""
        ...


class Delivery(Protocol):
    """Writes one answer.

    The landing is called before the last byte is written, never after: a client that has read
    everything may send its next request before this task runs again, and would otherwise be
    counted twice.
    """

    async def __call__(self, exchange: Exchange, message: Message, landing: Landing) -> None:
        """Write the message.

        Raises:
            OSError: The client has gone.
        """
        ...


async def whole(exchange: Exchange, message: Message, landing: Landing) -> None:
    """Write everything at once."""
    body = memoryview(message.body)
    await exchange.start(message)
    await exchange.send(body[:-_LAST_BYTES])
    landing(answered=True)
    await exchange.send(body[-_LAST_BYTES:])
    await exchange.end()


async def gzipped(exchange: Exchange, message: Message, landing: Landing) -> None:
    """Write it compressed, whatever the client asked for."""
    packed = replace(
        message,
        body=gzip.compress(message.body, compresslevel=1, mtime=0),
        headers=(*message.headers, ("content-encoding", "gzip")),
    )
    await whole(exchange, packed, landing)


def cut(fraction: float) -> Delivery:
    """Announce the whole body, write a part of it, close."""

    async def deliver(exchange: Exchange, message: Message, landing: Landing) -> None:
        await exchange.start(message)
        await exchange.send(memoryview(message.body)[: int(len(message.body) * fraction)])
        landing(answered=False)
        exchange.line.close()

    return deliver


def reset_in_body(fraction: float) -> Delivery:
    """Announce the whole body, write a part of it, break the connection with a TCP reset."""

    async def deliver(exchange: Exchange, message: Message, landing: Landing) -> None:
        await exchange.start(message)
        await exchange.send(memoryview(message.body)[: int(len(message.body) * fraction)])
        landing(answered=False)
        exchange.line.reset()

    return deliver


def slow(seconds: float) -> Delivery:
    """Write the body in twenty pieces over a time."""

    async def deliver(exchange: Exchange, message: Message, landing: Landing) -> None:
        body = memoryview(message.body)
        await exchange.start(message)
        for piece in range(_PIECES):
            await anyio.sleep(seconds / _PIECES)
            start, end = (len(body) * at // _PIECES for at in (piece, piece + 1))
            if piece == _PIECES - 1:
                landing(answered=True)
            await exchange.send(body[start:end])
        await exchange.end()

    return deliver


def drip(seconds_per_byte: float) -> Delivery:
    """Write the body byte by byte: every read succeeds and the end never seems to come."""

    async def deliver(exchange: Exchange, message: Message, landing: Landing) -> None:
        body = memoryview(message.body)
        await exchange.start(message)
        for at in range(len(body) - 1):
            await exchange.send(body[at : at + 1])
            await anyio.sleep(seconds_per_byte)
        landing(answered=True)
        await exchange.send(body[-1:])
        await exchange.end()

    return deliver


async def endless(exchange: Exchange, message: Message, landing: Landing) -> None:
    """Write the body, then white space until the client leaves."""
    await exchange.start(message, is_endless=True)
    await exchange.send(message.body)
    filler = b" " * 65_536
    try:
        while True:
            await exchange.send(filler)
    finally:
        landing(answered=False)


async def stall(exchange: Exchange, message: Message, landing: Landing) -> None:  # noqa: ARG001
    """Write nothing until the client leaves."""
    await exchange.line.gone()
    landing(answered=False)


def stall_in_body(fraction: float) -> Delivery:
    """Write a part of the body, then nothing until the client leaves."""

    async def deliver(exchange: Exchange, message: Message, landing: Landing) -> None:
        await exchange.start(message)
        await exchange.send(memoryview(message.body)[: int(len(message.body) * fraction)])
        await exchange.line.gone()
        landing(answered=False)

    return deliver


async def interim_flood(exchange: Exchange, message: Message, landing: Landing) -> None:  # noqa: ARG001
    """Write interim answers until the client leaves."""
    try:
        while True:
            await exchange.interim(_EARLY_HINTS)
    finally:
        landing(answered=False)


async def reset(exchange: Exchange, message: Message, landing: Landing) -> None:  # noqa: ARG001
    """Break the connection with a TCP reset."""
    landing(answered=False)
    exchange.line.reset()


async def close(exchange: Exchange, message: Message, landing: Landing) -> None:  # noqa: ARG001
    """Close the connection cleanly."""
    landing(answered=False)
    exchange.line.close()
