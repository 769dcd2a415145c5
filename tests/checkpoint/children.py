"""Runs a piece of a test in a forked process, which may be killed or limited there."""

from __future__ import annotations

import os
import signal
import threading
import traceback
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

KILLED = -signal.SIGKILL
SIGKILL = signal.SIGKILL


def start(work: Callable[[], None]) -> int:
    """Start `work` in a forked process and return its pid; it exits with 0, or 1 if it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: other threads may hold locks
        pid = os.fork()
    if pid:
        return pid
    code = 1

    def try_it() -> None:
        nonlocal code
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - it must not reach pytest, of which this is a copy
            traceback.print_exc()

    try:
        thread = threading.Thread(target=try_it)  # this one may be inside an event loop
        thread.start()
        thread.join()
    finally:
        os._exit(code)


def end_of(pid: int) -> int:
    """Wait for a process; return its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run(work: Callable[[], None]) -> int:
    """Run `work` in a forked process to its end."""
    return end_of(start(work))


def kill_at(point: int) -> Callable[[], None]:
    """Return a hook that kills its process when it is called for the `point`-th time, from 1."""
    calls = 0

    def hook() -> None:
        nonlocal calls
        calls += 1
        if calls == point:
            os.kill(os.getpid(), SIGKILL)

    return hook
