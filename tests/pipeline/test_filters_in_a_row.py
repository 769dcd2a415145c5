"""Several filters asked in one thread: each still has its own deadline, failure and price."""

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

from nanobatch import Budget, Candidate, Checkpoint, Job, JobStatus, TwoTierPipeline, Verdict
from nanobatch.pipeline import threads
from nanobatch.pipeline.panel import FILTER_THREADS, Panel
from nanobatch.pipeline.threads import run_in_daemon
from nanobatch.testing import ScriptedBackend
from nanobatch.testing.gallery import gallery

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from nanobatch import RunResult


async def judged_by(
    folder: Path, *filters: Any, jobs: int = 1, backend: Any = None, **options: Any
) -> RunResult:
    return await TwoTierPipeline(
        backend or ScriptedBackend(),
        filters=filters,
        checkpoint=folder,
        budget=Budget.unlimited(),
        **options,
    ).run([Job(id=f"j{n}", prompt=f"a fox {n}") for n in range(jobs)])


async def test_all_that_only_need_a_thread_share_one_in_their_order(tmp_path: Path) -> None:
    asked: list[tuple[str, threading.Thread]] = []

    def first(candidate: Candidate) -> bool:
        asked.append(("first", threading.current_thread()))
        return True

    def second(candidate: Candidate) -> Verdict:
        asked.append(("second", threading.current_thread()))
        return Verdict(accepted=True, score=0.5)

    async def third(candidate: Candidate) -> bool:
        asked.append(("third", threading.current_thread()))
        return True

    result = await judged_by(tmp_path, first, second, third, first)

    [image] = result.images
    assert image.score == 0.5
    assert [name for name, _ in asked] == ["first", "second", "third", "first"]
    assert asked[0][1] is asked[1][1] is not threading.current_thread()
    assert asked[2][1] is threading.current_thread()


async def test_nobody_is_asked_after_one_that_rejects(tmp_path: Path) -> None:
    asked: list[int] = []

    def accepts(candidate: Candidate) -> bool:
        asked.append(candidate.slot)
        return True

    def rejects_the_first(candidate: Candidate) -> Verdict:
        return Verdict(accepted=candidate.slot > 1, reason="not that one")

    def never_sees_it(candidate: Candidate) -> bool:
        return candidate.slot > 1

    result = await judged_by(tmp_path, accepts, rejects_the_first, never_sees_it, concurrency=1)

    assert result.delivered == 1
    assert asked == [1, 2]
    with Checkpoint.read(tmp_path) as checkpoint:
        assert [one.filter_name for one in checkpoint.candidates()] == ["rejects_the_first", ""]
        figures = {one.name: (one.asked, one.rejected) for one in checkpoint.filters()}
    assert figures == {"accepts": (2, 0), "rejects_the_first": (2, 1), "never_sees_it": (1, 0)}


async def test_each_has_a_deadline_of_its_own(tmp_path: Path) -> None:
    def slow(candidate: Candidate) -> bool:
        time.sleep(0.6)  # twice that is more than one may take
        return True

    def as_slow(candidate: Candidate) -> bool:
        return slow(candidate)

    result = await judged_by(tmp_path, slow, as_slow, filter_timeout_seconds=1.0)

    assert result.delivered == 1


async def test_the_one_that_hangs_is_named_and_no_other(tmp_path: Path) -> None:
    goes_on = threading.Event()

    def quick(candidate: Candidate) -> bool:
        return True

    def hangs(candidate: Candidate) -> bool:
        return goes_on.wait(60)

    result = await judged_by(tmp_path, quick, hangs, quick, filter_timeout_seconds=0.1)
    goes_on.set()

    assert [failure.message for failure in result.failures] == [
        "Filter hangs did not answer within 0.1 s."
    ]
    assert result.jobs["j0"].status is JobStatus.PENDING


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError("no answer"), "Filter raises raised TimeoutError: no answer"),
        (ValueError("odd"), "Filter raises raised ValueError: odd"),
        (SystemExit("enough"), "Filter raises raised SystemExit: enough"),
    ],
)
async def test_what_one_raises_is_said_as_it_is(
    error: BaseException, said: str, tmp_path: Path
) -> None:
    def quick(candidate: Candidate) -> bool:
        return True

    def raises(candidate: Candidate) -> bool:
        raise error

    result = await judged_by(tmp_path, quick, raises, quick)

    assert [failure.message for failure in result.failures] == [said]


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


async def test_one_that_charges_though_it_said_nothing_is_paid_for_and_asked_alone_then(
    tmp_path: Path,
) -> None:
    def charges(candidate: Candidate) -> Verdict:
        return Verdict(accepted=True, usd=Decimal("0.001"))

    def quick(candidate: Candidate) -> bool:
        return True

    result = await judged_by(tmp_path, charges, quick, jobs=3, concurrency=1)

    with Checkpoint.read(tmp_path) as checkpoint:
        [figures] = [one for one in checkpoint.filters() if one.name == "charges"]
    assert result.delivered == 3
    assert (figures.asked, figures.usd) == (3, Decimal("0.003"))


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
