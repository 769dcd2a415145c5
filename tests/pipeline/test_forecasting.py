from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import hypot
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from nanobatch import (
    BatchOptions,
    Budget,
    Checkpoint,
    CostModel,
    Gemini,
    Job,
    JobStatus,
    MeasuredRates,
    ModelRegistry,
    Route,
    StopRule,
    TwoTierPipeline,
    filters,
)
from nanobatch.cost.exact import to_decimal
from nanobatch.simulator import answers
from nanobatch.testing import ScriptedBackend
from tests.support import PRO, pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch import LedgerLine
    from nanobatch.simulator import Answer, Call

LITE_IMAGE_USD = Fraction("0.0336")  # 1,120 tokens at 30 USD a million
RATES = MeasuredRates(
    accept=Decimal("0.5"), regenerate=Decimal("0.1"), slots=400, measured_on=date(2026, 11, 20)
)


def _pipeline(folder: Path, **options: Any) -> TwoTierPipeline:
    defaults: dict[str, Any] = {"budget": Budget.unlimited(), "checkpoint": folder / "run"}
    return TwoTierPipeline(Gemini(), **{**defaults, **options})


def _jobs(count: int, **fields: Any) -> list[Job]:
    return [Job(id=f"j{n}", prompt="x" * 100, **fields) for n in range(count)]


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)


def test_without_a_measurement_the_rates_are_assumed_and_the_bounds_are_wide(
    tmp_path: Path,
) -> None:
    forecast = _pipeline(tmp_path).forecast(_jobs(5, want=2))

    # A quarter of 100 letters at 0.25 and 359 text tokens at 1.50 USD a million; 8 % drawn again,
    # 70 % accepted, as if ten slots had been seen.
    usd_per_call = LITE_IMAGE_USD + 25 * Fraction("0.00000025") + 359 * Fraction("0.0000015")
    assumed = CostModel.from_rates(
        MeasuredRates(
            accept=Decimal("0.7"),
            regenerate=Decimal("0.08"),
            slots=10,
            measured_on=RATES.measured_on,
        ),
        usd_per_call=to_decimal(usd_per_call),
    ).forecast(10)
    assert forecast.expected_usd == to_decimal(usd_per_call * 10 * Fraction(108, 70))
    assert (forecast.low_usd, forecast.high_usd) == (assumed.low_usd, assumed.high_usd)
    assert forecast.high_usd > Decimal("1.3") * forecast.expected_usd
    assert forecast.images == 10
    assert not forecast.is_measured
    assert "assumed are 70 % passing and 8 % drawn again" in str(forecast)
    assert "Prompt tokens are estimated" in str(forecast)


def test_nothing_is_spent_sent_or_written_for_a_forecast(tmp_path: Path) -> None:
    _pipeline(tmp_path).forecast(_jobs(3))

    assert list(tmp_path.iterdir()) == []


def test_rates_of_the_config_are_taken_and_the_bounds_are_those_of_their_slots(
    tmp_path: Path,
) -> None:
    registry = ModelRegistry.builtin().save_rates({"lite": RATES}, tmp_path / "nanobatch.toml")

    forecast = _pipeline(tmp_path, registry=registry).forecast(_jobs(10))

    usd_per_call = LITE_IMAGE_USD + 25 * Fraction("0.00000025") + 359 * Fraction("0.0000015")
    same = CostModel.from_rates(RATES, usd_per_call=to_decimal(usd_per_call)).forecast(10)
    assert forecast.expected_usd == to_decimal(usd_per_call * 10 * Fraction(110, 50))
    assert (forecast.low_usd, forecast.high_usd) == (same.low_usd, same.high_usd)
    assert forecast.is_measured
    assert "the rates of 400 slots, measured 2026-11-20" in str(forecast)


def test_rates_of_a_role_are_not_taken_for_another_model(tmp_path: Path) -> None:
    rates = {"quality": RATES}  # the role means gemini-nano-banana-2.1
    registry = ModelRegistry.builtin().save_rates(rates, tmp_path / "nanobatch.toml")
    job = Job(id="j", prompt="x", route=Route.QUALITY)

    same = _pipeline(tmp_path, registry=registry, quality="quality").forecast([job])
    other = _pipeline(tmp_path, registry=registry, quality=PRO).forecast([job])

    assert (same.is_measured, other.is_measured) == (True, False)


def test_a_finish_counts_its_drafts_and_what_a_rejected_finish_costs(tmp_path: Path) -> None:
    halves = {"lite": RATES, PRO: RATES}
    registry = ModelRegistry.builtin().save_rates(halves, tmp_path / "nanobatch.toml")
    jobs = [Job(id="j", prompt="x", want=10, best_of=2, route=Route.FINISH, size="2K")]

    strict = _pipeline(tmp_path, registry=registry, quality=PRO).forecast(jobs)
    lenient = _pipeline(tmp_path, registry=registry, quality=PRO, finish_fallback=True)

    # Of the finishes one half is accepted, so 20 picks of 2 passing drafts each make 10 images.
    drafts, finishes = strict.parts
    assert (drafts.images, finishes.images, strict.images) == (40, 10, 10)
    assert lenient.forecast(jobs).parts[0].images == 20
    draft_usd = LITE_IMAGE_USD + Fraction("0.00000025") + 359 * Fraction("0.0000015")
    assert drafts.expected_usd == to_decimal(draft_usd * 40 * Fraction(110, 50))
    # A finish at 2K: 1,120 image tokens at 120, the draft as 1,120 and the instruction as input
    # tokens at 2, 359 text tokens at 12 USD a million.
    instruction = (
        "Finish the first image: keep its composition, subject, colours and light exactly, and "
        "render it again with clean detail, natural texture and no artefacts. What it should show:"
        "\n\n"
    )
    tokens = -(-len(instruction + "x") // 4)
    finish_usd = Fraction(1120 * 120 + (1120 + tokens) * 2 + 359 * 12, 10**6)
    assert finishes.expected_usd == to_decimal(finish_usd * 10 * Fraction(110, 50))


def _once() -> StopRule:
    return StopRule.want_times(1)


def _every_third_is_blank(call: Call) -> Answer | None:
    return answers.image("blank") if int(call.prompt.split()[0]) % 3 == 0 else None


def _numbered(count: int, **fields: Any) -> list[Job]:
    return [Job(id=f"j{n}", prompt=f"{n} dunes", **fields) for n in range(count)]


async def test_what_a_checkpoint_has_measured_comes_first_and_what_it_has_made_is_not_paid_again(
    tmp_path: Path,
) -> None:
    jobs = _numbered(30, route=Route.LITE)
    async with simulator(answer=_every_third_is_blank) as server:
        pipeline = pipeline_on(server, tmp_path, budget=Budget(usd="5"), stop=_once())
        result = await pipeline.run(jobs)
        more = [*jobs, *[Job(id=f"new-{n}", prompt="9 dunes", route=Route.LITE) for n in range(5)]]

        forecast = pipeline.forecast(more)

    assert (result.cost.slots, result.cost.accepted) == (30, 20)
    assert forecast.images == 15  # ten of the thirty, which are asked for again, and five new ones
    assert forecast.is_measured
    assert "the rates of the 30 slots in this checkpoint" in str(forecast)
    text_tokens = [line.usage.text_tokens for line in _ledger(tmp_path) if line.usage]
    usd_per_call = LITE_IMAGE_USD + 2 * Fraction("0.00000025")
    usd_per_call += -(-sum(text_tokens) // 30) * Fraction("0.0000015")
    assert float(forecast.expected_usd) == pytest.approx(float(usd_per_call * 15 / Fraction(2, 3)))


async def test_drafts_that_pass_are_a_measurement_although_none_is_accepted(tmp_path: Path) -> None:
    jobs = _numbered(20, route=Route.FINISH)
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, filters=[])
        await pipeline.run(jobs)

        forecast = pipeline.forecast([Job(id="new", prompt="9", want=10, route=Route.FINISH)])

    assert [part.images for part in forecast.parts] == [10, 10]  # none of 20 was rejected
    assert forecast.is_measured
    assert "the rates of the 20 slots in this checkpoint" in forecast.parts[0].note


async def test_candidates_are_a_measurement_for_drafts_which_the_same_filters_judge(
    tmp_path: Path,
) -> None:
    async with simulator(answer=_every_third_is_blank) as server:
        pipeline = pipeline_on(server, tmp_path, stop=_once())
        await pipeline.run(_numbered(30, route=Route.LITE))

        forecast = pipeline.forecast([Job(id="new", prompt="9", want=2, route=Route.FINISH)])

    assert "lite, drafts: the rates of the 30 slots in this checkpoint" in forecast.note
    assert "quality, finishes: assumed are 90 %" in forecast.note


async def test_a_forecast_is_never_above_what_the_budget_has_left(tmp_path: Path) -> None:
    async with simulator() as server:
        result = await pipeline_on(server, tmp_path).run(_numbered(25, route=Route.LITE))
        spent = result.spend.worst_case_usd
        pipeline = pipeline_on(server, tmp_path, budget=Budget(usd=spent + Decimal("0.10")))

        forecast = pipeline.forecast(_numbered(100, route=Route.LITE))

    assert (forecast.expected_usd, forecast.high_usd) == (Decimal("0.10"), Decimal("0.10"))
    assert (
        "The budget leaves 0.1000 USD and may not suffice (about 2.56, up to" in forecast.note
    )  # 75 x 0.0341


async def test_a_job_that_is_over_for_good_is_not_forecast(tmp_path: Path) -> None:
    async with simulator(answer=lambda _: answers.blocked()) as server:
        pipeline = pipeline_on(server, tmp_path)
        result = await pipeline.run(_numbered(1, route=Route.LITE))

        forecast = pipeline.forecast(_numbered(2, route=Route.LITE))

    assert result.jobs["j0"].status is JobStatus.REFUSED
    assert forecast.images == 1


async def test_prompts_are_counted_by_the_provider_free_of_charge(tmp_path: Path) -> None:
    job = Job(id="j", prompt="ü" * 400, route=Route.LITE)
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path)
        async with Gemini(api_key="k", base_url=server.base_url) as gemini:
            counted = await gemini.count_tokens(
                model="gemini-3.1-flash-lite-image", prompt=job.prompt
            )

        in_thread = await anyio.to_thread.run_sync(pipeline.forecast, [job])
        in_loop = pipeline.forecast([job])

    assert counted != 400  # what the estimate says
    extra = (counted - 400) * Fraction("0.00000025") * Fraction(108, 70)
    found = in_thread.expected_usd - in_loop.expected_usd
    assert float(found) == pytest.approx(float(extra))
    assert "Prompt tokens are counted" in in_thread.note
    assert "Prompt tokens are estimated" in in_loop.note
    assert server.bill.requests == 0
    assert server.bill.usd == 0


async def test_without_an_answer_prompts_are_estimated(tmp_path: Path) -> None:
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path)

    forecast = await anyio.to_thread.run_sync(pipeline.forecast, _numbered(3))  # it is gone

    assert "Prompt tokens are estimated" in forecast.note


async def test_an_open_backend_stays_with_its_event_loop(tmp_path: Path) -> None:
    async with (
        simulator() as server,
        Gemini(api_key="k", base_url=server.base_url) as gemini,
    ):
        pipeline = TwoTierPipeline(gemini, checkpoint=tmp_path, budget=Budget.unlimited())

        forecast = await anyio.to_thread.run_sync(pipeline.forecast, _numbered(3))

        assert gemini.is_open
    assert "Prompt tokens are estimated" in forecast.note


def test_nothing_to_do_costs_nothing(tmp_path: Path) -> None:
    forecast = _pipeline(tmp_path).forecast([])

    assert forecast.images == 0
    assert forecast.low_usd == forecast.high_usd == 0


async def test_what_other_filters_judged_or_another_model_drew_is_no_measurement(
    tmp_path: Path,
) -> None:
    new = [Job(id="new", prompt="9 dunes", route=Route.LITE)]
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, quality=None, filters=[filters.MinBytes(1)])
        await pipeline.run(_numbered(25))

        same = pipeline.forecast(new)
        stricter = pipeline_on(server, tmp_path, filters=[filters.MinBytes(2)]).forecast(new)
        other = pipeline_on(server, tmp_path, lite=PRO, filters=[filters.MinBytes(1)]).forecast(new)

    assert [one.is_measured for one in (same, stricter, other)] == [True, False, False]
    assert "the rates of the 25 slots" in same.note
    assert "assumed are 70 %" in stricter.note
    assert "assumed are 70 %" in other.note


async def test_other_filters_for_finishes_void_what_was_measured_of_finishes_only(
    tmp_path: Path,
) -> None:
    new = [Job(id="new", prompt="9 dunes", route=Route.FINISH)]

    def judged_by(of_drafts: int, of_finishes: int) -> TwoTierPipeline:
        return pipeline_on(
            server,
            tmp_path,
            filters=[filters.MinBytes(of_drafts)],
            finish_filters=[filters.MinBytes(of_finishes)],
        )

    async with simulator() as server:
        await judged_by(1, 2).run(_numbered(20, route=Route.FINISH))

        same = judged_by(1, 2).forecast(new)
        other_finishes = judged_by(1, 3).forecast(new)
        other_drafts = judged_by(4, 2).forecast(new)

    assert [part.is_measured for part in same.parts] == [True, True]
    assert [part.is_measured for part in other_finishes.parts] == [True, False]
    assert [part.is_measured for part in other_drafts.parts] == [False, True]


async def test_jobs_on_auto_are_forecast_on_the_tier_a_run_would_choose_now(
    tmp_path: Path,
) -> None:
    def lite_is_blank(call: Call) -> Answer | None:
        return None if call.model == PRO else answers.image("blank")

    async with simulator(answer=lite_is_blank) as server:
        pipeline = pipeline_on(server, tmp_path, concurrency=2)
        before = pipeline.forecast(_numbered(30))
        result = await pipeline.run(_numbered(30))
        after = pipeline.forecast([Job(id="new", prompt="9 dunes")])

    assert result.delivered == 30  # every one of them drawn on the quality tier in the end
    assert "lite, accepted as it is" in before.note
    assert "quality, accepted as it is: the rates of the 30 slots" in after.note


def test_parts_that_rest_on_the_same_rates_are_wrong_together(tmp_path: Path) -> None:
    registry = ModelRegistry.builtin().save_rates({"lite": RATES}, tmp_path / "nanobatch.toml")
    pipeline = _pipeline(tmp_path, registry=registry, quality="quality", finish_fallback=True)
    jobs = [
        Job(id="plain", prompt="x", want=200, route=Route.LITE),
        Job(id="finished", prompt="x", want=200, route=Route.FINISH),
    ]

    whole = pipeline.forecast(jobs)

    drafts, plain, finishes = whole.parts
    above = float(drafts.high_usd - drafts.expected_usd + plain.high_usd - plain.expected_usd)
    below = float(drafts.expected_usd - drafts.low_usd + plain.expected_usd - plain.low_usd)
    rest_above = float(finishes.high_usd - finishes.expected_usd)
    rest_below = float(finishes.expected_usd - finishes.low_usd)
    assert float(whole.high_usd - whole.expected_usd) == pytest.approx(hypot(above, rest_above))
    assert float(whole.expected_usd - whole.low_usd) == pytest.approx(hypot(below, rest_below))
    assert whole.images == 400


def _ledger(folder: Path) -> list[LedgerLine]:
    with Checkpoint.read(folder) as checkpoint:
        return list(checkpoint.ledger())


def test_a_forecast_shows_both_modes_with_price_time_and_saving(tmp_path: Path) -> None:
    """One image a job at 70 %: two orders take 1.3 calls at half price; 9 % of jobs are left."""
    at_once = _pipeline(tmp_path).forecast(_jobs(5))
    by_batch = _pipeline(tmp_path, batch=BatchOptions()).forecast(_jobs(5))

    other = at_once.instead
    assert other is not None
    ratio = (0.5 * 1.3 + 0.3 * 0.3 / 0.7) * 0.7
    assert float(other.expected_usd / at_once.expected_usd) == pytest.approx(ratio)
    assert (at_once.name, other.name) == ("at once", "by batch jobs")
    assert (at_once.hours, other.hours) == (None, 48.0)  # two rounds; no call was timed
    assert other.note in {"45 % less", "46 % less"}  # it is 45.5
    assert re.search(
        rf"By batch jobs: about \S+ USD, {other.note}, in about 48 hours", str(at_once)
    )
    assert by_batch.expected_usd == other.expected_usd
    assert by_batch.instead is not None
    assert by_batch.instead.note == "83 % more"  # 1 / 0.545
    assert str(at_once).splitlines()[2].split()[:3] == ["by", "batch", "jobs"]


def test_a_backend_without_a_batch_service_has_one_mode(tmp_path: Path) -> None:
    pipeline = TwoTierPipeline(
        ScriptedBackend(), checkpoint=tmp_path / "run", budget=Budget.unlimited()
    )

    assert pipeline.forecast(_jobs(5)).instead is None


async def test_the_time_at_once_is_that_of_the_calls_measured_so_far(tmp_path: Path) -> None:
    """Calls of 0.2 seconds and more, two at a time: a thousand images take over 100 seconds."""
    async with simulator(latency_seconds=0.2) as server:
        pipeline = pipeline_on(server, tmp_path, quality=None, concurrency=2)
        await pipeline.run(_jobs(20))
        forecast = await anyio.to_thread.run_sync(pipeline.forecast, _jobs(1020))

    assert forecast.images == 1000
    assert forecast.hours is not None
    assert forecast.hours * 3600 >= 100
    assert forecast.instead is not None
    assert forecast.instead.hours == 48.0
