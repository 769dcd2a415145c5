"""Memory that bodies are read to, used again and again: fresh pages cost 0.3 ms a megabyte."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Buffers"]

_ROUND_BYTES: Final = 64 * 1024
_SPARE_BUFFERS: Final = 8
_BUFFERS_IN_USE: Final = 32
_LONGEST_WAIT_SECONDS: Final = 0.5


class Buffers:
    """Buffers for bodies, shared by all connections of one wire.

    A connection has one only from its answer's head to its end. When many answers come at once,
    some wait in the kernel, so that one after the other comes in whole, not all of them half.
    None waits long: the others may have stalled.
    """

    def __init__(self) -> None:
        self._spare: list[bytearray] = []
        self._in_use = 0
        self._line: deque[Callable[[], None]] = deque()

    def ask(self, start: Callable[[], None]) -> bool:
        """Have `start` called when there is a buffer; return whether it was called at once."""
        if self._in_use < _BUFFERS_IN_USE:
            start()
            return True
        self._line.append(start)
        asyncio.get_running_loop().call_later(_LONGEST_WAIT_SECONDS, self._start, start)
        return False

    def take(self, size_bytes: int) -> bytearray:
        """Return one of at least that size, with anything in it."""
        self._in_use += 1
        while self._spare:
            buffer = self._spare.pop()
            if len(buffer) >= size_bytes:
                return buffer
        return bytearray(-(-size_bytes // _ROUND_BYTES) * _ROUND_BYTES)

    def give_back(self, buffer: bytearray) -> None:
        """Keep one for the next answer."""
        self._in_use -= 1
        if len(self._spare) < _SPARE_BUFFERS:
            self._spare.append(buffer)
        while self._line and self._in_use < _BUFFERS_IN_USE:
            self._line.popleft()()

    def _start(self, start: Callable[[], None]) -> None:
        with suppress(ValueError):  # it had its turn
            self._line.remove(start)
            start()
