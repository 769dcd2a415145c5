"""What a job orders from batch jobs: in rounds, each of which waits for the answers of the last."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from nanobatch.cost import Stage
from nanobatch.policy import slots_to_order

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nanobatch.policy import BatchOptions

__all__ = ["JobOrders", "OrderRoom"]

MAX_ORDERED_SLOTS = 20_000
"""Slots that may wait for batch jobs at once: a hundred jobs, the provider's limit, of 200 each.

Source: reference page "Gemini image API: facts" 2.5, collected 2026-11-23.
"""


class OrderRoom:
    """How many slots of all jobs may be ordered at once, so that a run's memory has a limit."""

    def __init__(self, options: BatchOptions) -> None:
        """Begin with nothing ordered."""
        self.options = options
        self.on_room: Callable[[], object] = lambda: None
        """Hears that there is room again."""
        self._slots = 0
        self._is_shut = False

    def has_room(self) -> bool:
        """Return whether another slot may be ordered."""
        return not self._is_shut and self._slots < MAX_ORDERED_SLOTS

    def take(self) -> None:
        """Count a slot that is ordered."""
        self._slots += 1

    def give_back(self) -> None:
        """Count a slot whose answer is here."""
        self._slots -= 1
        if self.has_room():
            self.on_room()

    def shut(self, *, is_shut: bool) -> None:
        """Take no order for now: there is no money, or the provider takes no further batch job."""
        self._is_shut = is_shut
        if self.has_room():
            self.on_room()


class JobOrders:
    """The orders of one job; the stages of a finish order by themselves."""

    def __init__(self, room: OrderRoom, placed: Mapping[Stage, int]) -> None:
        """Go on behind the orders that earlier runs have placed.

        Args:
            room: Shared by all jobs of the run.
            placed: How many orders there were, by stage.
        """
        self.room = room
        self._rounds = Counter[Stage](dict(placed))
        self._ordered = Counter[Stage]()
        self._to_begin = Counter[Stage]()

    @property
    def tops_up(self) -> bool:
        """Whether what is missing after the last round is drawn at once."""
        return self.room.options.top_up

    def is_open(self, stage: Stage) -> bool:
        """Return whether an order has slots to begin, or answers to come."""
        return self._ordered[stage] + self._to_begin[stage] > 0

    def take_part(self, stage: Stage) -> bool:
        """Return whether the next slots of a stage are ordered rather than drawn at once."""
        return self.is_open(stage) or self._rounds[stage] < self.room.options.rounds

    def place(
        self, stage: Stage, *, needed: int, passed: float, failed: float, at_most: int
    ) -> None:
        """Place the next order; see `slots_to_order`."""
        self._rounds[stage] += 1
        is_last = self._rounds[stage] >= self.room.options.rounds
        slots = slots_to_order(needed, passed=passed, failed=failed, is_last=is_last)
        self._to_begin[stage] = min(slots, at_most)

    def slots_to_begin(self, stage: Stage) -> int:
        """Return how many slots of the current order have not begun."""
        return self._to_begin[stage]

    def begin(self, stage: Stage) -> int:
        """Count a slot that is ordered now, and return the number of its order, from 1."""
        if not self.is_open(stage):
            self._rounds[stage] += 1
        if self._to_begin[stage]:
            self._to_begin[stage] -= 1
        self._ordered[stage] += 1
        self.room.take()
        return max(self._rounds[stage], 1)

    def resume(self, stage: Stage) -> None:
        """Count a slot that an earlier run has ordered."""
        self._ordered[stage] += 1
        self.room.take()

    def land(self, stage: Stage) -> None:
        """Count a slot of an order as over."""
        self._ordered[stage] -= 1
        self.room.give_back()

    def asks_again(self, stage: Stage) -> bool:
        """Return whether a slot may be asked for once more: with an order, or at once."""
        may_order = self._ordered[stage] > 1 or self._rounds[stage] < self.room.options.rounds
        return may_order or self.tops_up

    def again(self, stage: Stage) -> int | None:
        """Return the order in which a slot is asked for once more; `None`: draw it at once.

        It goes with the current order while others of it are unanswered; else it begins the next
        one, if there is one.
        """
        if self._ordered[stage] > 1:
            return max(self._rounds[stage], 1)
        if self._rounds[stage] >= self.room.options.rounds:
            return None
        self._rounds[stage] += 1
        return self._rounds[stage]
