"""Killed at every step of a batch job's life, a run buys nothing twice and loses nothing.

Three jobs go through every turn that there is: an empty answer that is asked for again, a
rejected image that is drawn anew, a draft that is finished; the download breaks off once. The
short sweep dies at one of three kinds of steps; the long one, `NANOBATCH_CRASH_BATCH=all` as in
the nox session `crash`, at each single step.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from nanobatch import Checkpoint
from nanobatch.simulator import answers, batch
from tests.crash.harness import KILLED, Order, all_quiet, show, zygote
from tests.crash.judge import Judge, file_sha256
from tests.support import simulator

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.simulator import Answer, Call, Simulator
    from nanobatch.simulator.batch import Lost, Operation
    from tests.crash.harness import Zygote

JOBS: list[dict[str, Any]] = [
    {"id": "a", "prompt": "a dune <a>", "route": "lite"},
    {"id": "b", "prompt": "a dune <b>", "route": "lite"},
    {"id": "c", "prompt": "a dune <c>", "route": "finish"},
]
WANTS = {"a": 1, "b": 1, "c": 1}
CALLS = Counter({"a dune <a>": 2, "a dune <b>": 2, "a dune <c>": 1})
"""How often each prompt is drawn; the finish of the draft has a prompt of its own."""
IS_LONG = os.environ.get("NANOBATCH_CRASH_BATCH") == "all"


def _first_ones_fail(call: Call) -> Answer | None:
    if call.nth == 0 and call.prompt == "a dune <a>":
        return answers.no_image()
    if call.nth == 0 and call.prompt == "a dune <b>":
        return answers.image("blank")
    return None


def _server(**settings: Any) -> Simulator:
    slow = batch.Polls(pending=1, running=1)
    return simulator(
        answer=_first_ones_fail,
        batch=batch.Settings(**{"schedule": slow, "cut_downloads": 1, **settings}),
    )


def _order(server: Simulator, folder: Path) -> Order:
    return Order(
        base_url=server.base_url,
        folder=str(folder),
        jobs=JOBS,
        concurrency=1,
        by_batch=True,
        lost_after_seconds=0.1,
    )


async def _check(
    server: Simulator, folder: Path, judge: Judge, told: list[Any], *, is_definite: bool = True
) -> None:
    """Check what must be true once a killed run was resumed to its end."""
    await server.batches.finish()  # whatever was ordered twice costs something now
    await all_quiet(server)
    assert not server.batches.keys_submitted_twice
    assert not server.batches.keys_executed_twice
    prompts = Counter(line.prompt for line in server.bill.lines)
    assert prompts.total() == CALLS.total() + 1
    assert {prompt: prompts[prompt] for prompt in CALLS} == CALLS
    sight = judge.look(told, WANTS)
    assert sight.images == 3
    assert is_definite is (sight.unknown_nano == 0)
    assert sight.confirmed_nano == sight.bill_nano
    with Checkpoint.read(folder) as checkpoint:
        report = checkpoint.verify()
        assert report.is_clean, report
        billed = sum(line.images for line in server.bill.lines)
        candidates = list(checkpoint.candidates())
        assert len(candidates) == billed == 5
        rejected = {one.sha256 for one in candidates if one.state == "rejected"}
    # Killed between a rejection and the removal of its file, that file is nobody's any more.
    assert {file_sha256(path) for path in (folder / "lost+found").glob("*")} <= rejected
    assert not list((folder / "batches").iterdir())
    assert len(list((folder / "staging").iterdir())) == 1  # the draft that was finished
    assert not server.batches.results_left


async def _live(zygote_: Zygote, folder: Path, *kills: tuple[str, int]) -> list[int]:
    """Run, be killed, and run again to the end; return the exit codes."""
    codes: list[int] = []
    told: list[Any] = []
    is_doubtful, nameless = False, 0
    async with _server() as server:
        judge = Judge(folder, server.bill)
        order = _order(server, folder)
        for kill in kills:
            run = await zygote_.run(replace(order, kill_at=kill))
            await all_quiet(server)
            codes.append(run.code)
            told += run.accepted
            doubt, nameless = _doubts(server, folder)
            is_doubtful |= doubt
        last = await zygote_.run(replace(order, kill_after_seconds=60))  # if it waits for ever
        told += last.accepted
        assert last.ended == "complete"
        await _check(server, folder, judge, told, is_definite=not is_doubtful)
        assert len(server.batches.uploads_left) == nameless
    return codes


def _doubts(server: Simulator, folder: Path) -> tuple[bool, int]:
    """Say what a kill has left that nobody can know any more.

    Returns:
        Whether the request for a job may have been sent, and was not; and how many uploads are at
        the provider whose name nobody has written down. It deletes them by itself, two days later.
    """
    jobs = {job.display_name for job in server.batches.jobs}
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db:
        try:
            rows = db.execute("SELECT name, phase, input_file FROM batches").fetchall()
        except sqlite3.OperationalError:  # killed before there were tables
            return False, 0
    is_doubtful = any(phase == "creating" and name not in jobs for name, phase, _ in rows)
    return is_doubtful, len(set(server.batches.uploads_left) - {row[2] for row in rows})


async def _steps(zygote_: Zygote, folder: Path, kill: tuple[str, int] | None = None) -> list[str]:
    """Return the names of all steps of a run, in their order; perhaps after one that was killed."""
    async with _server() as server:
        judge = Judge(folder, server.bill)
        order = _order(server, folder)
        told = (await zygote_.run(replace(order, kill_at=kill))).accepted if kill else []
        run = await zygote_.run(replace(order, names_steps=True))
        assert run.ended == "complete"
        await _check(server, folder, judge, [*told, *run.accepted])
    return run.steps


@pytest.mark.timeout(7200 if IS_LONG else 180)
async def test_killed_at_any_step_of_a_batch_jobs_life_nothing_is_bought_twice_or_lost(
    tmp_path: Path,
) -> None:
    async with zygote() as zygote_:
        counts = Counter(await _steps(zygote_, tmp_path / "whole"))
        points = [(name, nth) for name, times in counts.items() for nth in range(1, times + 1)]
        if not IS_LONG:  # one of three kinds; they come in pairs, before and after
            points = [(name, 1) for name in counts][::3]
        killed: set[str] = set()
        for number, point in enumerate(points):
            [code] = await _live(zygote_, tmp_path / f"{number}", point)
            if code == KILLED:
                killed.add(point[0])

    show(f"killed at {len(killed)} of {len(counts)} kinds of steps, {len(points)} times")
    assert len(counts) >= 60
    # What the others were, another run's clock has made of them.
    assert len(killed) >= (0.9 * len(counts) if IS_LONG else 20)


FIRST_KILLS = (
    ("after create", 1),
    ("after failed download", 1),
    ("before commit of ledger", 2),
    ("after commit of ledger", 3),
    ("after commit of collected batch", 1),
)
"""A job nobody knows the name of, half a file of results, an answer staged and not settled, some
settled and some not, files of which nobody needs any."""


@pytest.mark.timeout(7200 if IS_LONG else 180)
async def test_killed_again_while_it_recovers_nothing_is_bought_twice_or_lost(
    tmp_path: Path,
) -> None:
    killed_twice = 0
    async with zygote() as zygote_:
        for first in FIRST_KILLS:
            folder = tmp_path / first[0].replace("/", " ")
            names = [*dict.fromkeys(await _steps(zygote_, folder / "whole", first))]
            # What follows on the recovery is a run like any other.
            for name in names[:: 1 if IS_LONG else len(names) // 3]:
                codes = await _live(zygote_, folder / name.replace("/", " "), first, (name, 1))
                killed_twice += codes == [KILLED, KILLED]

    show(f"killed again at {killed_twice} steps of {len(FIRST_KILLS)} recoveries")
    assert killed_twice >= (100 if IS_LONG else 8)


async def test_killed_while_the_answer_to_create_is_on_the_wire_the_job_is_found(
    tmp_path: Path,
) -> None:
    created = anyio.Event()

    def lose(asked: Operation) -> Lost | None:
        if asked.name != "create" or created.is_set():
            return None
        created.set()
        return batch.Lost()

    async with _server(fault=lose, list_lag=2) as server, zygote() as zygote_:
        judge = Judge(tmp_path / "run", server.bill)
        order = _order(server, tmp_path / "run")
        order = replace(order, lost_after_seconds=60)
        run = await zygote_.run(order, kill_when=created)
        await all_quiet(server)
        last = await zygote_.run(order)
        await _check(server, tmp_path / "run", judge, [*run.accepted, *last.accepted])

    assert run.code == KILLED
    assert last.ended == "complete"
