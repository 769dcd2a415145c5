"""Whoever listens to a run: their first error ends it in order, whatever it is."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Self, TypeAlias

import anyio.lowlevel

from nanobatch.policy import Wakeup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nanobatch.pipeline.control import Control
    from nanobatch.pipeline.events import Event

__all__ = ["Progress", "Room", "UnreadEvents", "careful", "ignore", "no_wait"]

Progress: TypeAlias = "Callable[[Event], object]"
"""Called on the event loop with everything that happened, right after it was saved."""


Room: TypeAlias = "Callable[[], Awaitable[None]]"
"""Waits until whoever listens has taken in what there is to hear."""

MAX_UNREAD = 1000
"""Events that wait to be read before a run begins nothing new; at most some kilobytes each."""


class UnreadEvents:
    """The events of a run that nobody has read yet, in order; iterate it to read them.

    Events are told by code that must not wait: what happened is saved, whoever listens. So they
    are always taken in, and it is new work that waits while too many are unread (`room`).
    """

    def __init__(self) -> None:
        self._events = deque["Event"]()
        self._is_over = False
        self._changed = Wakeup()

    def tell(self, event: Event) -> None:
        """Take in one event, unless nobody listens any more."""
        if not self._is_over:
            self._events.append(event)
            self._changed.wake()

    def end(self) -> None:
        """There are no further events; those that are there can still be read."""
        self._is_over = True
        self._changed.wake()

    def close(self) -> None:
        """Nobody listens any more."""
        self._events.clear()
        self.end()

    async def room(self) -> None:
        """Wait while too many events are unread."""
        while len(self._events) >= MAX_UNREAD and not self._is_over:
            await self._changed.wait()

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event, waiting for it."""
        await anyio.lowlevel.checkpoint()  # a reader that is never waited for starves the run
        while not self._events:
            if self._is_over:
                raise StopAsyncIteration
            await self._changed.wait()
        event = self._events.popleft()
        self._changed.wake()
        return event


async def no_wait() -> None:
    """Have room for everything."""


def careful(progress: Progress, control: Control) -> Progress:
    """Return a listener that never raises: its first error ends the run, and it hears no more.

    Raised through our own frames it would skip what has to follow the event, and a traceback
    with locals would show image bytes.
    """
    is_listening = True

    def tell(event: Event) -> None:
        nonlocal is_listening
        if is_listening:
            try:
                progress(event)
            except Exception as error:  # noqa: BLE001 - the caller's own, raised by the run
                is_listening = False
                control.abort(error)

    return tell


def ignore(event: Event) -> None:
    """Listen to nothing."""
    del event
