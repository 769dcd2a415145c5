"""Worker threads played by one thread, in an order that a seed decides: a failure comes again.

What a thread does happens in one go, some turns of the event loop after it was asked for and some
before its result is heard of; like a thread's, it is never cut short by a cancellation.
"""

from __future__ import annotations

from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["one_thread"]

MAX_TURNS = 3


@contextmanager
def one_thread(seed: int) -> Generator[None]:
    """Play `anyio.to_thread.run_sync` in the event loop's own thread."""
    random = Random(seed)
    real = anyio.to_thread.run_sync

    async def turns() -> None:
        for _ in range(random.randrange(MAX_TURNS)):
            await anyio.lowlevel.cancel_shielded_checkpoint()

    async def played(work: Callable[..., Any], *arguments: Any, **_: Any) -> Any:
        await anyio.lowlevel.checkpoint()
        await turns()
        result = work(*arguments)
        await turns()
        return result

    anyio.to_thread.run_sync = played  # type: ignore[assignment]
    try:
        yield
    finally:
        anyio.to_thread.run_sync = real
