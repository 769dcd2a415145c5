"""Killed at every step that a small real run takes on disk and wire, and resumed each time.

The steps are before and after each commit, each fsync, each link, rename or removal of a file, and
each request. They have names, since two threads take them in an order of their own.
`NANOBATCH_CRASH_STRIDE` is the distance of the steps: 1, every step, in the nox session `crash`.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nanobatch import Checkpoint
from tests.crash.harness import KILLED, Order, all_quiet, show, zygote
from tests.crash.judge import Judge
from tests.support import simulator

if TYPE_CHECKING:
    from pathlib import Path

    from tests.crash.harness import Run, Zygote

STRIDE = int(os.environ.get("NANOBATCH_CRASH_STRIDE", "9"))

JOBS: list[dict[str, Any]] = [
    {"id": "a", "prompt": "a dune <a>", "route": "lite"},
    {"id": "b", "prompt": "a dune <b>", "route": "finish"},
]
WANTS = {"a": 1, "b": 1}


async def _live(zygote_: Zygote, folder: Path, kill: tuple[str, int] | None) -> tuple[Run, int]:
    """Run, be killed unless `kill` is `None`, and run again to the end.

    Returns:
        The first run, and how many requests both have sent.
    """
    async with simulator() as server:
        judge = Judge(folder, server.bill)
        order = Order(base_url=server.base_url, folder=str(folder), jobs=JOBS, concurrency=1)
        run = await zygote_.run(replace(order, kill_at=kill, names_steps=kill is None))
        await all_quiet(server)
        judge.look(run.accepted, WANTS)
        resumed = await zygote_.run(order)
        sight = judge.look(resumed.accepted, WANTS)

    assert resumed.ended == "complete"
    assert sight.images == 2
    with Checkpoint.read(folder) as checkpoint:
        report = checkpoint.verify()
        assert report.is_clean, report
    assert not (folder / "lost+found").exists()
    return run, server.bill.requests


@pytest.mark.timeout(600)
async def test_killed_at_any_step_of_a_run_nothing_is_lost_and_nothing_is_bought_twice(
    tmp_path: Path,
) -> None:
    async with zygote() as zygote_:
        whole, requests = await _live(zygote_, tmp_path / "whole", None)
        counts = Counter(whole.steps)
        points = [(name, nth) for name, times in counts.items() for nth in range(1, times + 1)]
        runs = [
            await _live(zygote_, tmp_path / f"{number}", point)
            for number, point in enumerate(points[::STRIDE])
        ]

    killed = sum(run.code == KILLED for run, _ in runs)
    show(f"killed at {killed} of {len(runs)} steps, which are one of {STRIDE} of {len(points)}")
    # Two changes that share a transaction are one step less of its name.
    assert killed >= 0.8 * len(runs)
    # An intent, a request, a file and its folder synced, a settlement and a verdict: three times.
    assert len(points) > 80
    # A draft, its finish and an image are three calls; a kill cuts at most the one in flight.
    assert requests == 3
    most_requests = max(requests for _, requests in runs)
    assert 3 <= most_requests <= 4
    assert most_requests == 4 or STRIDE > 1
