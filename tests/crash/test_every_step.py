"""Killed at every step that a small real run takes on disk and wire, and resumed each time.

The steps are before each commit, each fsync, each link, rename or removal of a file, before each
request leaves and after its answer is here. `NANOBATCH_CRASH_STRIDE` is the distance of the steps:
1, every step, in the nox session `crash`.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nanobatch import Checkpoint
from tests.crash.harness import KILLED, Order, all_quiet, show, zygote
from tests.crash.judge import Judge
from tests.support import simulator

if TYPE_CHECKING:
    from pathlib import Path

STRIDE = int(os.environ.get("NANOBATCH_CRASH_STRIDE", "9"))

JOBS: list[dict[str, Any]] = [
    {"id": "a", "prompt": "a dune <a>", "route": "lite"},
    {"id": "b", "prompt": "a dune <b>", "route": "finish"},
]
WANTS = {"a": 1, "b": 1}


@pytest.mark.timeout(600)
async def test_killed_at_any_step_of_a_run_nothing_is_lost_and_nothing_is_bought_twice(
    tmp_path: Path,
) -> None:
    point, codes = 1, [KILLED]
    most_requests = 0
    async with zygote() as zygote_:
        while codes[-1] == KILLED:
            folder = tmp_path / f"{point}"
            async with simulator() as server:
                judge = Judge(folder, server.bill)
                order = Order(
                    base_url=server.base_url, folder=str(folder), jobs=JOBS, concurrency=1
                )

                run = await zygote_.run(replace(order, kill_at_step=point))
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
            most_requests = max(most_requests, server.bill.requests)
            codes.append(run.code)
            point += STRIDE

    show(f"killed at {len(codes) - 2} steps of {point - STRIDE}")
    assert codes[-1] == 0
    # An intent, a request, a file and its folder synced, a settlement and a verdict: three times.
    assert point > 40
    # A draft, its finish and an image are three calls; a kill cuts at most the one in flight.
    assert 3 <= most_requests <= 4
    assert most_requests == 4 or STRIDE > 1
