from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio.testing
from anyio import wait_all_tasks_blocked
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobatch.errors import ConfigError
from nanobatch.policy import Pace, Pacer, Spent

CENT = 10_000_000
"""One US cent in nano-dollars."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """A clock that jumps to the next deadline as soon as everybody waits."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.mark.parametrize("usd", [0, -1, "0", "NaN", math.inf, "ten", True])
def test_a_spend_limit_that_is_no_amount_above_zero_is_refused(usd: Any) -> None:
    with pytest.raises(ConfigError, match="usd_per_10_minutes"):
        Pace(usd_per_10_minutes=usd)


@pytest.mark.parametrize("images", [0, -1, 1.5, True, "10"])
def test_an_image_limit_that_is_no_whole_number_from_one_is_refused(images: Any) -> None:
    with pytest.raises(ConfigError, match="images_per_minute"):
        Pace(images_per_minute=images)


@pytest.mark.parametrize("usd", ["10", 10, 10.0, Decimal(10)])
def test_a_pace_is_what_was_written(usd: Any) -> None:
    assert Pace(usd_per_10_minutes=usd).nano_usd == 10 * 10**9
    assert Pace(usd_per_10_minutes=usd) == Pace(usd_per_10_minutes="10")


async def test_without_a_limit_nobody_waits() -> None:
    pacer, begun = Pacer(Pace()), anyio.current_time()

    for _ in range(1000):
        await pacer.reserve(10**12)

    assert anyio.current_time() == begun
    assert pacer.wait_seconds(10**12) == 0


async def test_a_call_that_judges_counts_its_money_and_is_no_image() -> None:
    before = [Spent(seconds_ago=1, nano=6 * CENT, images=0)]
    pacer = Pacer(Pace(usd_per_10_minutes="0.10", images_per_minute=1), before=before)

    await pacer.reserve(2 * CENT, images=0)
    pacer.settle(reserved_nano=2 * CENT, cost_nano=CENT, images=0)

    assert pacer.wait_seconds(3 * CENT) == 0  # six, one and three are ten, and no image so far
    assert pacer.wait_seconds(4 * CENT) == pytest.approx(599)
    await pacer.reserve(CENT)
    pacer.settle(reserved_nano=CENT, cost_nano=0)
    assert pacer.wait_seconds(CENT) == pytest.approx(60)
    assert pacer.wait_seconds(CENT, images=0) == 0
    pacer.cancel(reserved_nano=0, images=0)


async def test_ten_dollars_in_ten_minutes_are_297_lite_images() -> None:
    price, begun = 33_600_000, anyio.current_time()
    pacer = Pacer(Pace(usd_per_10_minutes="10"))
    passed = 0

    with anyio.move_on_after(599):
        while True:
            await pacer.reserve(price)
            pacer.settle(reserved_nano=price, cost_nano=price)
            passed += 1

    assert passed == 297  # 10 / 0.0336 = 297.6
    assert anyio.current_time() - begun == pytest.approx(599)


async def test_what_was_spent_counts_for_ten_minutes_and_not_longer() -> None:
    pacer = Pacer(Pace(usd_per_10_minutes="0.10"))
    await pacer.reserve(7 * CENT)
    pacer.settle(reserved_nano=7 * CENT, cost_nano=7 * CENT)
    begun = anyio.current_time()

    await pacer.reserve(3 * CENT)  # 7 + 3 is exactly the limit
    at_once = anyio.current_time() - begun
    await pacer.reserve(2 * CENT)
    later = anyio.current_time() - begun

    assert at_once == 0
    assert later == pytest.approx(600)


async def test_a_call_in_flight_counts_at_its_worst_case_until_it_is_settled() -> None:
    pacer = Pacer(Pace(usd_per_10_minutes="0.10"))
    begun, waited = anyio.current_time(), math.inf

    async def second() -> None:
        nonlocal waited
        await pacer.reserve(6 * CENT)
        waited = anyio.current_time() - begun

    await pacer.reserve(6 * CENT)
    async with anyio.create_task_group() as group:
        group.start_soon(second)
        await anyio.sleep(20)
        pacer.settle(reserved_nano=6 * CENT, cost_nano=4 * CENT)

    assert waited == pytest.approx(20)


async def test_a_call_that_was_never_sent_does_not_count() -> None:
    pacer = Pacer(Pace(usd_per_10_minutes="0.10", images_per_minute=1))
    begun = anyio.current_time()

    await pacer.reserve(10 * CENT)
    pacer.cancel(reserved_nano=10 * CENT)
    await pacer.reserve(10 * CENT)

    assert anyio.current_time() == begun


async def test_images_count_for_a_minute_from_the_end_of_their_call_whatever_they_cost() -> None:
    pacer = Pacer(Pace(images_per_minute=2))
    begun = anyio.current_time()

    for _ in range(2):
        await pacer.reserve(0)
    await anyio.sleep(5)
    pacer.settle(reserved_nano=0, cost_nano=0)
    await anyio.sleep(5)
    pacer.settle(reserved_nano=0, cost_nano=0)
    await pacer.reserve(0)
    third = anyio.current_time() - begun
    await pacer.reserve(0)
    fourth = anyio.current_time() - begun

    assert [third, fourth] == pytest.approx([65, 70])


async def test_a_call_above_the_whole_limit_passes_when_nothing_else_counts() -> None:
    pacer = Pacer(Pace(usd_per_10_minutes="0.10"))
    begun = anyio.current_time()

    await pacer.reserve(12 * CENT)
    first = anyio.current_time() - begun
    pacer.settle(reserved_nano=12 * CENT, cost_nano=3 * CENT)
    await pacer.reserve(12 * CENT)
    second = anyio.current_time() - begun

    assert [first, second] == pytest.approx([0, 600])


async def test_what_an_earlier_run_spent_still_counts() -> None:
    earlier = [Spent(seconds_ago=590, nano=6 * CENT), Spent(seconds_ago=100, nano=4 * CENT)]
    pacer = Pacer(Pace(usd_per_10_minutes="0.10"), before=earlier)
    begun = anyio.current_time()

    await pacer.reserve(6 * CENT)
    first = anyio.current_time() - begun
    await pacer.reserve(4 * CENT)
    second = anyio.current_time() - begun

    assert [first, second] == pytest.approx([10, 500])


async def test_who_waits_is_served_in_order_and_a_small_call_does_not_slip_past() -> None:
    pacer = Pacer(Pace(usd_per_10_minutes="0.10"))
    order: list[int] = []

    async def call(cents: int) -> None:
        await pacer.reserve(cents * CENT)
        order.append(cents)

    await pacer.reserve(9 * CENT)
    pacer.settle(reserved_nano=9 * CENT, cost_nano=9 * CENT)
    async with anyio.create_task_group() as group:
        for cents in (6, 1, 3):
            group.start_soon(call, cents)
            await wait_all_tasks_blocked()

    assert order == [6, 1, 3]


async def test_who_is_cancelled_while_waiting_reserves_nothing_and_lets_the_next_one_in() -> None:
    pacer = Pacer(Pace(usd_per_10_minutes="0.10"))
    begun, scope = anyio.current_time(), anyio.CancelScope()

    async def give_up() -> None:
        with scope:
            await pacer.reserve(9 * CENT)

    async def call() -> None:
        await pacer.reserve(2 * CENT)

    await pacer.reserve(8 * CENT)
    async with anyio.create_task_group() as group:
        group.start_soon(give_up)
        await wait_all_tasks_blocked()
        group.start_soon(call)
        await wait_all_tasks_blocked()
        scope.cancel()

    assert anyio.current_time() == begun
    assert pacer.wait_seconds(0) == 0
    assert pacer.wait_seconds(CENT) > 0


@settings(max_examples=50, deadline=None, database=None)
@given(
    calls=st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 120), st.floats(0, 1)),
        min_size=1,
        max_size=25,
    )
)
def test_no_window_ever_holds_more_than_the_limit(calls: list[tuple[int, int, float]]) -> None:
    """Whenever within a call the provider counts it: here at its beginning and at its end."""
    limit, images = 50, 6
    counted: list[tuple[float, float, int]] = []

    async def call(pacer: Pacer, worst: int, seconds: int, share: float) -> None:
        await pacer.reserve(worst)
        begun, cost = anyio.current_time(), int(worst * share)
        await anyio.sleep(seconds)
        counted.append((begun, anyio.current_time(), cost))
        pacer.settle(reserved_nano=worst, cost_nano=cost)

    async def run() -> None:
        pacer = Pacer(Pace(usd_per_10_minutes="0.00000005", images_per_minute=images))
        async with anyio.create_task_group() as group:
            for worst, seconds, share in calls:
                group.start_soon(call, pacer, worst, seconds, share)

    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(run, backend="trio", backend_options={"clock": clock})

    assert len(counted) == len(calls)
    for moment in (0, 1):
        for when in [one[moment] for one in counted]:
            window = [one for one in counted if when - 600 < one[moment] <= when]
            minute = [one for one in counted if when - 60 < one[moment] <= when]
            assert sum(cost for *_, cost in window) <= limit
            assert len(minute) <= images
