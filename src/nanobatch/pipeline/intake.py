"""The input of a run: any iterable or async iterable of jobs, read lazily."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import anyio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyio.abc import TaskGroup

    from nanobatch.job import Job

__all__ = ["Intake", "Jobs"]

Jobs: TypeAlias = "Iterable[Job] | AsyncIterable[Job]"
"""What a run takes: any iterable or async iterable, read lazily."""

READ_AHEAD = 32
"""Jobs taken from a sync input at a time: one transaction writes them all down."""


class Intake:
    """Gives out the jobs of an input in small portions.

    An async input is read by one task of its own from beginning to end: a generator may hold
    cancel scopes, which belong to the task that opened them.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._sync: Iterator[Job] = iter(())
        self._async: AsyncIterable[Job] | None = None
        if isinstance(jobs, AsyncIterable):
            self._async = jobs
        else:
            self._sync = iter(jobs)
        self._send, self._receive = anyio.create_memory_object_stream["Job"](0)
        self._error: Exception | None = None

    def start(self, group: TaskGroup) -> None:
        """Begin to read an async input; it ends with the group."""
        if self._async is not None:
            group.start_soon(self._pump, self._async)

    async def portion(self) -> list[Job]:
        """Return the next jobs; none: the input is at its end.

        Raises:
            Exception: What the input raised.
        """
        if self._async is None:
            return list(islice(self._sync, READ_AHEAD))
        try:
            return [await self._receive.receive()]
        except anyio.EndOfStream:
            if self._error is not None:
                raise self._error from None
            return []

    def close(self) -> None:
        """Take nothing more."""
        self._send.close()
        self._receive.close()

    async def _pump(self, jobs: AsyncIterable[Job]) -> None:
        iterator = aiter(jobs)
        try:
            async for job in iterator:
                await self._send.send(job)
        except Exception as error:  # noqa: BLE001 - raised where the jobs are taken
            self._error = error
        finally:
            self._send.close()
            aclose = getattr(iterator, "aclose", None)
            if aclose is not None:
                await aclose()  # in no scope of ours: the generator's own must be the innermost
