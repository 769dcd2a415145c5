"""The work of a run: jobs read lazily, and the next step that any worker may take."""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING

import anyio

from nanobatch.pipeline.closing import closing_of
from nanobatch.pipeline.control import RunStopped
from nanobatch.pipeline.quota import SlotQuota
from nanobatch.policy import Wakeup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nanobatch.job import Job
    from nanobatch.models import Tier
    from nanobatch.pipeline.batch.orders import OrderRoom
    from nanobatch.pipeline.closing import Closing
    from nanobatch.pipeline.control import Control
    from nanobatch.pipeline.intake import Intake
    from nanobatch.pipeline.progress import JobProgress
    from nanobatch.pipeline.steps import Step

__all__ = ["Board"]

MAX_SURPLUS_CHANCE = 0.25
"""Most that a further candidate may risk being one too many.

Source: below 1 % surplus calls for up to a fifth less time (simulated; reference page "Economics
of a batch" 4, 2026-11).
"""


class Board:
    """Hands out steps: started jobs before new ones, each in input order, void ones last.

    Only jobs with something left to do are in memory, so the input may be as long as it likes.
    """

    def __init__(
        self,
        intake: Intake,
        *,
        control: Control,
        start: Callable[[list[Job]], Awaitable[list[JobProgress]]],
        conclude: Callable[[JobProgress, Closing], Awaitable[None]],
        hurry_slots: int = 0,
        quota: SlotQuota | None = None,
        room: OrderRoom | None = None,
        workers: int = 1,
    ) -> None:
        """Prepare a board.

        Args:
            intake: The input.
            control: Ends the board when the run ends.
            start: Writes jobs down and returns their progress.
            conclude: Writes down how a job ended.
            hurry_slots: While fewer slots are in flight and nothing else is left to start, jobs
                get candidates they may turn out not to need; 0: never.
            quota: Slots the run may begin; once it has none, no further job is read.
            workers: How many take steps.
            room: Slots that may be ordered from batch jobs; while it has none, no job is read.
        """
        self.all_read = False
        """Whether the input was read to its end."""
        self.gone: frozenset[Tier] = frozenset()
        """Tiers whose model does not answer any more."""
        self._intake = intake
        self._control = control
        self._start = start
        self._conclude = conclude
        self._hurry_slots = hurry_slots
        self._quota = quota or SlotQuota()
        self._room = room
        if room is not None:
            room.on_room = self._let_in
        self._may_hurry = True
        """Whether anything has changed since no job could be given more than it needs."""
        self._order = count()
        self._ready: list[tuple[int, JobProgress]] = []
        self._void: list[tuple[int, JobProgress]] = []
        self._active: set[JobProgress] = set()
        self._workers = workers
        self._resting = 0
        self._without_room: dict[JobProgress, None] = {}  # as a set, in order
        self._reader = anyio.Lock()
        self._changed = Wakeup()

    async def next(self) -> Step | None:
        """Return the next step, waiting for one; `None` once there will be none.

        Raises:
            RunStopped: The run ends.
            Exception: What reading the input raised.
        """
        while True:
            step = await self.poll()
            if step is not None:
                return step
            if not self._active:
                self._changed.wake()
                return None
            self._resting += 1
            try:
                with self._control.waiting():
                    await self._changed.wait()
            finally:
                self._resting -= 1

    async def poll(self) -> Step | None:
        """Return a step that can be done now; `None`: only what is in flight can bring one.

        Raises:
            RunStopped: The run ends.
            Exception: What reading the input raised.
        """
        step = await self._take(self._ready)
        while step is None and not self.all_read and self._may_read():
            await self._read()
            step = await self._take(self._ready)
        return step or await self._take(self._void) or self._extra()

    @property
    def is_resting(self) -> bool:
        """Whether all workers wait for something that only an answer can bring."""
        return self._resting >= self._workers

    async def end_settled(self) -> None:
        """Once no worker works any more: write down the jobs that ended while the run did."""
        for job in list(self._active):
            if job.is_done or (job.is_idle and job.is_settled):
                await self._end(job)

    def touch(self, job: JobProgress) -> None:
        """Look at a job again: something of it is over."""
        self._may_hurry = True
        if not job.is_queued:
            job.is_queued = True
            heapq.heappush(self._line_of(job), (job.order, job))
        self._changed.wake()

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
            elif job.lacks_room:
                self._without_room[job] = None
            elif job.is_idle:
                await self._end(job)
        return None

    def _may_read(self) -> bool:
        return self._quota.has_room() and (self._room is None or self._room.has_room())

    def _let_in(self) -> None:
        """Look again at the jobs that had no room, and at the input."""
        jobs, self._without_room = self._without_room, {}
        for job in jobs:
            self.touch(job)
        self._changed.wake()

    def _extra(self) -> Step | None:
        """Return a candidate beyond what its job needs, where it is least likely to be surplus."""
        may_hurry = self._hurry_slots and self._may_hurry
        if not may_hurry or self._hurry_slots <= sum(job.in_flight.total() for job in self._active):
            return None
        chances = [
            (chance, job.order, job)
            for job in self._active
            if (chance := job.surplus_chance(self.gone)) <= MAX_SURPLUS_CHANCE
        ]
        if chances:
            return min(chances)[2].extra_step(self.gone)
        self._may_hurry = False
        return None

    async def _end(self, job: JobProgress) -> None:
        self._active.discard(job)
        await self._conclude(job, closing_of(job, gone=self.gone))

    async def _read(self) -> None:
        """Take up the next jobs of the input; one worker reads, the others wait for it."""
        with self._control.waiting():
            async with self._reader:
                if self.all_read or self._ready:
                    return
                chunk = await self._intake.portion()
                if not chunk:
                    self.all_read = True
                    self._changed.wake()
                    return
                started = await self._start(chunk)
        for job in started:
            job.order = next(self._order)
            self._active.add(job)
            self.touch(job)
