"""Running from code without an event loop: Ctrl-C ends a run, it does not lose one."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from typing import TYPE_CHECKING

import anyio

from nanobatch.errors import ConfigError
from nanobatch.pipeline.control import Control, Ended

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nanobatch.pipeline.result import RunResult

__all__ = ["refuse_running_loop", "run_until_signalled"]


def run_until_signalled(work: Callable[[Control], Awaitable[RunResult]]) -> RunResult:
    """Run until the work is done; SIGINT and SIGTERM end it early and in order.

    Raises:
        ConfigError: An event loop is running in this thread.
    """
    refuse_running_loop("run_sync", instead="await pipeline.run(jobs)")
    return anyio.run(_run, work)


def refuse_running_loop(function: str, *, instead: str) -> None:
    """Refuse to start an event loop where one is running.

    Args:
        function: The function that would start it.
        instead: What to write there.

    Raises:
        ConfigError: An event loop is running in this thread.
    """
    if not _is_loop_running():
        return
    raise ConfigError(
        f"{function}() was called where an event loop is running (a notebook, an async function): "
        f"use `{instead}` there."
    )


def _is_loop_running() -> bool:
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return True
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _run(work: Callable[[Control], Awaitable[RunResult]]) -> RunResult:
    control = Control()
    result: RunResult | None = None
    error: Exception | None = None
    async with anyio.create_task_group() as group:
        if threading.current_thread() is threading.main_thread():
            group.start_soon(_listen, control)
        try:
            result = await work(control)
        except Exception as raised:  # noqa: BLE001 - raised below, not inside a group
            error = raised
        group.cancel_scope.cancel()
    if result is None:
        raise error or ConfigError("The run was cancelled from outside.")
    return result


async def _listen(control: Control) -> None:
    """Turn the first signal into an orderly end, the second into an immediate one.

    A third one does what it does in any Python program: something hangs.
    """
    try:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            is_second = False  # also of a run that is ending for another reason
            async for _ in signals:
                control.stop(Ended.CANCELLED, "It was interrupted; run again to go on.")
                control.drain(0) if is_second else control.drain()
                if is_second:
                    return
                is_second = True
    except NotImplementedError:
        return  # Windows: Ctrl-C arrives as KeyboardInterrupt, and the next run recovers
