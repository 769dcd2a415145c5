"""Room for answers that are being read: many large ones at once must not fill the memory."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Room", "Share"]


class Room:
    """Bytes that unfinished answers may take together; the oldest of them never has to wait.

    A call that finds no room leaves its answer on the wire and waits, its deadline running. Since
    the oldest always goes on, answers come in one after another at worst: all of them together
    never take more than the limit and one whole answer.

    Args:
        limit_bytes: What all answers but the oldest may take, > 0.
        free_bytes: What of each answer is not counted: one of usual size never has to wait.
    """

    def __init__(self, limit_bytes: int, *, free_bytes: int = 0) -> None:
        self._limit_bytes = limit_bytes
        self._free_bytes = free_bytes
        self._taken_bytes = 0
        self._shares: dict[Share, None] = {}  # a set that keeps its order
        self._waiting: set[anyio.Event] = set()

    @property
    def taken_bytes(self) -> int:
        """What unfinished answers take now beyond what is free."""
        return self._taken_bytes

    @contextmanager
    def share(self) -> Generator[Share]:
        """Hold a share of the room for one answer; it is given back at the end of the block."""
        share = Share(self)
        self._shares[share] = None
        try:
            yield share
        finally:
            del self._shares[share]
            self._taken_bytes -= self._counted(share.size_bytes)
            for event in self._waiting:
                event.set()

    async def take(self, share: Share, size_bytes: int) -> None:
        """Take room for the next piece of an answer, waiting until there is some."""
        grown = share.size_bytes + size_bytes
        further = self._counted(grown) - self._counted(share.size_bytes)
        while further and self._is_full_for(share, further):
            event = anyio.Event()
            self._waiting.add(event)
            try:
                await event.wait()
            finally:
                self._waiting.discard(event)
        share.size_bytes = grown
        self._taken_bytes += further

    def _counted(self, size_bytes: int) -> int:
        return max(0, size_bytes - self._free_bytes)

    def _is_full_for(self, share: Share, size_bytes: int) -> bool:
        is_oldest = share is next(iter(self._shares))
        return not is_oldest and self._taken_bytes + size_bytes > self._limit_bytes


class Share:
    """What one answer takes of the room."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.size_bytes = 0

    async def take(self, size_bytes: int) -> None:
        """Take room for the next piece, waiting until there is some."""
        await self._room.take(self, size_bytes)
