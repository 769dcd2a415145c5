"""What type checkers say of a display; mypy and pyright read this file, pytest runs it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, assert_type

from nanobatch import Display, Ended, Estimate, Job, Snapshot, Spend, Waiting
from tests.support import pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch import Event


class Meter:
    def show(self, snapshot: Snapshot) -> None:
        assert_type(snapshot.accept, Estimate)
        assert_type(snapshot.usd_per_accepted, Estimate)
        assert_type(snapshot.spend, Spend)
        assert_type(snapshot.budget_usd, Decimal | None)
        assert_type(snapshot.waiting, tuple[Waiting, ...])
        assert_type(snapshot.seconds_left, float | None)
        assert_type(snapshot.ended, Ended | None)


def hear(event: Event) -> None:
    del event


async def test_whoever_may_watch_is_taken_by_the_type_checker(tmp_path: Path) -> None:
    display: Display = Meter()
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, quality=None)
        for watcher in (None, True, False, hear, display, Meter()):
            result = await pipeline.run([Job(id="a", prompt="a fox")], progress=watcher)
            assert result.ended is Ended.COMPLETE

    assert isinstance(display, Display)
    assert not isinstance(hear, Display)
