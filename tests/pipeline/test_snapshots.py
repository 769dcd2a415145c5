"""What a display is shown of a run: the ledger's own figures, a few times a second."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from nanobatch import (
    Budget,
    Candidate,
    Checkpoint,
    ConfigError,
    Ended,
    ImageAccepted,
    Job,
    Pace,
    Retry,
    Route,
    RunResult,
    Snapshot,
    StopRule,
)
from nanobatch.filters import GeminiJudge
from nanobatch.simulator import answers
from tests.support import LITE, pipeline_on, simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nanobatch import Event
    from nanobatch.simulator import Answer, Call


class Watcher:
    """Keeps everything it is shown."""

    def __init__(self) -> None:
        self.shown: list[Snapshot] = []

    def show(self, snapshot: Snapshot) -> None:
        self.shown.append(snapshot)

    @property
    def last(self) -> Snapshot:
        return self.shown[-1]


def assert_is_the_ledgers(shown: Snapshot, folder: Path) -> None:
    """Compare the figures with those of the ledger, which is added up by another way."""
    with Checkpoint.read(folder) as checkpoint:
        ledger = checkpoint.cost_model()
        assert shown.spend == checkpoint.spend
    assert shown.accept == ledger.accept_live
    assert shown.usd_per_accepted == ledger.estimate(live=True)


async def test_the_last_one_is_the_ledgers_and_the_results_to_the_nano_dollar(
    tmp_path: Path,
) -> None:
    def answer(call: Call) -> Answer | None:
        faults = {5: answers.no_image, 11: answers.truncated_image, 17: answers.internal}
        return faults[call.number]() if call.number in faults else None

    jobs = [
        Job(
            id=f"job-{n}",
            prompt=f"a forest {n}",
            want=1 + n % 3,
            best_of=2 if n % 5 == 0 else 1,
            route=(Route.LITE, Route.QUALITY, Route.FINISH)[n % 3],
        )
        for n in range(30)
    ]
    watcher = Watcher()
    async with simulator(accept_rate=0.7, answer=answer) as server:
        result = await pipeline_on(server, tmp_path, stop=StopRule(30)).run(jobs, progress=watcher)

    assert result.ended is Ended.COMPLETE
    assert (watcher.last.delivered, watcher.last.wanted) == (result.delivered, 60)
    assert (watcher.last.is_over, watcher.last.ended) == (True, Ended.COMPLETE)
    assert watcher.last.spend.confirmed_usd == server.bill.usd
    assert_is_the_ledgers(watcher.last, tmp_path)
    assert not any(one.is_over for one in watcher.shown[:-1])


async def test_judges_unknown_money_and_resumed_slots_are_in_it(tmp_path: Path) -> None:
    """The first run leaves an image that no filter could judge; the second one takes it up."""
    is_broken = [True]

    def sometimes(candidate: Candidate) -> bool:
        if candidate.job.id == "j1" and is_broken:
            is_broken.clear()
            raise OSError("the network drive is gone")
        return True

    def answer(call: Call) -> Answer | None:
        return answers.not_json() if call.number == 3 else None

    jobs = [Job(id=f"j{n}", prompt=f"a fox {n}", want=2) for n in range(8)]
    options: dict[str, Any] = {
        "quality": None,
        "filters": [GeminiJudge("Is it a fox?"), sometimes],
        "concurrency": 3,
    }
    first, second = Watcher(), Watcher()
    async with simulator(answer=answer, scores=lambda call: 9 if call.nth % 3 else 3) as server:
        await pipeline_on(server, tmp_path, **options).run(jobs, progress=first)
        assert_is_the_ledgers(first.last, tmp_path)
        result = await pipeline_on(server, tmp_path, **options).run(jobs, progress=second)

    assert first.last.spend.unknown_usd > 0
    assert second.shown[0].accept.n >= first.last.accept.n
    assert second.last.delivered == result.delivered == 16
    assert_is_the_ledgers(second.last, tmp_path)


async def test_a_pause_is_shown_with_its_reason_and_the_lowered_concurrency(
    tmp_path: Path,
) -> None:
    def answer(call: Call) -> Answer | None:
        return answers.rate_limited(retry_after_seconds=1) if call.number == 3 else None

    watcher = Watcher()
    jobs = [Job(id=f"j{n}", prompt=f"a fox {n}") for n in range(8)]
    async with simulator(answer=answer, latency_seconds=0.1) as server:
        pipeline = pipeline_on(server, tmp_path, quality=None, concurrency=4)
        await pipeline.run(jobs, progress=watcher)

    paused = [one for one in watcher.shown if one.waiting]
    assert paused
    for one in paused:
        assert [(w.reason, w.model_id) for w in one.waiting] == [("rate_limit", LITE)]
        assert 0 < (one.waiting[0].seconds_left or 0) <= 1.1
        assert 2 <= one.concurrency < one.max_concurrency == 4  # those in flight may succeed
        assert " s: rate limit on gemini-3.1-flash-lite-image" in str(one)
    assert watcher.last.waiting == ()


async def test_a_wait_for_the_pace_is_shown(tmp_path: Path) -> None:
    watcher = Watcher()
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, quality=None, pace=Pace(images_per_minute=2))
        with anyio.move_on_after(1):
            jobs = [Job(id=f"j{n}", prompt=f"a fox {n}") for n in range(4)]
            await pipeline.run(jobs, progress=watcher)

    [waiting] = watcher.last.waiting
    assert (waiting.reason, waiting.model_id) == ("pace", "")
    assert 50 < (waiting.seconds_left or 0) < 60
    assert watcher.last.delivered == 2


async def test_it_is_shown_at_most_four_times_a_second_whatever_happens(tmp_path: Path) -> None:
    watcher = Watcher()
    jobs = [Job(id=f"j{n}", prompt=f"a fox {n}") for n in range(40)]
    begun = time.monotonic()
    async with simulator(latency_seconds=0.2) as server:
        pipeline = pipeline_on(server, tmp_path, quality=None, concurrency=5)
        result = await pipeline.run(jobs, progress=watcher)
    took = time.monotonic() - begun

    assert result.delivered == 40
    assert 3 <= len(watcher.shown) <= 4 * took + 1
    assert all(one.in_flight <= 5 for one in watcher.shown)
    assert max(one.in_flight for one in watcher.shown) == 5
    each = Decimal("0.13")  # a Lite call is reserved at 4,096 tokens, USD 0.123, and its prompt
    assert all(one.in_flight_usd <= each * (40 - one.delivered) for one in watcher.shown)
    assert any(one.in_flight_usd > each * 3 for one in watcher.shown)
    assert watcher.last.in_flight_usd == 0
    delivered = [one.delivered for one in watcher.shown]
    assert delivered == sorted(delivered)
    timed = [one for one in watcher.shown if one.seconds_left is not None]
    assert timed
    assert all(one.seconds_left == pytest.approx(expected_left(one)) for one in timed)


def expected_left(one: Snapshot) -> float:
    rate = one.images_per_minute
    assert rate is not None
    return (one.wanted - one.delivered) / (rate / 60)


async def test_what_a_generator_wants_is_known_once_it_is_read(tmp_path: Path) -> None:
    async def jobs() -> AsyncIterator[Job]:
        for n in range(6):
            await anyio.sleep(0.2)
            yield Job(id=f"j{n}", prompt=f"a fox {n}", want=2)

    watcher = Watcher()
    async with simulator() as server:
        await pipeline_on(server, tmp_path, quality=None).run(jobs(), progress=watcher)

    known = [one.is_all_known for one in watcher.shown]
    assert known[0] is False
    assert "+ images" in str(watcher.shown[0])
    assert all(one.seconds_left is None for one in watcher.shown if not one.is_all_known)
    assert (watcher.last.is_all_known, watcher.last.wanted, watcher.last.delivered) == (
        True,
        12,
        12,
    )


async def test_what_stopped_jobs_lack_is_given_up_and_not_waited_for(tmp_path: Path) -> None:
    def never(candidate: Candidate) -> bool:
        return candidate.job.id != "hopeless"

    watcher = Watcher()
    jobs = [Job(id="hopeless", prompt="a QR code", want=3), Job(id="fine", prompt="a fox")]
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, quality=None, filters=[never], stop=StopRule(2))
        await pipeline.run(jobs, progress=watcher)

    assert (watcher.last.delivered, watcher.last.given_up, watcher.last.wanted) == (1, 3, 4)
    assert "1 of 4 images, 3 given up (25 %)" in str(watcher.last)


async def test_while_a_run_ends_it_is_still_shown(tmp_path: Path) -> None:
    watcher = Watcher()
    jobs = [Job(id=f"j{n}", prompt=f"a fox {n}") for n in range(50)]
    async with simulator(latency_seconds=1) as server:
        pipeline = pipeline_on(server, tmp_path, quality=None, concurrency=2)
        with anyio.move_on_after(0.4) as scope:
            await pipeline.run(jobs, progress=watcher)

    assert scope.cancelled_caught
    ending = [one for one in watcher.shown if one.ended is Ended.CANCELLED]
    assert ending
    assert max(one.in_flight for one in ending) == 2
    assert "ending: cancelled, what is in flight is saved first" in str(ending[0])


async def test_the_first_error_of_a_display_ends_the_run_in_order(tmp_path: Path) -> None:
    class Broken:
        calls = 0

        def show(self, snapshot: Snapshot) -> None:
            del snapshot
            self.calls += 1
            raise RuntimeError("no such widget")

    display = Broken()
    jobs = [Job(id=f"j{n}", prompt=f"a fox {n}") for n in range(50)]
    async with simulator(latency_seconds=0.4) as server:
        pipeline = pipeline_on(server, tmp_path, quality=None, concurrency=2)
        with pytest.raises(RuntimeError, match="no such widget"):
            await pipeline.run(jobs, progress=display)

    assert display.calls == 1
    with Checkpoint.read(tmp_path) as checkpoint:
        assert checkpoint.spend.unknown_usd == 0
        assert checkpoint.spend.confirmed_usd == server.bill.usd > 0


async def test_an_error_of_the_very_last_look_is_raised_too(tmp_path: Path) -> None:
    class Late:
        def show(self, snapshot: Snapshot) -> None:
            if snapshot.is_over:
                raise RuntimeError("too late")

    async with simulator() as server:
        with pytest.raises(RuntimeError, match="too late"):
            await pipeline_on(server, tmp_path).run([Job(id="a", prompt="x")], progress=Late())


async def test_an_object_that_is_both_hears_events_and_sees_snapshots(tmp_path: Path) -> None:
    class Both(Watcher):
        def __init__(self) -> None:
            super().__init__()
            self.heard: list[Event] = []

        def __call__(self, event: Event) -> None:
            self.heard.append(event)

    both = Both()
    async with simulator() as server:
        await pipeline_on(server, tmp_path).run([Job(id="a", prompt="a fox")], progress=both)

    assert sum(isinstance(one, ImageAccepted) for one in both.heard) == 1
    assert both.last.delivered == 1


async def test_nobody_who_could_watch_is_refused_before_anything_happens(tmp_path: Path) -> None:
    wrong: Any = "yes"
    async with simulator() as server:
        with pytest.raises(ConfigError, match=r"progress='yes': it must be None, True, False, a"):
            await pipeline_on(server, tmp_path / "out").run([], progress=wrong)

    assert not (tmp_path / "out").exists()


async def test_calibrating_and_finishing_are_shown_too(tmp_path: Path) -> None:
    calibrating, finishing = Watcher(), Watcher()
    jobs = [Job(id=f"j{n}", prompt=f"a fox {n}", route=Route.LITE) for n in range(9)]
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path)
        await pipeline.calibrate(jobs, images=4, progress=calibrating)
        with Checkpoint.read(tmp_path) as checkpoint:
            chosen = list(checkpoint.images())[:2]
        await pipeline.finish(chosen, progress=finishing)

    assert calibrating.last.delivered == 4
    assert calibrating.last.seconds_left is None
    assert (finishing.last.delivered, finishing.last.wanted) == (2, 2)
    assert_is_the_ledgers(finishing.last, tmp_path)


async def test_without_a_budget_there_is_no_cap_to_show(tmp_path: Path) -> None:
    unlimited, capped = Watcher(), Watcher()
    async with simulator() as server:
        for folder, watcher, budget in (
            ("a", unlimited, Budget.unlimited()),
            ("b", capped, Budget("2.50")),
        ):
            pipeline = pipeline_on(
                server, tmp_path / folder, quality=None, budget=budget, retry=Retry()
            )
            result: RunResult = await pipeline.run([Job(id="a", prompt="x")], progress=watcher)
            assert result.ended is Ended.COMPLETE

    assert unlimited.last.budget_usd is None
    assert " USD, no cap;" in str(unlimited.last)
    assert capped.last.budget_usd == Decimal("2.50")
    assert " of 2.50 USD;" in str(capped.last)
