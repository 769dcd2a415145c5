"""Eight who start together on one checkpoint: one runs, seven are told who it is.

`NANOBATCH_CRASH_KILLS=200` makes it twenty rounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nanobatch.simulator import answers
from tests.crash.harness import KILLED, KILLS, LOCKED, Order, all_quiet, zygote
from tests.crash.judge import Judge
from tests.support import simulator

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = max(2, KILLS // 10)


@pytest.mark.timeout(60 + 10 * KILLS)
async def test_of_eight_starters_one_runs_and_a_killed_one_frees_the_checkpoint_at_once(
    tmp_path: Path,
) -> None:
    # Nobody gets an answer, so the one that runs is still at it when the others have given up.
    async with simulator(answer=lambda _: answers.stall()) as server, zygote() as zygote_:
        judge = Judge(tmp_path / "run", server.bill)
        order = Order(
            base_url=server.base_url,
            folder=str(tmp_path / "run"),
            jobs=[{"id": "a", "prompt": "a dune <a>", "route": "lite"}],
            concurrency=1,
            starters=8,
            kill_last=True,
        )
        earlier: int | None = None
        for _ in range(ROUNDS):
            before = server.bill.requests
            runs = (await zygote_.obey(order)).runs
            await all_quiet(server)

            [winner] = [run for run in runs if run.code == KILLED]
            losers = [run for run in runs if run is not winner]
            assert [run.code for run in losers] == [LOCKED] * 7
            # Who is refused before the winner could write its name down reads the one before.
            assert {run.told[0]["pid"] for run in losers} <= {winner.pid, earlier}
            earlier = winner.pid
            assert server.bill.requests - before <= 1
            judge.look([], {"a": 1})  # every request has an intent, and losers cannot write one
