"""The cap, and the gate that keeps it whatever is reserved, settled and cancelled."""

from __future__ import annotations

import asyncio
from decimal import Decimal, localcontext
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nanobatch.errors import ConfigError
from nanobatch.policy import Budget, BudgetGate

# --- the cap ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usd", "exact", "nano"),
    [
        ("25.00", "25.00", 25_000_000_000),
        (25, "25", 25_000_000_000),
        (0.1, "0.1", 100_000_000),  # not 0.1000000000000000055...
        (Decimal("0.0336"), "0.0336", 33_600_000),
        (0, "0", 0),
        ("0.0000000019", "0.0000000019", 1),  # a cap is rounded down
        (" 5 ", "5", 5_000_000_000),
        (10**9, "1000000000", 10**18),
    ],
)
def test_a_budget_is_what_was_written(usd: Any, exact: str, nano: int) -> None:
    budget = Budget(usd=usd)

    assert budget.usd == Decimal(exact)
    assert budget.nano_usd == nano


@pytest.mark.parametrize(
    "usd",
    [-1, "-0.01", "NaN", float("nan"), float("inf"), "Infinity", "five", "", None, True, False,
     "1e30", "1000000000.01", "25 USD", [], "1E+999999999"],
)  # fmt: skip
def test_what_is_no_amount_is_refused(usd: Any) -> None:
    with pytest.raises(ConfigError, match=r"Budget\(usd=.*an amount of USD from 0 to"):
        Budget(usd=usd)


def test_leaving_it_out_is_an_error_and_unlimited_is_said() -> None:
    with pytest.raises(TypeError):
        Budget()  # type: ignore[call-arg] # what people try

    assert Budget.unlimited().usd is None
    assert Budget.unlimited().nano_usd is None
    assert repr(Budget.unlimited()) == "Budget.unlimited()"


def test_budgets_are_equal_if_their_caps_are() -> None:
    assert Budget("25") == Budget(25.0) == Budget(Decimal("25.00"))
    assert hash(Budget("25")) == hash(Budget("25.00"))
    assert Budget("25") != Budget("24.99")
    assert Budget(0) != Budget.unlimited() == Budget.unlimited()
    assert Budget("25") != Decimal(25)
    assert repr(Budget("25.00")) == "Budget(usd='25.00')"


def test_the_callers_decimal_context_does_not_move_the_cap() -> None:
    with localcontext() as context:
        context.prec = 3
        assert Budget("123.456789").nano_usd == 123_456_789_000


# --- the gate --------------------------------------------------------------------------------


async def _settled() -> None:
    """Let every task run until all of them wait."""
    await anyio.wait_all_tasks_blocked()


async def test_what_fits_passes_at_once() -> None:
    gate = BudgetGate(limit_nano=100, spent_nano=40)

    assert await gate.reserve(60)
    assert (gate.spent_nano, gate.reserved_nano) == (40, 60)


async def test_without_a_limit_everything_passes() -> None:
    gate = BudgetGate(limit_nano=None, spent_nano=10**15)

    assert await gate.reserve(10**18)


async def test_refused_with_nothing_in_flight_it_is_exhausted() -> None:
    gate = BudgetGate(limit_nano=100, spent_nano=40)

    assert not await gate.reserve(61)
    assert (gate.spent_nano, gate.reserved_nano) == (40, 0)
    assert await gate.reserve(60)


async def test_refused_with_a_call_in_flight_it_waits_for_the_settlement() -> None:
    gate = BudgetGate(limit_nano=100, spent_nano=0)
    before: list[bool] = []
    granted: list[bool] = []

    async def reserve() -> None:
        granted.append(await gate.reserve(50))

    assert await gate.reserve(80)
    async with anyio.create_task_group() as group:
        group.start_soon(reserve)
        await _settled()
        before += granted
        gate.settle(reserved_nano=80, cost_nano=50)  # 50 + 50 is exactly the limit

    assert before == []
    assert granted == [True]
    assert (gate.spent_nano, gate.reserved_nano) == (50, 50)


async def test_a_wait_that_settlements_cannot_help_ends_with_a_refusal() -> None:
    gate = BudgetGate(limit_nano=100, spent_nano=0)
    before: list[bool] = []
    granted: list[bool] = []

    async def reserve(nano: int) -> None:
        granted.append(await gate.reserve(nano))

    assert await gate.reserve(30)
    assert await gate.reserve(40)
    async with anyio.create_task_group() as group:
        group.start_soon(reserve, 50)
        await _settled()
        gate.settle(reserved_nano=30, cost_nano=30)
        await _settled()
        before += granted
        gate.settle(reserved_nano=40, cost_nano=40)  # 70 spent, 50 will never fit

    assert before == []
    assert granted == [False]
    assert gate.reserved_nano == 0


async def test_who_waits_is_served_in_order_and_a_small_call_does_not_slip_past() -> None:
    gate = BudgetGate(limit_nano=100, spent_nano=0)
    before: list[int] = []
    order: list[int] = []

    async def reserve(nano: int) -> None:
        if await gate.reserve(nano):
            order.append(nano)

    assert await gate.reserve(90)
    async with anyio.create_task_group() as group:
        for nano in (60, 5, 35):
            group.start_soon(reserve, nano)
            await _settled()
        before += order
        gate.settle(reserved_nano=90, cost_nano=0)

    assert before == []
    assert order == [60, 5, 35]
    assert gate.reserved_nano == 100


async def test_who_is_cancelled_while_waiting_reserves_nothing_and_lets_the_next_one_in() -> None:
    gate = BudgetGate(limit_nano=100, spent_nano=0)
    granted: list[bool] = []
    scope = anyio.CancelScope()

    async def give_up() -> None:
        with scope:
            await gate.reserve(90)

    async def reserve() -> None:
        granted.append(await gate.reserve(20))

    assert await gate.reserve(80)
    async with anyio.create_task_group() as group:
        group.start_soon(give_up)
        await _settled()
        group.start_soon(reserve)
        await _settled()
        scope.cancel()

    assert granted == [True]
    assert gate.reserved_nano == 100


async def test_an_answer_above_its_reserve_is_counted_in_full_and_nothing_follows() -> None:
    gate = BudgetGate(limit_nano=100, spent_nano=0)
    assert await gate.reserve(60)

    gate.settle(reserved_nano=60, cost_nano=110)

    assert gate.spent_nano == 110
    assert not await gate.reserve(0)


async def test_money_nobody_reserved_counts_too() -> None:
    gate = BudgetGate(limit_nano=100, spent_nano=0)

    gate.add(70)

    assert not await gate.reserve(31)
    assert await gate.reserve(30)


@settings(max_examples=60, deadline=None, database=None)
@given(
    limit=st.integers(0, 500),
    calls=st.lists(st.tuples(st.integers(0, 120), st.floats(0, 1)), max_size=30),
)
def test_many_calls_at_once_never_pass_the_limit(
    limit: int, calls: list[tuple[int, float]]
) -> None:
    highest = 0

    async def call(gate: BudgetGate, worst: int, share: float) -> None:
        nonlocal highest
        if not await gate.reserve(worst):
            return
        highest = max(highest, gate.spent_nano + gate.reserved_nano)
        await anyio.lowlevel.checkpoint()
        gate.settle(reserved_nano=worst, cost_nano=int(worst * share))

    async def run() -> BudgetGate:
        gate = BudgetGate(limit_nano=limit, spent_nano=0)
        async with anyio.create_task_group() as group:
            for worst, share in calls:
                group.start_soon(call, gate, worst, share)
        return gate

    gate = anyio.run(run)

    assert highest <= limit
    assert gate.spent_nano <= limit
    assert gate.reserved_nano == 0


class Gate(RuleBasedStateMachine):
    """The gate against a plain list of what is in flight; a reservation never waits here."""

    LIMIT = 1000

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.gate = BudgetGate(limit_nano=self.LIMIT, spent_nano=0)
        self.in_flight: list[int] = []
        self.spent = 0

    @rule(nano=st.integers(0, 700))
    def reserve(self, nano: int) -> None:
        answer: bool | None = None  # it waits

        async def reserve() -> None:
            nonlocal answer
            answer = await self.gate.reserve(nano)

        async def at_once() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(reserve)
                for _ in range(5):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()

        self.runner.run(at_once())
        if self.spent + sum(self.in_flight) + nano <= self.LIMIT:
            assert answer is True
            self.in_flight.append(nano)
        else:
            assert answer is (None if self.in_flight else False)

    @rule(choice=st.integers(0, 99), share=st.fractions(0, 1))
    def settle(self, choice: int, share: Any) -> None:
        if self.in_flight:
            reserved = self.in_flight.pop(choice % len(self.in_flight))
            cost = int(reserved * share)
            self.gate.settle(reserved_nano=reserved, cost_nano=cost)
            self.spent += cost

    def teardown(self) -> None:
        self.runner.close()

    @invariant()
    def the_books_agree_and_the_limit_holds(self) -> None:
        assert self.gate.spent_nano == self.spent
        assert self.gate.reserved_nano == sum(self.in_flight)
        assert self.gate.spent_nano + self.gate.reserved_nano <= self.LIMIT


TestGate = Gate.TestCase
TestGate.settings = settings(max_examples=40, stateful_step_count=20, deadline=None, database=None)
