"""The route `auto` on the simulator: it learns, remembers, forgets, and buys no more."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from nanobatch import (
    Budget,
    Checkpoint,
    Ended,
    Job,
    JobEnded,
    JobStatus,
    ModelRegistry,
    Retry,
    Route,
    Tier,
    filters,
)
from nanobatch.pipeline.control import Control
from nanobatch.pipeline.learning import learn_from_earlier_runs
from nanobatch.pipeline.plan import priors_of
from nanobatch.pipeline.run import Run
from nanobatch.policy import Router
from nanobatch.simulator import answers
from tests.support import LITE, PRO, candidates, pipeline_on, simulator, states

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from nanobatch import Event, TwoTierPipeline
    from nanobatch.pipeline.options import Options
    from nanobatch.simulator import Answer, Call

SMALL = [filters.Decodes(), filters.NotBlank()]


def _jobs(tag: str, count: int, **fields: Any) -> list[Job]:
    return [Job(id=f"{tag}-{n}", prompt=f"{tag} {n}", tag=tag, **fields) for n in range(count)]


def _mixed(count: int) -> list[Job]:
    """Return hard and easy jobs in turn."""
    pairs = zip(_jobs("hands", count), _jobs("sky", count), strict=True)
    return [job for pair in pairs for job in pair]


def _hands_fail_on_lite(call: Call) -> float:
    return 0.0 if call.model == LITE and call.prompt.startswith("hands") else 1.0


def _often(call: Call) -> float:
    """Give every tag and tier a rate of its own."""
    if call.prompt.startswith("hands"):
        return 0.2 if call.model == LITE else 0.8
    return 0.7 if call.model == LITE else 0.9


async def test_a_hard_tag_moves_to_quality_and_an_easy_one_stays_on_lite(tmp_path: Path) -> None:
    async with simulator(accept_rate=_hands_fail_on_lite) as server:
        result = await pipeline_on(server, tmp_path, concurrency=2).run(_mixed(30))

    drawn = Counter((one.job_id.split("-")[0], one.tier) for one in candidates(tmp_path))
    assert result.fill_rate == 1
    assert drawn["sky", Tier.LITE] == 30
    assert drawn["sky", Tier.QUALITY] == 0
    assert drawn["hands", Tier.QUALITY] == 30
    # After n failures the limit of 3 / (3 + n) is at its highest 0.246 (n = 17) and 0.236 (n = 18).
    # 0.0336 / 0.236 is above 0.1344 / 1, so the 19th is not drawn unless it is under way already.
    assert 1 <= drawn["hands", Tier.LITE] <= 18 + 4


async def test_what_the_config_measured_is_where_it_begins(tmp_path: Path) -> None:
    config = tmp_path / "nanobatch.toml"
    rates = "accept = 0.05\nregenerate = 1.0\nslots = 80\nmeasured_on = 2026-11-23\n"
    config.write_text(f"[rates.lite]\n{rates}")
    async with simulator() as server:
        registry = ModelRegistry.load(config)
        pipeline = pipeline_on(server, tmp_path / "run", registry=registry, concurrency=1)

        await pipeline.run(_jobs("sky", 1))

    # Lite: 2 x 0.0336 / 0.3191 = 0.2106 USD per image; quality: 0.1344 / 0.9803 = 0.1371.
    assert [c.tier for c in candidates(tmp_path / "run")] == [Tier.QUALITY]


def test_a_models_own_rates_come_before_those_of_a_role_that_names_it(tmp_path: Path) -> None:
    config = tmp_path / "nanobatch.toml"
    rest = "regenerate = 0.1\nslots = 80\nmeasured_on = 2026-11-23\n"
    tables = (("lite", 0.5), ("quality", 0.6), (f'"{PRO}"', 0.75))
    config.write_text("".join(f"[rates.{name}]\naccept = {a}\n{rest}" for name, a in tables))
    registry = ModelRegistry.load(config)

    priors = priors_of({Tier.LITE: registry["lite"], Tier.QUALITY: registry[PRO]}, registry)
    swapped = priors_of({Tier.LITE: registry["quality"]}, registry)

    assert (priors[Tier.LITE].accept, priors[Tier.QUALITY].accept) == (0.5, 0.75)
    assert priors[Tier.LITE].calls_per_slot == pytest.approx(1.1)
    assert swapped[Tier.LITE].accept == 0.6  # the tier takes the rates of its model, not its name


async def _one_by_one(pipeline: TwoTierPipeline, jobs: Sequence[Job]) -> None:
    """Run jobs so that each is known to have ended before the next is read."""
    ended = anyio.Event()

    async def stream() -> AsyncIterator[Job]:
        nonlocal ended
        for job in jobs:
            ended = anyio.Event()
            yield job
            await ended.wait()

    def hear(event: Event) -> None:
        if isinstance(event, JobEnded):
            ended.set()

    await pipeline.run(stream(), hear)


async def _choices(folder: Path, parts: Sequence[Sequence[Job]]) -> list[tuple[str, Tier]]:
    """Return every draw in order, of jobs that ran in so many runs."""
    async with simulator(accept_rate=_often, seed=5) as server:
        for jobs in parts:
            await _one_by_one(pipeline_on(server, folder, concurrency=1), jobs)
    return [(one.job_id, one.tier) for one in candidates(folder)]


async def test_a_batch_that_is_interrupted_goes_on_with_the_same_choices(tmp_path: Path) -> None:
    jobs = _mixed(16)

    at_once = await _choices(tmp_path / "whole", [jobs])
    in_three = await _choices(tmp_path / "parts", [jobs[:5], jobs[:13], jobs])

    assert in_three == at_once
    assert {tier for _, tier in at_once[-8:]} == {Tier.LITE, Tier.QUALITY}


async def _run(
    options: Options, checkpoint: Checkpoint, jobs: Sequence[Job]
) -> tuple[Router, Ended]:
    """Run jobs and return what their router knew at the end."""
    run = Run(options, checkpoint, control=Control(), emit=lambda _: None)
    async with options.backend as backend:  # type: ignore[attr-defined]  # `Gemini` opens so
        result = await run.work(jobs)
        assert backend is options.backend
    return run.router, result.ended


async def _remembered(options: Options, folder: Path) -> Router:
    """Return what a router knows that begins on a checkpoint."""
    router = Router(options.plan.priors)
    async with Checkpoint.open(folder) as checkpoint:
        await learn_from_earlier_runs(router, options.plan, checkpoint.store)
    return router


async def test_what_is_remembered_is_what_was_known(tmp_path: Path) -> None:
    """Whatever happened: faults, unknown money, broken images, best of n, drafts, an early end."""

    def weather(call: Call) -> Answer | None:
        kinds = (answers.reset, answers.no_image, answers.truncated_image, answers.without_usage)
        return kinds[call.number % 4]() if call.number % 5 == 0 else None

    jobs = [
        *_mixed(8),
        *_jobs("best", 3, best_of=3),
        *_jobs("big", 3, size="2K", want=2),
        *_jobs("poster", 3, route=Route.FINISH),
    ]
    async with simulator(accept_rate=_often, answer=weather) as server:
        pipeline = pipeline_on(server, tmp_path, budget=Budget(usd="4"))
        async with Checkpoint.open(tmp_path) as checkpoint:
            known, ended = await _run(pipeline._options, checkpoint, jobs)
        remembered = await _remembered(pipeline._options, tmp_path)
        more = pipeline_on(server, tmp_path)
        async with Checkpoint.open(tmp_path) as checkpoint:
            known_then, ended_then = await _run(more._options, checkpoint, jobs)
        remembered_then = await _remembered(more._options, tmp_path)

    assert (ended, ended_then) == (Ended.BUDGET, Ended.COMPLETE)
    assert remembered == known
    assert remembered_then == known_then
    assert remembered != remembered_then


async def test_a_job_counts_under_the_tag_it_has_now(tmp_path: Path) -> None:
    jobs = _jobs("hands", 4)
    async with simulator(accept_rate=_hands_fail_on_lite) as server:
        pipeline = pipeline_on(server, tmp_path, concurrency=1)
        async with Checkpoint.open(tmp_path) as checkpoint:
            before, _ = await _run(pipeline._options, checkpoint, jobs)
        renamed = [job.model_copy(update={"tag": "fingers"}) for job in jobs[:2]]
        async with Checkpoint.open(tmp_path) as checkpoint:
            known, _ = await _run(pipeline._options, checkpoint, renamed)
        remembered = await _remembered(pipeline._options, tmp_path)

    assert remembered == known
    assert "of 1 tags" in repr(before)
    assert "of 2 tags" in repr(known)
    assert repr(before).split()[0] == repr(known).split()[0]  # as many slots as before


@pytest.mark.parametrize("change", ["filters", "quality model", "both models", "nothing"])
async def test_what_other_filters_or_models_did_teaches_nothing(
    tmp_path: Path, change: str
) -> None:
    jobs = [*_jobs("sky", 3), *_jobs("hero", 2, route=Route.QUALITY)]
    async with simulator() as server:
        first = pipeline_on(server, tmp_path, filters=SMALL)
        await first.run(jobs)
        others: dict[str, dict[str, Any]] = {
            "filters": {"filters": SMALL[:1]},
            "quality model": {"filters": SMALL, "quality": "quality"},
            "both models": {"filters": SMALL, "quality": LITE, "lite": "quality"},
            "nothing": {"filters": SMALL},
        }
        then = pipeline_on(server, tmp_path, **others[change])
        router = await _remembered(then._options, tmp_path)
        again = await _remembered(then._options, tmp_path)

    slots = {"filters": 0, "quality model": 3, "both models": 0, "nothing": 5}[change]
    assert repr(router).startswith(f"Router({slots} slots")
    assert again == router


async def test_other_prices_leave_the_rates_and_forget_the_money(tmp_path: Path) -> None:
    config = tmp_path / "nanobatch.toml"
    config.write_text(
        f'[[models."{LITE}".prices]]\neffective_from = 2026-10-01\ninput = "0.25"\n'
        'text_output = "1.50"\nimage_output = "60"\n'
    )
    async with simulator() as server:
        first = pipeline_on(server, tmp_path / "run")
        await first.run(_jobs("sky", 3))
        cheap = await _remembered(first._options, tmp_path / "run")
        dear = pipeline_on(server, tmp_path / "run", registry=ModelRegistry.load(config))
        router = await _remembered(dear._options, tmp_path / "run")

    assert cheap.rate("sky", Tier.LITE) == router.rate("sky", Tier.LITE)
    # Three slots cost a little more than the list says, for their text; after the change nothing
    # is measured, so it is the list price again.
    assert cheap.usd_per_slot(Tier.LITE, listed_nano=33_600_000) > 0.0336
    assert router.usd_per_slot(Tier.LITE, listed_nano=67_200_000) == pytest.approx(0.0672)


async def test_drafts_and_finishes_teach_nothing(tmp_path: Path) -> None:
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path)
        await pipeline.run(_jobs("poster", 3, route=Route.FINISH))

        router = await _remembered(pipeline._options, tmp_path)

    assert repr(router).startswith("Router(0 slots")


async def test_a_hopeless_run_names_the_filter_and_what_it_said_most_often(tmp_path: Path) -> None:
    class Moody:
        name = "moody"

        def __init__(self) -> None:
            self.asked = 0

        def __call__(self, _: object) -> Any:
            from nanobatch import Verdict

            self.asked += 1
            sad = self.asked % 3 == 0
            return Verdict.reject(f"too sad ({self.asked})" if sad else f"dull ({self.asked} of 9)")

    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, filters=[Moody()], concurrency=1, route="lite")

        result = await pipeline.run(_jobs("sky", 100))

    assert result.ended is Ended.HOPELESS
    # Of the first 30 every third is sad.
    assert "None of the first 30 slots passed (stage candidate). moody rejected 30 of them, " in (
        result.reason
    )
    assert "most often with the reason: dull (20)." in result.reason


async def test_a_hopeless_run_of_broken_images_says_so(tmp_path: Path) -> None:
    async with simulator(answer=lambda _: answers.no_image()) as server:
        pipeline = pipeline_on(server, tmp_path, concurrency=1, route="lite")

        result = await pipeline.run(_jobs("sky", 100))

    assert result.ended is Ended.HOPELESS
    assert "No readable image came in 30 of them" in result.reason


# Hurrying. With a prior of 0.3 the optimistic rate of a Lite slot is 0.5845, by hand:
# (0.3 + 1/6 + sqrt(0.07 + 1/36)) / (4/3). All of four pass with a chance of 0.117, at least four
# of five with 0.311: so a job that wants four gets one further candidate, and no second.


def _slow_config(folder: Path) -> ModelRegistry:
    config = folder / "nanobatch.toml"
    rates = "accept = 0.3\nregenerate = 0\nslots = 80\nmeasured_on = 2026-11-23\n"
    config.write_text(f"[rates.lite]\n{rates}")
    return ModelRegistry.load(config)


class Barrier:
    """A filter that lets nobody pass until so many candidates are there."""

    name = "barrier"

    def __init__(self, candidates: int) -> None:
        self._missing = candidates
        self._all_there = anyio.Event()

    async def __call__(self, _: object) -> bool:
        self._missing -= 1
        if self._missing <= 0:
            self._all_there.set()
        with anyio.move_on_after(30):
            await self._all_there.wait()
        return True


async def test_a_job_never_has_more_in_flight_than_it_needs(tmp_path: Path) -> None:
    most = Counter[str]()
    now = Counter[str]()

    def count(call: Call) -> None:
        now[call.prompt] += 1
        most[call.prompt] = max(most[call.prompt], now[call.prompt])

    def judge(candidate: Any) -> bool:
        now[candidate.job.prompt] -= 1
        return bool(candidate.slot % 3)

    async with simulator(answer=count) as server:
        pipeline = pipeline_on(server, tmp_path, filters=[judge], route="lite", concurrency=16)
        result = await pipeline.run(_jobs("sky", 5, want=3))

    assert result.fill_rate == 1
    assert max(most.values()) == 3
    assert states(tmp_path)["passed"] == 0


async def test_hurrying_draws_one_candidate_more_and_accepts_no_more_than_is_wanted(
    tmp_path: Path,
) -> None:
    (job,) = _jobs("sky", 1, want=4, route=Route.LITE)
    async with simulator() as server:
        pipeline = pipeline_on(
            server,
            tmp_path / "run",
            registry=_slow_config(tmp_path),
            filters=[Barrier(5)],
            hurry=True,
        )
        result = await pipeline.run([job])
        bill = server.bill.usd

    assert server.bill.requests == 5
    assert states(tmp_path / "run") == {"accepted": 4, "passed": 1}
    assert (len(result.jobs[job.id].images), result.jobs[job.id].slots) == (4, 5)
    assert result.jobs[job.id].status is JobStatus.DONE
    assert (result.cost.slots, result.cost.accepted) == (5, 4)
    assert result.spend.confirmed_usd == bill
    (surplus,) = [c for c in candidates(tmp_path / "run") if c.state == "passed"]
    assert surplus.path is not None
    assert surplus.path.is_file()
    with Checkpoint.read(tmp_path / "run") as checkpoint:
        assert checkpoint.verify().is_clean


async def test_a_surplus_candidate_is_used_when_one_more_is_wanted(tmp_path: Path) -> None:
    (job,) = _jobs("sky", 1, want=4, route=Route.LITE)
    barrier = Barrier(5)
    async with simulator() as server:
        pipeline = pipeline_on(
            server,
            tmp_path / "run",
            registry=_slow_config(tmp_path),
            filters=[barrier],
            hurry=True,
        )
        await pipeline.run([job])
        result = await pipeline.run([job.model_copy(update={"want": 5})])

    assert server.bill.requests == 5
    assert len(result.jobs[job.id].images) == 5
    assert states(tmp_path / "run") == {"accepted": 5}


async def test_without_hurry_idle_workers_draw_nothing_more(tmp_path: Path) -> None:
    (job,) = _jobs("sky", 1, want=4, route=Route.LITE)
    async with simulator() as server:
        pipeline = pipeline_on(
            server, tmp_path / "run", registry=_slow_config(tmp_path), filters=[Barrier(4)]
        )
        result = await pipeline.run([job])

    assert server.bill.requests == 4
    assert result.fill_rate == 1


@pytest.mark.parametrize(
    "fields", [{"route": Route.FINISH}, {"route": Route.LITE, "best_of": 2}, {}]
)
async def test_hurrying_obeys_want_stop_rule_and_budget_on_every_route(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    jobs = _jobs("sky", 4, want=3, **fields)
    async with simulator(accept_rate=0.4, seed=3) as server:
        options: dict[str, Any] = {"registry": _slow_config(tmp_path), "hurry": True}
        poor = pipeline_on(server, tmp_path / "run", budget=Budget(usd="1.0"), **options)
        first = await poor.run(jobs)
        second = await pipeline_on(server, tmp_path / "run", **options).run(jobs)

    assert first.ended is Ended.BUDGET
    assert first.spend.worst_case_usd <= 1
    assert second.ended is Ended.COMPLETE
    for job in second.jobs.values():
        assert len(job.images) <= 3
        if not fields:  # at most two may have passed of a job that was stopped
            assert job.status is JobStatus.DONE or job.slots <= 18
    assert second.spend.confirmed_usd == server.bill.usd
    with Checkpoint.read(tmp_path / "run") as checkpoint:
        assert checkpoint.verify().is_clean


async def test_hurrying_under_faults_and_regeneration_leaves_a_sound_checkpoint(
    tmp_path: Path,
) -> None:
    def weather(call: Call) -> Answer | None:
        return answers.internal() if call.number % 4 == 0 else None

    async with simulator(accept_rate=0.5, regenerate_rate=0.2, answer=weather, seed=9) as server:
        pipeline = pipeline_on(
            server,
            tmp_path / "run",
            registry=_slow_config(tmp_path),
            hurry=True,
            retry=Retry(tries=2, first_wait_seconds=0.001, max_wait_seconds=0.001),
        )
        result = await pipeline.run(_jobs("sky", 6, want=3))

    assert all(len(job.images) <= 3 for job in result.jobs.values())
    assert result.spend.confirmed_usd == server.bill.usd
    with Checkpoint.read(tmp_path / "run") as checkpoint:
        assert checkpoint.verify().is_clean


def test_a_plan_asks_for_prices_only_where_there_is_a_choice(tmp_path: Path) -> None:
    registry = ModelRegistry.builtin()
    priceless = replace(registry["quality"], id="new", aliases=(), prices=())
    from nanobatch.pipeline.plan import Plan

    plan = Plan(
        models={Tier.LITE: registry["lite"], Tier.QUALITY: priceless},
        default_route=Route.LITE,
        filters=(),
        finish_filters=(),
    )

    draw = plan.next_draw(Job(id="a", prompt="x"), router=Router())

    assert draw is not None
    assert draw.tier is Tier.LITE
    assert plan.prices_key() == plan.prices_key()
