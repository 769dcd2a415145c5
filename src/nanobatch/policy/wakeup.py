"""Waking up whoever waits for a change, which most of the time is nobody."""

from __future__ import annotations

import anyio

__all__ = ["Wakeup"]


class Wakeup:
    """Lets tasks of one event loop wait for the next change, and costs nothing while none does.

    A task looks at what it waits for and then waits, without giving way in between: so it misses
    no change.
    """

    def __init__(self) -> None:
        self._next: anyio.Event | None = None

    async def wait(self) -> None:
        """Wait for the next `wake`."""
        if self._next is None:
            self._next = anyio.Event()
        await self._next.wait()

    def wake(self) -> None:
        """Wake up all that wait now."""
        event, self._next = self._next, None
        if event is not None:
            event.set()
