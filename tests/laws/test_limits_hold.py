"""In any interleaving of asking, paying, giving back and giving up, limits hold and nobody starves.

Both machines play many tasks on one event loop; after each step the loop runs until all of them
wait, and what they got is compared with a plain list.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nanobatch.policy import BudgetGate, Permits

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from nanobatch.policy.permits import Permit

TURNS = 12
"""Of the event loop: more than any chain of wake-ups needs here."""

Got = TypeVar("Got")


@dataclass(kw_only=True)
class Asker(Generic[Got]):
    """A task that asks for something."""

    task: asyncio.Task[None]
    worst: int = 0
    got: list[Got] = field(default_factory=list[Got])

    @property
    def is_waiting(self) -> bool:
        return not self.task.done()


class Machine(RuleBasedStateMachine, Generic[Got]):
    """Plays tasks on an event loop of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.askers: list[Asker[Got]] = []

    def teardown(self) -> None:
        for asker in self.waiting():
            asker.task.cancel()
        self.settle_down()
        self.runner.close()

    def ask(self, question: Callable[[], Coroutine[Any, Any, Got]], *, worst: int = 0) -> None:
        got: list[Got] = []

        async def work() -> None:
            got.append(await question())

        async def start() -> None:
            task = asyncio.ensure_future(work())
            self.askers.append(Asker(task=task, worst=worst, got=got))

        self.runner.run(start())

    def settle_down(self) -> None:
        async def turns() -> None:
            for _ in range(TURNS):
                await asyncio.sleep(0)

        self.runner.run(turns())

    def waiting(self) -> list[Asker[Got]]:
        return [asker for asker in self.askers if asker.is_waiting]

    def give_up(self, which: int) -> None:
        """Cancel one that waits, perhaps in the moment when it gets what it waits for."""
        waiting = self.waiting()
        if waiting:
            asker = waiting[which % len(waiting)]
            asker.task.cancel()
            self.settle_down()
            if asker.task.cancelled():
                self.askers.remove(asker)


class BudgetMachine(Machine[bool]):
    """`BudgetGate` against a list: spent and reserved never pass the limit."""

    LIMIT = 1000

    def __init__(self) -> None:
        super().__init__()
        self.gate = BudgetGate(limit_nano=self.LIMIT, spent_nano=0)
        self.spent = 0
        self.granted: list[int] = []

    def look(self) -> None:
        """Sort those who got an answer."""
        for asker in [asker for asker in self.askers if not asker.is_waiting]:
            self.askers.remove(asker)
            if asker.got == [True]:
                self.granted.append(asker.worst)
            else:
                assert asker.got == [False]
                assert self.spent + asker.worst > self.LIMIT, "refused although it fits"

    @rule(worst=st.integers(0, 700))
    def reserve(self, worst: int) -> None:
        self.ask(lambda: self.gate.reserve(worst), worst=worst)

    @precondition(lambda self: self.granted)
    @rule(which=st.integers(0, 9), share=st.fractions(0, 1), and_cancel=st.booleans())
    def settle(self, which: int, share: Any, and_cancel: bool) -> None:
        self.settle_down()
        self.look()
        reserved = self.granted.pop(which % len(self.granted))
        cost = int(reserved * share)
        self.spent += cost
        self.gate.settle(reserved_nano=reserved, cost_nano=cost)
        if and_cancel:
            self.give_up(0)

    @rule(which=st.integers(0, 9))
    def cancel(self, which: int) -> None:
        self.give_up(which)

    @invariant()
    def the_limit_holds_and_nobody_waits_in_vain(self) -> None:
        self.settle_down()
        self.look()
        assert self.gate.spent_nano == self.spent
        assert self.gate.reserved_nano == sum(self.granted)
        assert self.spent + sum(self.granted) <= self.LIMIT
        if self.askers:
            assert self.granted, "with nothing in flight nobody may wait"
            first = self.askers[0].worst
            assert self.spent + sum(self.granted) + first > self.LIMIT, "the first one fits"


class PermitsMachine(Machine["Permit"]):
    """`Permits` against a list: nobody starts while more are in flight than the size."""

    LIMIT = 6

    def __init__(self) -> None:
        super().__init__()
        self.permits = Permits(self.LIMIT)
        self.held: list[Permit] = []
        self.started = 0

    def look(self) -> None:
        for asker in [asker for asker in self.askers if not asker.is_waiting]:
            self.askers.remove(asker)
            [permit] = asker.got
            self.started += 1
            assert permit.number == self.started, "in the order they asked"
            self.held.append(permit)

    @rule()
    def acquire(self) -> None:
        self.ask(self.permits.acquire)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 9), fault=st.booleans(), and_cancel=st.booleans())
    def release(self, which: int, fault: bool, and_cancel: bool) -> None:
        self.settle_down()
        self.look()
        permit = self.held.pop(which % len(self.held))
        before = self.permits.size
        if fault:
            self.permits.slow_down(permit)
            assert self.permits.size in (before, max(1, before // 2))
        else:
            self.permits.succeeded()
            assert self.permits.size in (before, before + 1)
        self.permits.release(permit)
        if and_cancel:
            self.give_up(0)

    @rule(which=st.integers(0, 9))
    def cancel(self, which: int) -> None:
        self.give_up(which)

    @invariant()
    def the_limit_holds_and_nobody_waits_in_vain(self) -> None:
        before = len(self.held)
        self.settle_down()
        self.look()
        assert 1 <= self.permits.size <= self.LIMIT
        assert len(self.held) <= self.LIMIT
        if len(self.held) > before:
            assert len(self.held) <= self.permits.size, "started while too many were in flight"
        if self.askers:
            assert len(self.held) >= self.permits.size, "a free permit and somebody who waits"


SETTINGS = settings(max_examples=40, stateful_step_count=20, deadline=None, database=None)
TestBudget = BudgetMachine.TestCase
TestBudget.settings = SETTINGS
TestPermits = PermitsMachine.TestCase
TestPermits.settings = SETTINGS
