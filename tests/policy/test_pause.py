from __future__ import annotations

from typing import Any

import anyio
import pytest
import trio.testing

from nanobatch.policy import Pauses


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """A clock that jumps to the next deadline as soon as everybody waits."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


async def test_nobody_waits_for_a_model_that_never_asked() -> None:
    pauses, begun = Pauses(), anyio.current_time()
    pauses.lengthen("lite", 60)

    await pauses.wait("quality")

    assert anyio.current_time() == begun
    assert pauses.seconds_left("quality") == 0


async def test_everybody_waits_until_the_pause_is_over() -> None:
    pauses, begun = Pauses(), anyio.current_time()
    ends: list[float] = []

    async def call() -> None:
        await pauses.wait("lite")
        ends.append(anyio.current_time() - begun)

    pauses.lengthen("lite", 47)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(call)

    assert ends == [pytest.approx(47)] * 3


async def test_a_longer_pause_stays_and_a_wait_follows_one_that_grows() -> None:
    pauses, begun = Pauses(), anyio.current_time()
    ends: list[float] = []

    async def call() -> None:
        await pauses.wait("lite")
        ends.append(anyio.current_time() - begun)

    pauses.lengthen("lite", 10)
    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.sleep(5)
        pauses.lengthen("lite", 2)  # ends before the one there is
        await anyio.sleep(1)
        pauses.lengthen("lite", 30)  # 6 + 30

    assert ends == [pytest.approx(36)]
