"""Killed at random moments over one growing batch, a run loses nothing and buys nothing twice.

`NANOBATCH_CRASH_KILLS` is the number of kills: 200 in the nox session `crash`.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from nanobatch import Checkpoint
from tests.crash.harness import KILLED, KILLS, SEED, Order, all_quiet, show, zygote
from tests.crash.judge import Judge, file_sha256
from tests.crash.world import GrowingBatch, faulty_simulator

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(60 + 20 * KILLS)
async def test_killed_at_random_moments_nothing_is_lost_and_nothing_is_bought_twice(
    tmp_path: Path,
) -> None:
    random = Random(SEED)
    batch = GrowingBatch(random)
    folder = tmp_path / "run"
    kills = told = unkilled = 0
    async with faulty_simulator(SEED) as server, zygote() as zygote_:
        judge = Judge(folder, server.bill)

        def order(
            *, kill_after_seconds: float | None = None, kill_after_lines: int | None = None
        ) -> Order:
            return Order(
                base_url=server.base_url,
                folder=str(folder),
                jobs=batch.jobs(),
                concurrency=random.choice([16, 32, 64]),
                kill_after_seconds=kill_after_seconds,
                kill_after_lines=kill_after_lines,
            )

        def wants() -> dict[str, int]:
            return {job["id"]: job["want"] for job in batch.jobs()}

        while kills < KILLS:
            batch.grow(new_jobs=4, more_images=4)
            if random.random() < 0.5:  # while it starts, resumes or has just begun to work
                killer = order(kill_after_seconds=random.uniform(0, 1))
            else:  # at work, on a fast machine as on a slow one
                killer = order(kill_after_lines=random.randint(1, 12))
            run = await zygote_.run(killer)
            await all_quiet(server)
            sight = judge.look(run.accepted, wants())
            told += len(run.accepted)
            kills += run.code == KILLED
            unkilled += run.code != KILLED
            assert unkilled <= kills + 5, "too few runs are killed: let the batch grow faster"
        last = await zygote_.run(order())
        sight = judge.look(last.accepted, wants())
        requests = server.bill.requests
        again = await zygote_.run(order())
        requests_again = server.bill.requests - requests

    wanted = sum(batch.wants)
    show(
        f"{kills} kills, {unkilled} ended first, {sight.images} images accepted, {told} told "
        f"before a kill, {requests} requests; confirmed {sight.confirmed_nano / 1e9:.4f}, "
        f"unknown {sight.unknown_nano / 1e9:.4f}, bill {sight.bill_nano / 1e9:.4f} USD; "
        f"{sight.exact_jobs} of {len(batch.wants)} jobs equal to the nano-dollar, "
        f"{judge.rounds_without_a_cut_call} rounds without a cut call"
    )
    assert kills == KILLS
    assert last.ended == again.ended == "complete"
    assert sight.images == wanted
    assert requests_again == 0
    assert 0 < sight.exact_jobs < len(batch.wants)
    with Checkpoint.read(folder) as checkpoint:
        report = checkpoint.verify()
        assert report.is_clean, report
        assert {str(job.status) for job in checkpoint.jobs()} == {"done"}
        rejected = {one.sha256 for one in checkpoint.candidates() if one.state == "rejected"}
    # Killed between a rejection and the removal of its file, that file is nobody's any more.
    assert {file_sha256(path) for path in (folder / "lost+found").glob("*")} <= rejected
