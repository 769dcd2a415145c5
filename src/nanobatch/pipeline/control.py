"""How a run is ended: who is told to stop waiting, and how long calls in flight may still take."""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["Control", "Ended", "RunStopped"]

DRAIN_SECONDS = 30.0
"""How long calls in flight are awaited after a cancellation."""


class Ended(StrEnum):
    """Why a run is over."""

    COMPLETE = "complete"
    """Every job that was read is settled one way or the other."""
    BUDGET = "budget"
    """The next call might pass the cap."""
    ACCOUNT = "account"
    """Key, credit or quota: no call can work until the account's owner acts."""
    MODEL = "model"
    """No model is left that could draw what is missing."""
    OUTAGE = "outage"
    """Many transient faults and not one success between them."""
    HOPELESS = "hopeless"
    """Nothing passed among the first judged slots, or every request was refused as bad: fix the
    prompts, the filters or what the requests have in common."""
    WAITING = "waiting"
    """Batch jobs are on their way; running again collects them."""
    CANCELLED = "cancelled"
    """The caller ended it; running again goes on."""


_CALLS_STILL_WORK = frozenset(
    {Ended.COMPLETE, Ended.BUDGET, Ended.MODEL, Ended.HOPELESS, Ended.WAITING}
)


class RunStopped(Exception):  # noqa: N818 - a signal between our own parts, never an error
    """Internal: the run ends, nothing new is started."""


class Control:
    """Told once that the run ends, it wakes whoever waits and limits whoever is in flight."""

    def __init__(self) -> None:
        self.ended: Ended | None = None
        self.message = ""
        """Why it ended, in a sentence, when there is more to say than the word."""
        self.error: Exception | None = None
        """What the caller has to see instead of a result."""
        self.on_stop: Callable[[Ended, str], object] | None = None
        """Hears of the first reason."""
        self._waits: set[anyio.CancelScope] = set()
        self._waits_to_judge: set[anyio.CancelScope] = set()
        self._flights: set[anyio.CancelScope] = set()
        self._deadline = float("inf")

    @property
    def is_stopping(self) -> bool:
        """Whether no new call may start."""
        return self.ended is not None or self.error is not None

    @property
    def may_judge(self) -> bool:
        """Whether calls may start that judge what is paid for, also while the run ends."""
        return self.error is None and (self.ended is None or self.ended in _CALLS_STILL_WORK)

    def is_over_for(self, *, to_judge: bool) -> bool:
        """Return whether a call may not start any more, or not even one that judges."""
        return not self.may_judge if to_judge else self.is_stopping

    def stop(self, ended: Ended, message: str = "") -> None:
        """End the run; the first reason counts. Calls in flight finish and are saved."""
        if not self.is_stopping:
            self.ended, self.message = ended, message
            if self.on_stop is not None:
                self.on_stop(ended, message)
        self._wake()

    def abort(self, error: Exception) -> None:
        """End the run with an error of the caller's; calls in flight finish and are saved."""
        if self.error is None:
            self.error = error
        self._wake()

    def drain(self, seconds: float = DRAIN_SECONDS) -> None:
        """Give calls in flight so long and no longer."""
        self._deadline = min(self._deadline, anyio.current_time() + seconds)
        for scope in self._flights:
            scope.deadline = self._deadline

    @contextmanager
    def waiting(self, *, to_judge: bool = False) -> Generator[None]:
        """Wait for something before a call: ends at once when the run does.

        Args:
            to_judge: Whether it is a call that judges an image which is paid for: it goes on while
                the run ends, as long as calls can work.

        Raises:
            RunStopped: The run ends.
        """
        if self.is_over_for(to_judge=to_judge):
            raise RunStopped
        scope = anyio.CancelScope()
        waits = self._waits_to_judge if to_judge else self._waits
        waits.add(scope)
        try:
            with scope:
                yield
        finally:
            waits.discard(scope)
        if scope.cancelled_caught:
            raise RunStopped

    @contextmanager
    def in_flight(self) -> Generator[None]:
        """Do something that costs money: cancellation waits for it, until the drain's deadline.

        Raises:
            RunStopped: The deadline passed first.
        """
        scope = anyio.CancelScope(shield=True, deadline=self._deadline)
        self._flights.add(scope)
        try:
            with scope:
                yield
        finally:
            self._flights.discard(scope)
        if scope.cancelled_caught:
            raise RunStopped

    def _wake(self) -> None:
        for scope in self._waits if self.may_judge else self._waits | self._waits_to_judge:
            scope.cancel()
