"""Threads nobody has to wait for: a filter that hangs must not keep the process alive.

anyio's worker threads are joined when Python exits, so one that never returns would hold the
process for ever. These are daemons.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["run_in_daemon", "start_in_daemon"]

T = TypeVar("T")

IDLE_SECONDS: Final = 5.0
"""How long a thread waits for more work: starting one takes 0.2 ms, as long as many a filter."""

_Work: TypeAlias = "Callable[[], object]"


async def run_in_daemon(
    work: Callable[[], T],
    *,
    limiter: anyio.CapacityLimiter,
    on_start: Callable[[], object] = lambda: None,
) -> T:
    """Run sync code in a thread and return its result.

    Cancelled, it returns at once: the thread is given up and counts no more for the limiter.

    Args:
        work: The code.
        limiter: How many such threads there may be; the others wait for their turn.
        on_start: Called on the event loop when its turn has come.

    Raises:
        BaseException: What the code raised.
    """
    async with limiter:
        on_start()
        done, outcome = start_in_daemon(work)
        await done.wait()
    return outcome.result()


def start_in_daemon(work: Callable[[], T]) -> tuple[anyio.Event, Future[T]]:
    """Start sync code in a thread; return what is set when it is over, and its result."""
    soon = _soon_in_this_loop()
    done = anyio.Event()
    outcome: Future[T] = Future()
    context = copy_context()

    def run() -> None:
        try:
            outcome.set_result(context.run(work))
        except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
            outcome.set_exception(error)
        with suppress(RuntimeError):  # given up, and the loop is closed
            soon(done.set)

    _DAEMONS.start(run)
    return done, outcome


def _soon_in_this_loop() -> Callable[[Callable[[], object]], object]:
    """Return what has a function called in the event loop that runs here, from any thread.

    Unlike `anyio.from_thread.run_sync` it waits for nothing, and raises `RuntimeError` once the
    loop is closed.
    """
    try:
        return asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        import trio.lowlevel  # noqa: PLC0415 - it is there, since it runs this

        return trio.lowlevel.current_trio_token().run_sync_soon


class _Daemons:
    """Daemon threads that are used again for a while."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew; after a fork there are no threads."""
        self._lock = threading.Lock()
        self._idle: list[SimpleQueue[_Work]] = []

    def start(self, work: _Work) -> None:
        """Have a thread do some work, which must not raise."""
        with self._lock:
            queue = self._idle.pop() if self._idle else None
        if queue is None:
            queue = SimpleQueue[_Work]()
            threading.Thread(
                target=self._live, args=(queue,), name="nanobatch filter", daemon=True
            ).start()
        queue.put(work)

    def _live(self, queue: SimpleQueue[_Work]) -> None:
        while True:
            try:
                queue.get(timeout=IDLE_SECONDS)()
            except Empty:
                with self._lock:
                    if queue in self._idle:
                        self._idle.remove(queue)
                        return
                continue  # somebody has just taken it: its work is on the way
            with self._lock:
                self._idle.append(queue)


_DAEMONS: Final = _Daemons()
"""Those of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_DAEMONS.forget)
