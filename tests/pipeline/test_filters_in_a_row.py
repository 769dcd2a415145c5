"""Filters asked in threads, several in one: each has its own deadline, failure and price."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from nanobatch import (
    Budget,
    Candidate,
    Checkpoint,
    Ended,
    Job,
    JobStatus,
    Route,
    TwoTierPipeline,
    Verdict,
    filters,
)
from nanobatch.filters import MinBytes
from nanobatch.filters.catalogue import only_looks
from nanobatch.pipeline import threads
from nanobatch.pipeline.panel import FILTER_THREADS, Panel
from nanobatch.pipeline.row import Said, ask_in_a_row
from nanobatch.pipeline.threads import run_in_daemon
from nanobatch.testing import ScriptedBackend
from nanobatch.testing.gallery import gallery

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from nanobatch import RunResult


def accepts(candidate: Candidate) -> bool:
    return True


def rejects(candidate: Candidate) -> Verdict:
    return Verdict.reject("not that one")


async def judged_by(
    folder: Path, *asked: Any, jobs: int = 1, backend: Any = None, **options: Any
) -> RunResult:
    return await TwoTierPipeline(
        backend or ScriptedBackend(),
        filters=asked,
        checkpoint=folder,
        budget=Budget.unlimited(),
        **options,
    ).run([Job(id=f"j{n}", prompt=f"a fox {n}") for n in range(jobs)])


async def said_by(*filters: Any, timeout_seconds: float = 60) -> list[Said]:
    return await ask_in_a_row(
        filters,
        gallery()[0].candidate(),
        limiter=anyio.CapacityLimiter(1),
        timeout_seconds=timeout_seconds,
    )


async def test_they_share_a_thread_and_are_asked_in_their_order() -> None:
    asked: list[tuple[str, threading.Thread]] = []

    def first(candidate: Candidate) -> bool:
        asked.append(("first", threading.current_thread()))
        return True

    def second(candidate: Candidate) -> Verdict:
        asked.append(("second", threading.current_thread()))
        return Verdict(accepted=True, score=0.5)

    said = await said_by(first, second)

    assert said == [Said(verdict=Verdict.accept()), Said(verdict=Verdict.accept(score=0.5))]
    assert [name for name, _ in asked] == ["first", "second"]
    assert asked[0][1] is asked[1][1] is not threading.current_thread()


async def test_nobody_is_asked_after_one_that_rejects_or_raises() -> None:
    error = ValueError("odd")

    def raises(candidate: Candidate) -> bool:
        raise error

    assert await said_by(accepts, rejects, raises) == [
        Said(verdict=Verdict.accept()),
        Said(verdict=Verdict.reject("not that one")),
    ]
    assert await said_by(accepts, raises, rejects) == [
        Said(verdict=Verdict.accept()),
        Said(error=error),
    ]


async def test_each_has_a_deadline_of_its_own() -> None:
    def slow(candidate: Candidate) -> bool:
        time.sleep(1.2)  # twice that is more than one may take
        return True

    said = await said_by(slow, slow, timeout_seconds=2.0)

    assert said == [Said(verdict=Verdict.accept())] * 2


async def test_one_that_hangs_has_said_nothing() -> None:
    goes_on = threading.Event()

    def hangs(candidate: Candidate) -> bool:
        return goes_on.wait(60)

    said = await said_by(accepts, hangs, accepts, timeout_seconds=0.5)
    goes_on.set()

    assert said == [Said(verdict=Verdict.accept()), Said()]


async def test_nobody_is_asked_once_nobody_wants_to_hear_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemons = threads._Daemons()
    monkeypatch.setattr(threads, "_DAEMONS", daemons)
    goes_on = threading.Event()
    asked: list[str] = []

    def waits(candidate: Candidate) -> bool:
        asked.append("waits")
        scope.cancel()
        return goes_on.wait(60)

    def second(candidate: Candidate) -> bool:
        asked.append("second")
        return True

    with anyio.CancelScope() as scope:
        await said_by(waits, second)
    goes_on.set()
    with anyio.fail_after(30):
        while not daemons._idle:  # noqa: ASYNC110 - its thread has no event for that
            await anyio.sleep(0.005)

    assert asked == ["waits"]


def test_those_of_other_people_are_asked_one_by_one() -> None:
    class Mine(MinBytes):
        pass

    assert all(only_looks(one) for one in filters.default())
    assert not any(only_looks(one) for one in (accepts, Mine(), filters.NearDuplicate()))
    assert not only_looks(filters.AllOf(MinBytes(), MinBytes()))


async def test_without_a_thread_nothing_is_judged_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refused(thread: threading.Thread) -> None:
        if thread.name == "nanobatch filter":
            raise RuntimeError("can't start new thread")  # as Python does
        start(thread)

    monkeypatch.setattr(threads, "_DAEMONS", threads._Daemons())
    monkeypatch.setattr(threading.Thread, "start", refused)

    result = await judged_by(tmp_path, *filters.default())

    assert result.jobs["j0"].status is JobStatus.PENDING
    assert [failure.message for failure in result.failures] == [
        "Filter min_bytes raised RuntimeError: can't start new thread"
    ]


async def test_what_must_be_awaited_is_awaited_before_the_next_is_asked(tmp_path: Path) -> None:
    order: list[str] = []

    def later(candidate: Candidate) -> Any:
        async def verdict() -> bool:
            await anyio.lowlevel.checkpoint()
            order.append("awaited")
            return True

        return verdict()

    def quick(candidate: Candidate) -> bool:
        order.append("quick")
        return True

    result = await judged_by(tmp_path, later, quick)

    assert result.delivered == 1
    assert order == ["awaited", "quick"]


async def test_one_that_charges_though_it_said_nothing_is_paid_for(tmp_path: Path) -> None:
    def charges(candidate: Candidate) -> Verdict:
        return Verdict(accepted=True, usd=Decimal("0.001"))

    result = await judged_by(tmp_path, charges, accepts, jobs=3, concurrency=1)

    with Checkpoint.read(tmp_path) as checkpoint:
        [figures] = [one for one in checkpoint.filters() if one.name == "charges"]
    assert result.delivered == 3
    assert (figures.asked, figures.usd) == (3, Decimal("0.003"))


@pytest.mark.parametrize("cap", ["0.40", "0.43", "0.46"])
async def test_one_that_charged_once_is_not_asked_again_beyond_the_budget(
    tmp_path: Path, cap: str
) -> None:
    paid: list[int] = []

    def charges(candidate: Candidate) -> Verdict:
        paid.append(candidate.slot)
        return Verdict(accepted=True, usd=Decimal("0.20"))

    pipeline = TwoTierPipeline(
        ScriptedBackend(),
        quality="quality",
        filters=[charges],
        finish_filters=[charges, accepts],
        checkpoint=tmp_path,
        budget=Budget(cap),
        concurrency=1,
    )
    result = await pipeline.run([Job(id="j", prompt="a fox", route=Route.FINISH)])

    with Checkpoint.read(tmp_path) as checkpoint:
        booked = sum(line.usd for line in checkpoint.ledger() if line.kind == "judge")
    assert result.ended is Ended.BUDGET
    assert booked == len(paid) * Decimal("0.20")
    assert result.spend.worst_case_usd <= Decimal(cap)


async def test_a_panel_is_backed_up_while_more_wait_than_are_judged() -> None:
    panel = Panel(timeout_seconds=60)
    goes_on = threading.Event()
    seen: list[bool] = []

    def waits(candidate: Candidate) -> bool:
        return goes_on.wait(30)

    async def judge() -> None:
        one = gallery()[0].candidate()
        await panel.judge(one, [waits], ask=panel.answer)

    async with anyio.create_task_group() as group:
        for more, waiting in ((2 * FILTER_THREADS, FILTER_THREADS), (1, FILTER_THREADS + 1)):
            for _ in range(more):
                group.start_soon(judge)
            with anyio.fail_after(30):
                while panel._turns.statistics().tasks_waiting < waiting:  # noqa: ASYNC110
                    await anyio.sleep(0.005)
            seen.append(panel.is_backed_up)
        goes_on.set()

    assert seen == [False, True]
    assert not panel.is_backed_up


async def test_a_thread_is_used_again_and_ends_when_nobody_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "_DAEMONS", threads._Daemons())
    monkeypatch.setattr(threads, "IDLE_SECONDS", 0.05)
    limiter = anyio.CapacityLimiter(1)

    async def ask() -> threading.Thread:
        return await run_in_daemon(threading.current_thread, limiter=limiter)

    used = {await ask() for _ in range(20)}
    for thread in used:
        await anyio.to_thread.run_sync(thread.join)
    after = await ask()

    assert len(used) < 20
    assert after not in used
    assert after.daemon


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_threads_of_its_own(tmp_path: Path) -> None:
    def judge(folder: Path) -> None:
        anyio.run(partial(judged_by, folder, lambda candidate: True))

    judge(tmp_path / "parent")  # its thread is idle now
    child = multiprocessing.get_context("fork").Process(target=judge, args=(tmp_path / "child",))
    child.start()
    child.join(60)
    child.kill()  # if it hangs

    assert child.exitcode == 0
    with Checkpoint.read(tmp_path / "child") as checkpoint:
        assert len(list(checkpoint.images())) == 1


class Throttled(ScriptedBackend):
    """Notes how it is held back."""

    def __init__(self) -> None:
        super().__init__()
        self.was_full: list[bool] = []
        self.is_held_back = False

    @contextmanager
    def hold_back(self, is_full: Callable[[], bool]) -> Generator[None]:
        self.is_held_back = True
        self.was_full.append(is_full())
        yield
        self.is_held_back = False


async def test_a_run_holds_back_a_backend_that_can_be_as_long_as_it_lasts(tmp_path: Path) -> None:
    backend = Throttled()

    result = await judged_by(tmp_path, backend=backend)

    assert result.delivered == 1
    assert backend.was_full == [False]
    assert not backend.is_held_back
