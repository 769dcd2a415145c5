"""The work of a run: jobs read lazily, and the next step that any worker may take."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from itertools import count, islice
from typing import TYPE_CHECKING, TypeAlias

import anyio

from nanobatch.pipeline.control import RunStopped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nanobatch.job import Job
    from nanobatch.models import Tier
    from nanobatch.pipeline.control import Control
    from nanobatch.pipeline.progress import Closing, JobProgress, Step

__all__ = ["Board", "Jobs"]

Jobs: TypeAlias = "Iterable[Job] | AsyncIterable[Job]"
"""What a run takes: any iterable or async iterable, read lazily."""

READ_AHEAD = 32
"""Jobs taken from a sync input at a time: one transaction writes them all down."""


class Board:
    """Hands out steps: started jobs before new ones, each in input order, void ones last.

    Only jobs with something left to do are in memory, so the input may be as long as it likes.
    """

    def __init__(
        self,
        jobs: Jobs,
        *,
        control: Control,
        start: Callable[[list[Job]], Awaitable[list[JobProgress]]],
        conclude: Callable[[JobProgress, Closing], Awaitable[None]],
    ) -> None:
        """Prepare a board.

        Args:
            jobs: The input.
            control: Ends the board when the run ends.
            start: Writes jobs down and returns their progress.
            conclude: Writes down how a job ended.
        """
        self.all_read = False
        """Whether the input was read to its end."""
        self.gone: frozenset[Tier] = frozenset()
        """Tiers whose model does not answer any more."""
        self._jobs: Iterator[Job] | AsyncIterator[Job] = (
            aiter(jobs) if isinstance(jobs, AsyncIterable) else iter(jobs)
        )
        self._control = control
        self._start = start
        self._conclude = conclude
        self._order = count()
        self._ready: list[tuple[int, JobProgress]] = []
        self._void: list[tuple[int, JobProgress]] = []
        self._active = 0
        self._reader = anyio.Lock()
        self._changed = anyio.Event()

    async def next(self) -> Step | None:
        """Return the next step, waiting for one; `None` once there will be none.

        Raises:
            RunStopped: The run ends.
            Exception: What reading the input raised.
        """
        while True:
            step = await self._take(self._ready)
            if step is None and not self.all_read:
                await self._read()
                continue
            step = step or await self._take(self._void)
            if step is not None:
                return step
            if self._active == 0:
                self._wake()
                return None
            changed = self._changed
            with self._control.waiting():
                await changed.wait()

    def touch(self, job: JobProgress) -> None:
        """Look at a job again: something of it is over."""
        if not job.is_queued:
            job.is_queued = True
            heapq.heappush(self._line_of(job), (job.order, job))
        self._wake()

    def _line_of(self, job: JobProgress) -> list[tuple[int, JobProgress]]:
        return self._void if job.void_streak else self._ready

    async def _take(self, line: list[tuple[int, JobProgress]]) -> Step | None:
        """Return the first step of the jobs in a line, and drop the jobs that have none."""
        while line:
            if self._control.is_stopping:
                raise RunStopped
            _, job = line[0]
            if self._line_of(job) is line:
                step = job.next_step(self.gone)
                if step is not None:
                    return step
            heapq.heappop(line)
            job.is_queued = False
            if self._line_of(job) is not line:
                self.touch(job)
            elif job.is_idle:
                await self._conclude(job, job.conclude(self.gone))
                self._active -= 1
        return None

    async def _read(self) -> None:
        """Take up the next jobs of the input; one worker reads, the others wait for it."""
        with self._control.waiting():
            async with self._reader:
                if self.all_read or self._ready:
                    return
                chunk = await self._chunk()
                if not chunk:
                    self.all_read = True
                    self._wake()
                    return
                started = await self._start(chunk)
        for job in started:
            job.order = next(self._order)
            self._active += 1
            self.touch(job)

    async def _chunk(self) -> list[Job]:
        if isinstance(self._jobs, AsyncIterator):
            try:
                return [await anext(self._jobs)]
            except StopAsyncIteration:
                return []
        return list(islice(self._jobs, READ_AHEAD))

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
