"""How many requests may be in flight: the caller's limit, halved while the provider is busy."""

from __future__ import annotations

from dataclasses import dataclass

import anyio

__all__ = ["Permit", "Permits"]


@dataclass(slots=True, eq=False)
class Permit:
    """The right to have one request in flight."""

    number: int = 0
    """Of the request, in the order they were started."""


class Permits:
    """A semaphore whose size follows the provider: it halves on 429 and 503, successes grow it.

    Additive increase, multiplicative decrease, as TCP does it: one permit per round of successes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._limiter = anyio.CapacityLimiter(limit)
        self._size = float(limit)
        self._started = 0
        self._started_at_halving = 0

    @property
    def size(self) -> int:
        """How many requests may be in flight now, 1 to the limit."""
        return int(self._size)

    async def acquire(self) -> Permit:
        """Wait in line for a permit."""
        permit = Permit()
        await self._limiter.acquire_on_behalf_of(permit)
        self._started += 1
        permit.number = self._started
        return permit

    def release(self, permit: Permit) -> None:
        """Give a permit back."""
        self._limiter.release_on_behalf_of(permit)

    def slow_down(self, permit: Permit) -> None:
        """Halve the size; a request begun before the last halving says nothing new."""
        if permit.number > self._started_at_halving:
            self._resize(max(1.0, self._size / 2))
            self._started_at_halving = self._started

    def succeeded(self) -> None:
        """Grow by one permit for as many successes as there are permits."""
        if self._size < self._limit:
            self._resize(min(float(self._limit), self._size + 1 / self._size))

    def _resize(self, size: float) -> None:
        self._size = size
        self._limiter.total_tokens = int(size)
