"""Counts what a run does to the disk and the wire, and kills it at the n-th step."""

from __future__ import annotations

import os
import signal
import sqlite3
from itertools import count
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanobatch import Gemini, ImageRequest, Reply

__all__ = ["SteppingBackend", "count_steps"]

_CALLS = ("fsync", "link", "replace", "unlink")


def count_steps(point: int | None) -> Callable[[], None] | None:
    """Kill this process at its `point`-th step, from 1; return the hook for further steps.

    A step comes before each commit, each fsync, and each link, rename or removal of a file. It
    changes `os` and `sqlite3` for good: for a process of its own only.
    """
    if point is None:
        return None
    steps = count(1)

    def step() -> None:
        if next(steps) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            step()
            return real(*arguments, **options)

        return call

    for name in _CALLS:
        setattr(os, name, counted(getattr(os, name)))
    connect = sqlite3.connect

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(lambda statement: step() if statement == "COMMIT" else None)
        return connection

    sqlite3.connect = traced  # type: ignore[assignment] # this process is going to be killed
    return step


class SteppingBackend:
    """A backend with a step before each request leaves and one after its answer is here."""

    def __init__(self, gemini: Gemini, step: Callable[[], None]) -> None:
        self._gemini = gemini
        self._step = step

    async def __aenter__(self) -> Self:
        await self._gemini.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._gemini.__aexit__(None, None, None)

    async def generate(self, request: ImageRequest) -> Reply:
        self._step()
        reply = await self._gemini.generate(request)
        self._step()
        return reply

    async def aclose(self) -> None:
        await self._gemini.aclose()
