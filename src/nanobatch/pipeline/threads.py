"""Threads nobody has to wait for: a filter that hangs must not keep the process alive.

anyio's worker threads are joined when Python exits, so one that never returns would hold the
process for ever. These are daemons.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["run_in_daemon"]

T = TypeVar("T")


async def run_in_daemon(
    work: Callable[[], T],
    *,
    limiter: anyio.CapacityLimiter,
    on_start: Callable[[], object] = lambda: None,
) -> T:
    """Run sync code in a thread of its own and return its result.

    Cancelled, it returns at once: the thread is given up and counts no more for the limiter.

    Args:
        work: The code.
        limiter: How many such threads there may be; the others wait for their turn.
        on_start: Called on the event loop when its turn has come.

    Raises:
        BaseException: What the code raised.
    """
    token = anyio.lowlevel.current_token()
    done = anyio.Event()
    outcome: Future[T] = Future()
    context = copy_context()

    def run() -> None:
        try:
            outcome.set_result(context.run(work))
        except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
            outcome.set_exception(error)
        with suppress(anyio.RunFinishedError):  # given up, and the run is over
            anyio.from_thread.run_sync(done.set, token=token)

    async with limiter:
        on_start()
        threading.Thread(target=run, name="nanobatch filter", daemon=True).start()
        await done.wait()
    return outcome.result()
