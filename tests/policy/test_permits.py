"""How many requests may be in flight, while the provider says slower and lets us grow again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobatch.policy import Permits

if TYPE_CHECKING:
    from nanobatch.policy.permits import Permit


async def _take(permits: Permits, count: int) -> list[Permit]:
    return [await permits.acquire() for _ in range(count)]


async def test_no_more_than_the_limit_are_in_flight_and_who_waits_is_served_in_order() -> None:
    permits = Permits(2)
    seen: list[list[str]] = []
    order: list[str] = []
    got: list[Permit] = []
    held = await _take(permits, 2)

    async def wait(name: str) -> None:
        got.append(await permits.acquire())
        order.append(name)

    async with anyio.create_task_group() as group:
        for name in ("a", "b", "c"):
            group.start_soon(wait, name)
            await anyio.wait_all_tasks_blocked()
        seen.append(list(order))
        permits.release(held[0])
        await anyio.wait_all_tasks_blocked()
        seen.append(list(order))
        permits.release(held[1])
        permits.release(got[0])

    assert seen == [[], ["a"]]
    assert order == ["a", "b", "c"]


async def test_who_comes_later_does_not_slip_past_who_waits() -> None:
    permits = Permits(1)
    early: list[str] = []
    order: list[str] = []
    got: list[Permit] = []
    held = await permits.acquire()

    async def wait(name: str) -> None:
        got.append(await permits.acquire())
        order.append(name)

    async with anyio.create_task_group() as group:
        group.start_soon(wait, "first")
        await anyio.wait_all_tasks_blocked()
        permits.release(held)
        group.start_soon(wait, "later")  # the permit is free, but it is the first one's
        await anyio.wait_all_tasks_blocked()
        early += order
        permits.release(got[0])

    assert early == ["first"]
    assert order == ["first", "later"]


async def test_a_permit_given_back_twice_lets_one_in() -> None:
    permits = Permits(2)
    first, _ = await _take(permits, 2)

    permits.release(first)
    permits.release(first)

    assert permits.in_use == 1


async def test_the_permit_of_an_answered_request_goes_on_unless_it_is_the_only_one() -> None:
    only, many = Permits(1), Permits(2)

    for permits in (only, many):
        permits.pass_on((await _take(permits, 1))[0])

    assert (only.in_use, many.in_use) == (1, 0)


async def test_requests_are_numbered_in_the_order_they_start() -> None:
    permits = Permits(3)

    assert [permit.number for permit in await _take(permits, 3)] == [1, 2, 3]


async def test_slowing_down_halves_once_per_round_trip() -> None:
    permits = Permits(16)
    flight = await _take(permits, 16)

    for permit in flight:  # all sixteen are told so by the same busy moment
        permits.slow_down(permit)
    after_round = permits.size
    for permit in flight:
        permits.release(permit)
    [new] = await _take(permits, 1)
    permits.slow_down(new)

    assert after_round == 8
    assert permits.size == 4


async def test_it_never_shrinks_below_one() -> None:
    permits = Permits(5)
    sizes: list[int] = []
    for _ in range(5):
        permit = await permits.acquire()
        permits.slow_down(permit)
        permits.release(permit)
        sizes.append(permits.size)

    assert sizes == [2, 1, 1, 1, 1]


async def test_a_round_of_successes_grows_it_by_one_up_to_the_limit() -> None:
    permits = Permits(4)
    permit = await permits.acquire()
    permits.slow_down(permit)  # 2
    sizes: list[int] = []
    for _ in range(9):
        permits.succeeded()
        sizes.append(permits.size)

    assert sizes == [2, 3, 3, 3, 4, 4, 4, 4, 4]


async def test_successes_before_a_halving_do_not_count_after_it() -> None:
    permits = Permits(9)
    first, second = await _take(permits, 2)
    permits.slow_down(first)  # 4
    for _ in range(3):
        permits.succeeded()
    third = await permits.acquire()
    permits.slow_down(third)  # 2
    permits.succeeded()
    one_success = permits.size
    permits.succeeded()

    assert second.number < third.number
    assert one_success == 2
    assert permits.size == 3


async def test_while_more_are_in_flight_than_the_new_size_nobody_else_starts() -> None:
    permits = Permits(8)
    flight = await _take(permits, 8)
    permits.slow_down(flight[0])  # 4, with 8 in flight
    early: list[int] = []
    started: list[int] = []

    async def wait() -> None:
        started.append((await permits.acquire()).number)

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        for _ in range(4):
            permits.succeeded()  # 5, and still 8 in flight
        await anyio.wait_all_tasks_blocked()
        early += started
        for permit in flight[:3]:
            permits.release(permit)
        await anyio.wait_all_tasks_blocked()
        early += started
        permits.release(flight[3])

    assert early == []
    assert started == [9]


async def test_growing_lets_those_who_wait_in() -> None:
    permits = Permits(2)
    first, second = await _take(permits, 2)
    permits.slow_down(first)
    permits.release(second)
    early: list[int] = []
    started: list[int] = []

    async def wait() -> None:
        started.append((await permits.acquire()).number)

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        early += started
        permits.succeeded()  # one success at size one: two

    assert early == []
    assert started == [3]


async def test_who_is_cancelled_while_waiting_takes_no_permit() -> None:
    permits = Permits(1)
    held = await permits.acquire()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(permits.acquire)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()

    permits.release(held)

    with anyio.fail_after(5):
        await permits.acquire()


async def test_a_permit_handed_over_in_the_moment_of_cancellation_goes_to_the_next() -> None:
    permits = Permits(1)
    held = await permits.acquire()
    gives_up = asyncio.create_task(permits.acquire())
    await asyncio.sleep(0)
    waits = asyncio.create_task(permits.acquire())
    await asyncio.sleep(0)

    permits.release(held)  # the permit is handed over
    gives_up.cancel()  # and its owner cancelled before it can run

    with anyio.fail_after(5):
        permit = await waits
    assert gives_up.cancelled()
    assert permit.number == 2


@settings(max_examples=60, deadline=None, database=None)
@given(
    limit=st.integers(1, 9),
    faults=st.lists(st.booleans(), max_size=60),
)
def test_whatever_comes_back_the_size_is_kept(limit: int, faults: list[bool]) -> None:
    in_flight = highest = 0
    sizes: set[int] = set()

    async def call(permits: Permits, is_fault: bool) -> None:
        nonlocal in_flight, highest
        permit = await permits.acquire()
        in_flight += 1
        highest = max(highest, in_flight)
        await anyio.lowlevel.checkpoint()
        in_flight -= 1
        permits.release(permit)
        if is_fault:
            permits.slow_down(permit)
        else:
            permits.succeeded()
        sizes.add(permits.size)

    async def run() -> None:
        permits = Permits(limit)
        async with anyio.create_task_group() as group:
            for is_fault in faults:
                group.start_soon(call, permits, is_fault)

    anyio.run(run)

    assert highest <= limit
    assert sizes <= set(range(1, limit + 1))
    assert in_flight == 0
