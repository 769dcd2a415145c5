"""Killed at random moments while batch jobs fail in every way, a run buys nothing twice.

`NANOBATCH_CRASH_KILLS` is the number of kills, as for the runs that draw at once.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest

from nanobatch import Checkpoint
from nanobatch.simulator import answers, batch
from tests.crash.harness import KILLED, KILLS, SEED, Order, all_quiet, show, zygote
from tests.crash.judge import Judge
from tests.crash.world import GrowingBatch
from tests.support import simulator

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.simulator import Answer, Call, Simulator
    from nanobatch.simulator.batch import Lost, Operation
    from tests.crash.harness import Told

_LUCK = {"create": 0.2, "upload": 0.1, "get": 0.05, "download": 0.3, "delete_file": 0.1}
"""How often an answer about files and jobs is lost although what was asked for is done."""


def _faulty_provider(seed: int) -> Simulator:
    """Return a provider whose batch jobs are quick and whose answers are lost or odd."""

    def lose(asked: Operation) -> Lost | None:
        chance = Random(f"{seed} {asked.name} {asked.nth}")
        is_cut = asked.name == "download"
        is_lost = chance.random() < _LUCK.get(asked.name, 0)
        return batch.Lost(0.5 if is_cut else None) if is_lost else None

    def surprise(call: Call) -> Answer | None:
        kind = Random(f"{seed} {call.model} {call.prompt} {call.nth} {call.is_finish}").random()
        faults = ((0.03, answers.no_image()), (0.07, answers.several_images(2)),
                  (0.10, answers.internal()), (0.12, answers.without_usage()))  # fmt: skip
        return next((answer for below, answer in faults if kind < below), None)

    return simulator(
        seed=seed,
        accept_rate=0.8,
        drawings=4,
        answer=surprise,
        batch=batch.Settings(
            schedule=batch.Seconds(pending=0.05, running=0.1),
            fault=lose,
            missing=0.02,
            duplicates=0.05,
            strangers=1,
            list_lag=1,
        ),
    )


@pytest.mark.timeout(120 + 20 * KILLS)
async def test_killed_at_random_moments_no_work_is_ordered_twice_and_no_answer_lost(
    tmp_path: Path,
) -> None:
    random = Random(SEED)
    jobs = GrowingBatch(random)
    folder = tmp_path / "run"
    told: list[Told] = []
    kills = unkilled = 0
    async with _faulty_provider(SEED) as server, zygote() as zygote_:

        def order(*, kill_after_seconds: float | None = None) -> Order:
            return Order(
                base_url=server.base_url,
                folder=str(folder),
                jobs=jobs.jobs(),
                by_batch=True,
                lost_after_seconds=0.5,
                concurrency=random.choice([2, 8]),
                kill_after_seconds=kill_after_seconds,
            )

        while kills < KILLS:
            jobs.grow(new_jobs=2, more_images=2)
            run = await zygote_.run(order(kill_after_seconds=random.uniform(0.05, 1.5)))
            told += run.accepted
            kills += run.code == KILLED
            unkilled += run.code != KILLED
            assert unkilled <= kills + 5, "too few runs are killed: let the batch grow faster"
        last = await zygote_.run(order())
        told += last.accepted
        await server.batches.finish()
        await all_quiet(server)
        wants = {job["id"]: job["want"] for job in jobs.jobs()}
        sight = Judge(folder, server.bill).look(told, wants)

    with Checkpoint.read(folder) as checkpoint:
        report = checkpoint.verify()
        assert report.is_clean, report
        statuses = Counter(str(job.status) for job in checkpoint.jobs())
        candidates = len(list(checkpoint.candidates()))
    show(
        f"{kills} kills, {unkilled} ended first, {len(server.batches.jobs)} batch jobs of "
        f"{server.bill.requests} lines, {sight.images} images accepted, {candidates} kept; "
        f"confirmed {sight.confirmed_nano / 1e9:.4f}, unknown {sight.unknown_nano / 1e9:.4f}, "
        f"bill {sight.bill_nano / 1e9:.4f} USD; {sight.exact_jobs} of {len(wants)} jobs equal to "
        f"the nano-dollar; {dict(statuses)}"
    )
    assert last.ended == "complete"
    assert not server.batches.keys_submitted_twice
    assert not server.batches.keys_executed_twice
    assert len({job.display_name for job in server.batches.jobs}) == len(server.batches.jobs)
    assert statuses["done"] > len(wants) / 2
    assert sight.exact_jobs > len(wants) / 2
    assert not list((folder / "batches").iterdir())
