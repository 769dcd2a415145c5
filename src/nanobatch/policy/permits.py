"""How many requests may be in flight: the caller's limit, halved while the provider is busy."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import anyio
import anyio.lowlevel

__all__ = ["Permit", "Permits"]


@dataclass(slots=True, eq=False)
class Permit:
    """The right to have one request in flight."""

    number: int
    """Of the request, in the order they were started, from 1."""
    is_held: bool = True
    """Whether it was not given back yet."""


class Permits:
    """A semaphore whose size follows the provider: it halves on 429 and 503, successes grow it.

    Additive increase, multiplicative decrease, as TCP does it: one permit per round of successes.
    Not an `anyio.CapacityLimiter`: in versions we support, one that grows again while more is
    borrowed than its size lets further borrowers in.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = limit
        self._in_use = 0
        self._line: deque[anyio.Event] = deque()
        self._successes = 0
        self._started = 0
        self._started_at_halving = 0

    @property
    def size(self) -> int:
        """How many requests may be in flight now, 1 to the limit."""
        return self._size

    @property
    def in_use(self) -> int:
        """How many requests are in flight now; more than `size` after a halving."""
        return self._in_use

    async def acquire(self) -> Permit:
        """Wait in line for a permit."""
        await anyio.lowlevel.checkpoint_if_cancelled()
        if self._line or self._in_use >= self._size:
            turn = anyio.Event()
            self._line.append(turn)
            try:
                await turn.wait()
            except BaseException:
                if turn.is_set():  # handed over in the moment of cancellation
                    self._take_back()
                else:
                    self._line.remove(turn)
                raise
        else:
            self._in_use += 1
        self._started += 1
        return Permit(self._started)

    def release(self, permit: Permit) -> None:
        """Give a permit back; a second time does nothing."""
        if permit.is_held:
            permit.is_held = False
            self._take_back()

    def pass_on(self, permit: Permit) -> None:
        """Give back a permit whose request is answered and not yet written down.

        The only one stays: one request at a time means one after the other, to the end.
        """
        if self._limit > 1:
            self.release(permit)

    def slow_down(self, permit: Permit) -> None:
        """Halve the size; a request begun before the last halving says nothing new."""
        if permit.number > self._started_at_halving:
            self._size = max(1, self._size // 2)
            self._successes = 0
            self._started_at_halving = self._started

    def succeeded(self) -> None:
        """Grow by one permit for as many successes as there are permits."""
        if self._size == self._limit:
            return
        self._successes += 1
        if self._successes == self._size:
            self._size += 1
            self._successes = 0
            self._hand_out()

    def _take_back(self) -> None:
        self._in_use -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        """Give free permits to those who wait, in their order; they count from now on."""
        while self._line and self._in_use < self._size:
            self._in_use += 1
            self._line.popleft().set()
