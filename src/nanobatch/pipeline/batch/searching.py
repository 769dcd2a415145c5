"""Batch jobs whose creation nobody confirmed are looked for before anything is ordered anew."""

from __future__ import annotations

import logging
from collections import defaultdict
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import anyio

from nanobatch.checkpoint.changes import now_micros
from nanobatch.errors import ProviderError

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

    from nanobatch.backend import BatchBackend, BatchJob
    from nanobatch.checkpoint.batches import BatchRow

__all__ = ["Search"]

_log = logging.getLogger("nanobatch")

LOST_SECONDS = 600.0
"""How long the provider's list is searched: it may lag behind. After that the calls of the job are
unknown money, and their slots are drawn anew."""
LEAST_SEARCHES = 3
LONG_LOST_SECONDS = 86_400.0
"""After so long the list does not lag any more and one look at it is enough: a run that is left at
once would never have searched for long."""


class Search:
    """Looks through the provider's list for jobs by the unique names that they were given."""

    def __init__(self, backend: BatchBackend) -> None:
        self._backend = backend
        self._not_seen: dict[int, tuple[float, int]] = {}
        self._in_other_hands: set[int] = set()

    @contextmanager
    def hands_off(self, number: int) -> Generator[None]:
        """Leave a job alone that is being created at this moment."""
        self._in_other_hands.add(number)
        try:
            yield
        finally:
            self._in_other_hands.discard(number)

    def concerns(self, row: BatchRow) -> bool:
        """Return whether nobody else has the job in hand."""
        return row.number not in self._in_other_hands

    async def find(self, names: Collection[str]) -> dict[str, BatchJob]:
        """Return those of the jobs that exist, by the unique names that we gave them.

        Of two with one name the older one counts; the other is cancelled, and the log says so.

        Raises:
            ProviderError: The list cannot be had now.
        """
        jobs: defaultdict[str, list[BatchJob]] = defaultdict(list)
        async for job in self._backend.list_batches():
            if job.display_name in names:
                jobs[job.display_name].append(job)
        found: dict[str, BatchJob] = {}
        for name, same in jobs.items():
            found[name], *others = sorted(same, key=_age)
            for other in others:
                await self._cancel(other, because_of=found[name])
        return found

    def is_hopeless(self, row: BatchRow) -> bool:
        """Count another look in vain; return whether it was the last."""
        if now_micros() - row.at > LONG_LOST_SECONDS * 1e6:
            return True
        now = anyio.current_time()
        since, times = self._not_seen.get(row.number, (now, 0))
        self._not_seen[row.number] = since, times + 1
        return now - since >= LOST_SECONDS and times + 1 >= LEAST_SEARCHES

    async def _cancel(self, job: BatchJob, *, because_of: BatchJob) -> None:
        _log.warning(
            "The provider made two batch jobs of one: %s goes on, %s is cancelled.",
            because_of.name,
            job.name,
        )
        with suppress(ProviderError):
            await self._backend.cancel_batch(job.name)


def _age(job: BatchJob) -> tuple[float, str]:
    """Sort the oldest first, and those of unknown age last."""
    return (job.created_at.timestamp() if job.created_at else float("inf"), job.name)
