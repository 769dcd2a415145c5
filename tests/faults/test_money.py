"""Money under faults: nothing is priced twice, nothing is guessed, and the cap holds."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from nanobatch import Budget, Checkpoint, Ended, Job, JobStatus, ModelRegistry, Route
from nanobatch.simulator import answers
from tests.faults.story import Case, Told, reshaped, told_by, usd_of, worst_case_usd
from tests.support import LITE, pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.simulator import Answer


def _jobs(count: int) -> list[Job]:
    return [Job(id=f"j{n}", prompt="x", route=Route.LITE) for n in range(count)]


def with_usage(**counts: object) -> Answer:
    """A good image whose usage says this instead; `None` leaves a count out."""

    def change(answer: dict[str, Any]) -> None:
        usage = answer["usageMetadata"]
        for name, count in counts.items():
            usage.pop(name) if count is None else usage.update({name: count})

    return reshaped(change)


def no_image_tokens(answer: dict[str, Any]) -> None:
    answer["usageMetadata"]["candidatesTokensDetails"] = []


UNKNOWN = [
    Case(fault="M3", name="no usage", first=(answers.without_usage(),)),
    Case(fault="M3", name="null", first=(reshaped(lambda a: a.update(usageMetadata=None)),)),
    Case(fault="M3", name="no prompt count", first=(with_usage(promptTokenCount=None),)),
    Case(fault="M3", name="no image tokens", first=(reshaped(no_image_tokens),)),
    Case(fault="M3", name="all zero", first=(with_usage(totalTokenCount=0, promptTokenCount=0),)),
    Case(fault="M3", name="negative", first=(with_usage(promptTokenCount=-5),)),
    Case(fault="M3", name="half a token", first=(with_usage(promptTokenCount=1.5),)),
    Case(fault="M3", name="a word", first=(with_usage(promptTokenCount="many"),)),
    Case(fault="M3", name="true", first=(with_usage(promptTokenCount=True),)),
    Case(fault="M3", name="not a number", first=(with_usage(promptTokenCount=float("nan")),)),
    Case(fault="M3", name="infinity", first=(with_usage(promptTokenCount=float("inf")),)),
    Case(fault="M3", name="100 digits", first=(with_usage(promptTokenCount=10**100),)),
    Case(fault="M3", name="a total too small", first=(with_usage(totalTokenCount=3),)),
]
READ = [
    Case(fault="M3", name="digits as text", first=(with_usage(promptTokenCount="10"),)),
    Case(fault="M3", name="a whole float", first=(with_usage(promptTokenCount=10.0),)),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    return told_by([*UNKNOWN, *READ], tmp_path_factory.mktemp("usage") / "run")


@pytest.mark.parametrize("case", [case.param for case in UNKNOWN])
def test_usage_that_cannot_be_believed_is_unknown_money_and_its_image_is_kept(
    told: dict[str, Told], case: Case
) -> None:
    job = told[case.name]

    assert job.status is JobStatus.DONE
    assert len(job.bill) == 1
    assert (job.slots, job.calls) == (1, 1)
    assert job.confirmed_usd == 0
    assert job.unknown_usd == worst_case_usd(case.name) >= usd_of(job.bill)


@pytest.mark.parametrize("case", [case.param for case in READ])
def test_usage_in_another_form_is_read(told: dict[str, Told], case: Case) -> None:
    job = told[case.name]

    # 10 tokens of prompt and the image; the total stays, so the rest of the output shrinks with it.
    (line,) = job.bill
    text_tokens = line.text_tokens + line.prompt_tokens - 10
    assert job.unknown_usd == 0
    assert (
        job.confirmed_usd
        == (10 * Decimal("0.25") + 1120 * Decimal(30) + text_tokens * Decimal("1.5")) / 1_000_000
    )


@pytest.mark.fault("M1")
async def test_a_price_that_changes_between_two_runs_changes_no_earlier_line(
    tmp_path: Path,
) -> None:
    config = tmp_path / "nanobatch.toml"
    config.write_text(
        f'[[models."{LITE}".prices]]\neffective_from = 2026-06-30\n'
        'input = "2.5"\ntext_output = "15"\nimage_output = "300"\n'
    )
    dearer = ModelRegistry.load(config)

    async with simulator() as server:
        await pipeline_on(server, tmp_path / "run").run(_jobs(2))
        result = await pipeline_on(server, tmp_path / "run", registry=dearer).run(_jobs(3))

    first_two, third = server.bill.lines[:2], server.bill.lines[2:]
    assert len(third) == 1
    assert result.spend.confirmed_usd == usd_of(first_two) + 10 * usd_of(third)


@pytest.mark.fault("M4")
async def test_a_budget_of_nothing_sends_nothing_and_writes_no_intent(tmp_path: Path) -> None:
    async with simulator() as server:
        result = await pipeline_on(server, tmp_path, budget=Budget(usd=0)).run(_jobs(3))

    assert result.ended is Ended.BUDGET
    assert result.reason == (
        "The next call may cost up to 0.1229 USD, which the budget does not cover any more: "
        "raise it and run again."
    )
    assert server.bill.requests == 0
    with Checkpoint.read(tmp_path) as checkpoint:
        assert [line for line in checkpoint.ledger() if line.call is not None] == []


@pytest.mark.fault("M8")
async def test_a_budget_lowered_below_what_is_spent_sends_nothing_more(tmp_path: Path) -> None:
    async with simulator() as server:
        first = await pipeline_on(server, tmp_path).run(_jobs(3))
        second = await pipeline_on(server, tmp_path, budget=Budget(usd="0.05")).run(_jobs(6))

    assert first.spend.confirmed_usd > Decimal("0.05")
    assert second.ended is Ended.BUDGET
    assert server.bill.requests == 3
    assert second.spend == first.spend
    assert second.delivered == 3


@pytest.mark.fault("M10")
async def test_a_storm_of_server_errors_holds_no_money(tmp_path: Path) -> None:
    # One worst case fits, two do not: had any of the 50 errors kept its reservation, the run
    # would end for lack of budget.
    async with simulator(answer=lambda _: answers.internal()) as server:
        pipeline = pipeline_on(server, tmp_path, concurrency=1, budget=Budget(usd="0.20"))
        result = await pipeline.run(_jobs(100))

    assert result.ended is Ended.OUTAGE
    assert server.bill.requests == 50
    assert result.spend.worst_case_usd == 0


@pytest.mark.fault("M9")
async def test_unknown_money_starves_a_run_until_somebody_settles_it(tmp_path: Path) -> None:
    is_down = True
    async with simulator(answer=lambda _: answers.reset() if is_down else None) as server:
        # 0.30 USD hold two worst cases of 0.1229 and no third.
        starved = await pipeline_on(server, tmp_path, budget=Budget(usd="0.30")).run(_jobs(1))
        is_down = False
        async with Checkpoint.open(tmp_path) as checkpoint:
            for line in list(checkpoint.ledger()):
                if line.call is not None and line.unknown_usd > 0:
                    checkpoint.settle(line.call, 0, "not on the bill")
        fed = await pipeline_on(server, tmp_path, budget=Budget(usd="0.30")).run(_jobs(1))

    assert starved.ended is Ended.BUDGET
    assert starved.spend.unknown_usd == 2 * worst_case_usd("x")
    assert fed.ended is Ended.COMPLETE
    assert fed.spend.unknown_usd == 0
    assert fed.spend.confirmed_usd == server.bill.usd


@pytest.mark.fault("N20")
async def test_a_key_that_stands_there_twice(tmp_path: Path) -> None:
    def usage_twice(body: bytes) -> bytes:
        cheap = b', "usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 1}}'
        return body.rstrip()[:-1] + cheap

    def candidates_twice(body: bytes) -> bytes:
        return b'{"candidates": [], ' + body.lstrip()[1:]

    given = {
        "usage": answers.altered(usage_twice),
        "candidates": answers.altered(candidates_twice),
    }
    async with simulator(answer=lambda call: given[call.prompt]) as server:
        result = await pipeline_on(server, tmp_path).run(
            [Job(id=name, prompt=name, route=Route.LITE) for name in given]
        )

    lines = {line.prompt: line for line in server.bill.lines}
    assert {job.status for job in result.jobs.values()} == {JobStatus.DONE}
    assert result.jobs["candidates"].spend.confirmed_usd == usd_of([lines["candidates"]])
    # Which of two usages is billed, nobody can know: the image stays, its money is unknown.
    assert result.jobs["usage"].spend.confirmed_usd == 0
    assert result.jobs["usage"].spend.unknown_usd >= usd_of([lines["usage"]])
