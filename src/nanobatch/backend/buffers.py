"""Memory that bodies are read to: used again, and beside the heap.

Fresh pages cost 0.3 ms a megabyte, so those of a usual body serve the next one. A larger body gets
pages of its own, which the system has back at once: what glibc frees below 32 MiB stays in its
heap, where the next large body, a little larger, finds no room.
"""

from __future__ import annotations

import asyncio
import mmap
import sys
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["USUAL_BYTES", "Body", "Buffers"]

USUAL_BYTES: Final = 3 * 1024 * 1024
"""A 1K image in base64, with room to spare; what of it is never written takes no memory."""

_SCRATCH_BYTES: Final = 64 * 1024
_BODIES_AT_ONCE: Final = 16
_LONGEST_WAIT_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 0.01
"""How often it is looked whether somebody may begin, while somebody waits."""


class Body:
    """A body as it comes in: bytes in one piece, which grow where they lie.

    Args:
        size_bytes: How long it will be, if that is known.
        buffers: Where its memory comes from and goes to; fresh pages if `None`.
    """

    def __init__(self, size_bytes: int | None = None, buffers: Buffers | None = None) -> None:
        capacity = max(1, USUAL_BYTES if size_bytes is None else size_bytes)
        self.size_bytes = 0
        """What is there of it."""
        self._buffers = buffers
        self._memory = _pages(capacity) if buffers is None else buffers.memory(capacity)

    @property
    def memory(self) -> mmap.mmap:
        """Begins with the `size_bytes` that are there; valid until more come or it is closed."""
        return self._memory

    def window(self, size_bytes: int) -> memoryview:
        """Return room for so many more bytes; whoever writes there adds to `size_bytes`."""
        wanted = self.size_bytes + size_bytes
        if wanted > len(self._memory):
            self._grow(max(wanted, 2 * len(self._memory)))
        return memoryview(self._memory)[self.size_bytes : wanted]

    def add(self, piece: bytes | bytearray) -> None:
        """Append a piece."""
        with self.window(len(piece)) as window:
            window[:] = piece
        self.size_bytes += len(piece)

    def close(self) -> None:
        """Give the memory back."""
        self.size_bytes = 0
        self._let_go()
        self._memory = _NOTHING
        if self._buffers is not None:
            buffers, self._buffers = self._buffers, None
            buffers.is_over()

    def _grow(self, capacity: int) -> None:
        if sys.platform == "linux":
            self._memory.resize(capacity)  # the system moves the pages, none is copied
        else:
            grown = _pages(capacity)
            with memoryview(self._memory) as view:
                grown[: self.size_bytes] = view[: self.size_bytes]
            self._let_go()
            self._memory = grown

    def _let_go(self) -> None:
        if self._memory is _NOTHING or (
            self._buffers is not None and self._buffers.keep(self._memory)
        ):
            return
        with suppress(BufferError):  # somebody still looks at it: it goes when they do
            self._memory.close()


class Buffers:
    """Memory for bodies, shared by all connections of one wire.

    A connection has some only from its answer's head to its end. When many answers come at once,
    some wait in the kernel, so that one after the other comes in whole, not all of them half; they
    wait there too while those who read them have enough of them. None waits long: the others may
    have stalled.
    """

    def __init__(self) -> None:
        self.scratch = memoryview(bytearray(_SCRATCH_BYTES))
        """For what is copied away in the same step of the event loop."""
        self._spare: list[mmap.mmap] = []
        self.brakes: list[Callable[[], bool]] = []
        """While one of them says so, no body begins."""
        self._in_use = 0
        self._line: deque[tuple[float, Callable[[], None]]] = deque()
        """Who waits, and until when at most, as the event loop counts seconds."""
        self._looking: asyncio.AbstractEventLoop | None = None
        """The loop that will look at the line by itself."""

    def ask(self, start: Callable[[], None]) -> bool:
        """Have `start` called when a body may begin; return whether it was called at once."""
        if self._is_free():
            start()
            return True
        loop = asyncio.get_running_loop()
        self._line.append((loop.time() + _LONGEST_WAIT_SECONDS, start))
        self._look_later(loop)
        return False

    def body(self, size_bytes: int | None) -> Body:
        """Return an empty body; whoever has it closes it.

        Raises:
            OSError: The system has no memory for it.
        """
        body = Body(size_bytes, self)
        self._in_use += 1
        return body

    def memory(self, size_bytes: int) -> mmap.mmap:
        """Return pages with anything in them, the hottest first."""
        if size_bytes > USUAL_BYTES:
            return _pages(size_bytes)
        return self._spare.pop() if self._spare else _pages(USUAL_BYTES)

    def keep(self, memory: mmap.mmap) -> bool:
        """Keep pages for the next body; `False` if they are not needed."""
        if len(memory) != USUAL_BYTES or len(self._spare) >= _BODIES_AT_ONCE:
            return False
        self._spare.append(memory)
        return True

    def is_over(self) -> None:
        """Let the next body begin."""
        self._in_use -= 1
        while self._line and self._is_free():
            self._begin_next()

    def _is_free(self) -> bool:
        return self._in_use < _BODIES_AT_ONCE and not any(is_full() for is_full in self.brakes)

    def _begin_next(self) -> None:
        _, start = self._line.popleft()
        start()

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._looking is not loop:
            self._looking = loop
            loop.call_later(_LOOK_SECONDS, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._looking = None
        try:
            while self._line and (self._is_free() or self._line[0][0] < loop.time()):
                self._begin_next()
        finally:  # whatever became of one of them, the others wait for another look
            if self._line:
                self._look_later(loop)


def _pages(size_bytes: int) -> mmap.mmap:
    """Return pages of the system; only those that are written to take memory."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size_bytes)
    return mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


_NOTHING: Final = _pages(1)
