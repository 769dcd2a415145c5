"""Runs a piece of a test in a forked process, which may be killed or limited there."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
import traceback
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

KILLED = -signal.SIGKILL
SIGKILL = signal.SIGKILL
MAX_LIFE_SECONDS = 60
"""A child that lives longer is stuck; it is killed, so that the tests end."""

_native_threads: set[int] = set()
"""Threads that Python did not start and that stay, such as those of a linear algebra library."""


def start(work: Callable[[], None]) -> int:
    """Start `work` in a forked process and return its pid; it exits with 0, or 1 if it raises."""
    _let_threads_end()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: other threads may hold locks
        pid = os.fork()
    if pid:
        return pid
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it
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


def _let_threads_end() -> None:
    """Wait for threads that Python knows no more: one that is ending may hold a lock of OpenSSL.

    A fork would copy that lock as taken, and the child would wait for it for ever.
    """
    deadline = time.monotonic() + 1
    while ending := _threads_of_the_system() - _native_threads:
        if time.monotonic() > deadline:
            _native_threads.update(ending)
        os.sched_yield()


def _threads_of_the_system() -> set[int]:
    known = {thread.native_id for thread in threading.enumerate()}
    return {int(name) for name in os.listdir("/proc/self/task")} - known  # noqa: PTH208 - names


def end_of(pid: int) -> int:
    """Wait for a process; return its exit code, or minus the signal that killed it.

    Raises:
        TimeoutError: It did not end.
    """
    descriptor = os.pidfd_open(pid)
    try:
        has_ended = bool(select.select([descriptor], [], [], MAX_LIFE_SECONDS)[0])
    finally:
        os.close(descriptor)
    if not has_ended:
        os.kill(pid, SIGKILL)
    status = os.waitpid(pid, 0)[1]
    if not has_ended:
        raise TimeoutError(f"process {pid} was still there after {MAX_LIFE_SECONDS} s")
    return os.waitstatus_to_exitcode(status)


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
