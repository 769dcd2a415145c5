from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from nanobatch import (
    Budget,
    Candidate,
    Checkpoint,
    ConfigError,
    Ended,
    Job,
    JobStatus,
    ModelRegistry,
    Route,
    StopRule,
    Tier,
)
from nanobatch.simulator import answers
from tests.support import PRO, pipeline_on, simulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nanobatch.simulator import Answer, Call

NEVER = StopRule(slots_per_accepted=50)


def _jobs(count: int, route: Route = Route.LITE, *, start: int = 0) -> list[Job]:
    numbers = range(start, start + count)
    return [
        Job(
            id=f"{route}-{n}", prompt=f"{n} dunes", route=route, tag="even" if n % 2 == 0 else "odd"
        )
        for n in numbers
    ]


def _odd_ones_are_blank(call: Call) -> Answer | None:
    return answers.image("blank") if int(call.prompt.split()[0]) % 2 else None


async def test_a_calibration_begins_so_many_slots_and_no_more(tmp_path: Path) -> None:
    async with simulator() as server:
        calibration = await pipeline_on(server, tmp_path).calibrate(_jobs(40), images=20)

    assert server.bill.images == 20
    assert calibration.result.ended is Ended.CANCELLED
    assert calibration.result.delivered == calibration.tiers[Tier.LITE].accepted == 20
    assert calibration.tiers[Tier.LITE].slots == 20
    assert not calibration.result.all_read


async def test_its_images_count_and_a_run_goes_on_with_the_rest(tmp_path: Path) -> None:
    jobs = _jobs(12)
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, quality=None)
        await pipeline.calibrate(jobs, images=5)
        with Checkpoint.read(tmp_path) as checkpoint:
            first = {image.path: image.sha256 for image in checkpoint.images()}
        result = await pipeline.run(jobs)

    assert len(first) == 5
    assert result.ended is Ended.COMPLETE
    assert server.bill.images == 12  # nothing was bought twice
    assert first.items() <= {image.path: image.sha256 for image in result.images}.items()
    assert result.spend.confirmed_usd == server.bill.usd


async def test_a_job_that_waits_for_the_run_is_pending_and_says_why(tmp_path: Path) -> None:
    jobs = [Job(id="many", prompt="1", want=10, route=Route.LITE)]
    async with simulator() as server:
        calibration = await pipeline_on(server, tmp_path).calibrate(jobs, images=4)

    job = calibration.result.jobs["many"]
    assert (job.status, len(job.images)) == (JobStatus.PENDING, 4)
    assert job.reason == "The run had all the slots it was for."


async def test_fewer_jobs_than_images_are_simply_done(tmp_path: Path) -> None:
    async with simulator() as server:
        calibration = await pipeline_on(server, tmp_path).calibrate(_jobs(3), images=50)

    assert calibration.result.ended is Ended.COMPLETE
    assert calibration.tiers[Tier.LITE].slots == 3


async def test_the_input_is_read_no_further_than_needed(tmp_path: Path) -> None:
    read = 0

    def endless() -> Iterator[Job]:
        nonlocal read
        while True:
            yield Job(id=f"j{read}", prompt="1 dune", route=Route.LITE)
            read += 1

    async with simulator() as server:
        await pipeline_on(server, tmp_path).calibrate(endless(), images=10)

    assert server.bill.images == 10
    assert read < 5_000


async def test_rates_are_measured_by_tier_and_by_tag(tmp_path: Path) -> None:
    jobs = [*_jobs(10), *_jobs(6, Route.QUALITY)]
    async with simulator(answer=_odd_ones_are_blank) as server:
        pipeline = pipeline_on(server, tmp_path, stop=StopRule.want_times(1))
        calibration = await pipeline.calibrate(jobs, images=16)

    lite, quality = calibration.tiers[Tier.LITE], calibration.tiers[Tier.QUALITY]
    assert (lite.slots, lite.accepted) == (10, 5)
    assert (quality.slots, quality.accepted) == (6, 3)
    by_tag = {key: (cost.slots, cost.accepted) for key, cost in calibration.tags.items()}
    assert by_tag == {
        (Tier.LITE, "even"): (5, 5),
        (Tier.LITE, "odd"): (5, 0),
        (Tier.QUALITY, "even"): (3, 3),
        (Tier.QUALITY, "odd"): (3, 0),
    }
    comparison = calibration.comparison
    assert comparison is not None
    assert comparison.cheaper_by_point == "lite"
    shown = str(calibration)
    assert "50.0 % (23.7 to 76.3 %, 95 %, n = 10)" in shown  # Wilson, 5 of 10
    assert comparison.sentence in shown
    assert "odd" in calibration._repr_html_()


async def test_a_slot_that_cost_nothing_does_not_count(tmp_path: Path) -> None:
    def first_try_fails(call: Call) -> Answer | None:
        return answers.error(500, "down") if call.nth < 3 and call.prompt == "0 dunes" else None

    async with simulator(answer=first_try_fails) as server:
        calibration = await pipeline_on(server, tmp_path).calibrate(_jobs(10), images=6)

    assert calibration.tiers[Tier.LITE].slots == 6
    assert server.bill.images == 6


async def test_finishes_take_their_slots_too(tmp_path: Path) -> None:
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, concurrency=1)
        calibration = await pipeline.calibrate(_jobs(10, Route.FINISH), images=7)

    drafts, finishes = calibration.tiers[Tier.LITE], calibration.tiers[Tier.QUALITY]
    assert (drafts.slots or 0) + (finishes.slots or 0) == 7 == server.bill.images
    assert finishes.slots == calibration.result.delivered >= 3


async def test_the_rates_can_be_saved_and_the_next_forecast_rests_on_them(tmp_path: Path) -> None:
    config = tmp_path / "nanobatch.toml"
    async with simulator(answer=_odd_ones_are_blank) as server:
        pipeline = pipeline_on(server, tmp_path / "a", stop=StopRule.want_times(1))
        calibration = await pipeline.calibrate(_jobs(30), images=30)
        registry = ModelRegistry.builtin().save_rates(calibration.rates, config)
        elsewhere = pipeline_on(server, tmp_path / "b", registry=registry)
        forecast = elsewhere.forecast(_jobs(100))

    assert list(calibration.rates) == ["lite"]
    assert ModelRegistry.load(config).rates["lite"].accept == Decimal("0.5")
    assert forecast.is_measured
    per_image = Fraction(forecast.expected_usd) / 100
    assert float(per_image) == pytest.approx(2 * 0.0341, rel=0.01)  # half of the calls are accepted


async def test_rates_of_a_model_without_a_role_go_under_its_id(tmp_path: Path) -> None:
    async with simulator() as server:
        calibration = await pipeline_on(server, tmp_path).calibrate(
            _jobs(2, Route.QUALITY), images=2
        )

    assert list(calibration.rates) == [PRO]


async def test_a_tier_without_an_accepted_image_has_no_rates_to_save(tmp_path: Path) -> None:
    async with simulator(answer=lambda _: answers.image("blank")) as server:
        calibration = await pipeline_on(server, tmp_path, stop=NEVER).calibrate(_jobs(4), images=8)

    assert calibration.rates == {}
    assert "0.0 % (0.0 to 32.4 %" in str(calibration)  # Wilson, 0 of 8


async def test_rates_are_those_that_pass_so_that_best_of_is_not_paid_twice(tmp_path: Path) -> None:
    jobs = [Job(id=f"j{n}", prompt=f"{n} dunes", best_of=2, route=Route.LITE) for n in range(15)]
    new = [Job(id="new", prompt="1 dunes", want=100, best_of=2, route=Route.LITE)]
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path / "a", filters=[])
        calibration = await pipeline.calibrate(jobs, images=30)
        registry = ModelRegistry.builtin().save_rates(
            calibration.rates, tmp_path / "nanobatch.toml"
        )
        saved = pipeline_on(server, tmp_path / "b", registry=registry).forecast(new)

    assert calibration.tiers[Tier.LITE].accept_rate == Decimal("0.5")  # one of two is picked
    assert calibration.rates["lite"].accept == 1  # both passed
    per_call = Fraction(saved.expected_usd) / 200
    assert float(per_call) == pytest.approx(0.0341, rel=0.01)


async def test_drafts_that_pass_are_rates_too(tmp_path: Path) -> None:
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, filters=[])
        calibration = await pipeline.calibrate(_jobs(10, Route.FINISH), images=20)

    rates = calibration.rates
    assert {name: (float(one.accept), one.slots) for name, one in rates.items()} == {
        "lite": (1.0, 10),
        PRO: (1.0, 10),
    }


async def test_rates_are_of_the_model_and_the_filters_of_today(tmp_path: Path) -> None:
    async with simulator(answer=lambda call: answers.image("blank")) as server:
        await pipeline_on(server, tmp_path, stop=StopRule.want_times(1)).run(_jobs(5))
        calibration = await pipeline_on(server, tmp_path, filters=[]).calibrate(
            _jobs(4, start=10), images=4
        )

    assert calibration.tiers[Tier.LITE].slots == 9
    lite = calibration.rates["lite"]
    assert (float(lite.accept), lite.slots) == (1.0, 4)


@pytest.mark.parametrize("hurry", [False, True])
async def test_a_calibration_that_left_nothing_undone_is_complete(
    tmp_path: Path, *, hurry: bool
) -> None:
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, hurry=hurry, filters=[])
        calibration = await pipeline.calibrate(_jobs(5), images=5)

    assert calibration.result.all_read
    assert calibration.result.fill_rate == 1
    assert calibration.result.ended is Ended.COMPLETE


async def test_an_image_that_no_filter_could_judge_has_used_its_slot(tmp_path: Path) -> None:
    def fails(_: Candidate) -> bool:
        raise ValueError("out of order")

    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, filters=[fails])
        await pipeline.calibrate([Job(id="many", prompt="1", want=9, route=Route.LITE)], images=6)

    assert server.bill.images == 6


async def test_the_budget_ends_a_calibration_as_it_ends_a_run(tmp_path: Path) -> None:
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, budget=Budget(usd="0.20"))
        calibration = await pipeline.calibrate(_jobs(10), images=10)

    assert calibration.result.ended is Ended.BUDGET
    assert (calibration.tiers[Tier.LITE].slots or 0) < 10


@pytest.mark.parametrize("images", [0, -1, True, 1.5])
async def test_an_odd_number_of_images_is_refused(tmp_path: Path, images: int) -> None:
    async with simulator() as server:
        with pytest.raises(ConfigError, match="must be a whole number from 1"):
            await pipeline_on(server, tmp_path).calibrate(_jobs(1), images=images)
