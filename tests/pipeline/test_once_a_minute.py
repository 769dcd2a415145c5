"""A log gets a line a minute, by a clock that the test moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio.testing

from nanobatch import Budget, Ended
from nanobatch.pipeline.control import Control
from nanobatch.pipeline.displays.plain import LogLines
from nanobatch.pipeline.meter import Meter
from nanobatch.pipeline.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """A clock that jumps to the next deadline as soon as everybody waits."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


async def lines_after(seconds: float, write: Callable[[str], None]) -> None:
    meter = Meter(budget=Budget(5), max_concurrency=4, wanted=10)
    watch = Watch(meter, LogLines(write), Control())
    async with anyio.create_task_group() as group:
        group.start_soon(watch.follow)
        await anyio.sleep(seconds)
        watch.stop()
    watch.show_end(Ended.BUDGET)


async def test_a_run_of_three_hours_is_180_lines_and_the_end() -> None:
    lines: list[str] = []

    await lines_after(3 * 3600 + 1, lines.append)

    assert len(lines) == 181
    assert lines[0].endswith("; 0 of 4 in flight; 1 min 0 s")
    assert lines[119].endswith("; 2 h 0 min")
    assert lines[-1] == (
        "0 of 10 images (0 %); accept rate nothing judged yet; per image no image accepted yet; "
        "spend 0.00 of 5.00 USD; 3 h 0 min, ended: budget"
    )


async def test_a_short_run_is_one_line() -> None:
    lines: list[str] = []

    await lines_after(59, lines.append)

    assert len(lines) == 1
    assert lines[0].endswith("59 s, ended: budget")
