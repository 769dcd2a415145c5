"""A run in a forked process that is killed at its n-th step on the disk or on the wire."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Any

from tests.checkpoint.children import KILLED, end_of, kill_at, start

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["dies_at"]

DISK_STEPS = ("fsync", "link", "replace", "unlink")


def dies_at(point: int, work: Callable[[Callable[[], None]], None]) -> bool:
    """Run `work` in a process of its own that is killed at a step; return whether it came to that.

    Args:
        point: The step, from 1: a commit, an fsync, a link, rename or removal of a file, or
            whatever else `work` counts with the function it gets.
        work: What to run; it must not raise.
    """

    def child() -> None:
        step = kill_at(point)
        _count_disk_steps(step)
        work(step)

    code = end_of(start(child))
    assert code in (0, KILLED), "the run in the child failed; its traceback is above"
    return code == KILLED


def _count_disk_steps(step: Callable[[], None]) -> None:
    """Have everything that touches the disk from now on counted; for a process of its own."""

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            step()
            return real(*arguments, **options)

        return call

    for name in DISK_STEPS:
        setattr(os, name, counted(getattr(os, name)))
    connect = sqlite3.connect

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(lambda statement: step() if statement == "COMMIT" else None)
        return connection

    sqlite3.connect = traced  # type: ignore[assignment] # the child's own copy
