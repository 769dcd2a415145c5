"""How far a batch job has come: by how often somebody looked, or by a clock."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Polls", "Schedule", "Seconds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Polls:
    """A job moves on each time it is asked for (`get`), and never by itself.

    The work that is due is done before the answer, so a test needs no sleep and knows which answer
    shows which state: `Polls(pending=1, running=2)` shows pending, running, running, and the end.
    Half of the lines are done when the first of the two has been answered.

    Raises:
        ValueError: A number is below 0.
    """

    pending: int = 1
    """Answers that show the job pending."""

    running: int = 1
    """Answers that show it running after that."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if min(self.pending, self.running) < 0:
            raise ValueError(f"pending and running must be 0 or more, not {self}.")

    @property
    def goes_by_itself(self) -> bool:
        """Whether a job moves on although nobody asks for it."""
        return False

    def now(self) -> float:
        """Return the time at which a job begins; there is none here."""
        return 0.0

    def share_done(self, *, begun: float, polls: int) -> float | None:  # noqa: ARG002
        """Return how much of the work is due, 0 to 1; `None` while the job is pending."""
        return _share(polls, self.pending, self.running)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """A job moves on with the time.

    Without a `clock` it is the real one: lines are worked on in the background, and the job ends
    when its time is over and all lines are done. With a `clock` of the test's own, the work that
    is due is done before a `get` is answered.

    Raises:
        ValueError: A number is below 0 or not a number.
    """

    pending: float = 1.0
    """Seconds before the first line is worked on, >= 0."""

    running: float = 3.0
    """Seconds over which the lines are worked on, >= 0."""

    clock: Callable[[], float] | None = None
    """Returns seconds since any moment."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not (0 <= self.pending < math.inf and 0 <= self.running < math.inf):
            raise ValueError(f"pending and running must be 0 or more, not {self}.")

    @property
    def goes_by_itself(self) -> bool:
        """Whether a job moves on although nobody asks for it."""
        return self.clock is None

    def now(self) -> float:
        """Return the time at which a job begins."""
        return (self.clock or time.monotonic)()

    def share_done(self, *, begun: float, polls: int) -> float | None:  # noqa: ARG002
        """Return how much of the work is due, 0 to 1; `None` while the job is pending."""
        return _share(self.now() - begun, self.pending, self.running)


Schedule = Polls | Seconds


def _share(passed: float, pending: float, running: float) -> float | None:
    if passed < pending:
        return None
    return 1.0 if passed >= pending + running else (passed - pending) / running
