"""Money that nobody foresaw: it is booked in full, reported, and foreseen from then on."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from nanobatch import BatchOptions, Budget, Candidate, Checkpoint, Ended, Job, Route, Verdict
from nanobatch.simulator import answers
from tests.support import pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path


async def test_an_answer_above_its_worst_case_is_booked_and_raises_the_reserve(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Pro reserves two images and 2,048 text tokens, USD 0.2934; three images cost over USD 0.4032.
    # Under USD 0.75 a second call fits the old reserve, and not the raised one.
    jobs = [Job(id=f"j{n}", prompt="x", route=Route.QUALITY) for n in range(3)]
    async with simulator(answer=lambda _: answers.several_images(3)) as server:
        pipeline = pipeline_on(server, tmp_path, budget=Budget(usd="0.75"), concurrency=1)

        result = await pipeline.run(jobs)

    assert result.ended is Ended.BUDGET
    assert server.bill.requests == 1
    assert result.spend.confirmed_usd == server.bill.usd > Decimal("0.4032")
    assert "more than the" in caplog.text
    with Checkpoint.read(tmp_path) as checkpoint:
        notes = [line.note for line in checkpoint.ledger() if line.call is not None]
    assert notes[0].startswith("above its worst case of 0.29")


async def test_an_answer_of_a_batch_job_above_its_worst_case_raises_the_reserve_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Half of the above: USD 0.1467 reserved, over 0.2016 paid. Under USD 0.375 the second order of
    # a job whose first image was rejected fits the old reserve, and not the raised one.
    options = BatchOptions(poll_seconds=0.02)
    async with simulator(answer=lambda _: answers.several_images(3)) as server:
        pipeline = pipeline_on(
            server,
            tmp_path,
            budget=Budget(usd="0.375"),
            batch=options,
            filters=[lambda _: False],
        )

        result = await pipeline.run([Job(id="a", prompt="x", route=Route.QUALITY)])

    assert result.ended is Ended.BUDGET
    assert server.bill.requests == 1
    assert result.spend.confirmed_usd == server.bill.usd > Decimal("0.2016")
    assert "more than the 0.14" in caplog.text


async def test_a_filter_that_costs_without_having_said_so_is_booked(tmp_path: Path) -> None:
    def judge(candidate: Candidate) -> Verdict:
        return Verdict(accepted=True, usd=Decimal("0.01"))

    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, filters=[judge])

        result = await pipeline.run([Job(id="a", prompt="x", want=2)])

    assert result.spend.confirmed_usd == server.bill.usd + Decimal("0.02")


class Dear:
    """Costs ten cents, whatever it says."""

    name = "dear"

    def __init__(self, worst_case_usd: str) -> None:
        self.worst_case_usd = Decimal(worst_case_usd)

    def __call__(self, candidate: Candidate) -> Verdict:
        return Verdict(accepted=True, usd=Decimal("0.10"))


@pytest.mark.parametrize("worst_case_usd", ["0.01", "0"])
async def test_a_filter_above_its_worst_case_is_booked_and_raises_the_reserve(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, worst_case_usd: str
) -> None:
    # An image costs USD 0.0336 and some text, at most 0.1229. Under 0.265 a second one may be
    # drawn, but then it cannot be judged: twice 0.0336 and twice 0.10 is more than 0.267.
    budget = Budget(usd="0.265")
    async with simulator() as server:
        pipeline = pipeline_on(
            server,
            tmp_path,
            quality=None,
            filters=[Dear(worst_case_usd)],
            concurrency=1,
            budget=budget,
        )

        result = await pipeline.run([Job(id=f"j{n}", prompt="x") for n in range(3)])

    assert result.ended is Ended.BUDGET
    assert server.bill.requests == 2
    assert result.delivered == 1
    assert result.spend.confirmed_usd == server.bill.usd + Decimal("0.10") < Decimal("0.265")
    assert "Filter dear cost 0.1" in caplog.text


class PaidAndBroken:
    """May cost two cents, and never answers."""

    name = "paid"
    worst_case_usd = Decimal("0.02")

    def __call__(self, candidate: Candidate) -> Verdict:
        raise RuntimeError("connection lost")


async def test_a_paid_filter_that_fails_is_unknown_money_at_its_worst_case(tmp_path: Path) -> None:
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, filters=[PaidAndBroken()])

        result = await pipeline.run([Job(id="a", prompt="x")])

    assert result.spend.confirmed_usd == server.bill.usd
    assert result.spend.unknown_usd == Decimal("0.02")
