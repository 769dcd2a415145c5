"""A judge that asks a model pays from the same purse, and loses no paid image."""

from __future__ import annotations

import dataclasses
import json
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from nanobatch import (
    Budget,
    Checkpoint,
    ConfigError,
    Ended,
    Job,
    JobStatus,
    ModelRegistry,
    TwoTierPipeline,
)
from nanobatch.cost import LineKind, Outcome
from nanobatch.filters import AnyOf, GeminiJudge, MinSize, Not
from nanobatch.simulator import Answer, Call, Simulator, answers
from nanobatch.testing import ScriptedBackend
from tests.filters.test_gemini_judge import HOSTILE
from tests.support import LITE, candidates, pipeline_on, simulator, states

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nanobatch import RunResult
    from nanobatch.cost import LedgerLine

JUDGE = "gemini-3.1-flash-lite"
FOX = Job(id="a", prompt="a fox")


def judge_lines(folder: Path) -> list[LedgerLine]:
    with Checkpoint.read(folder) as checkpoint:
        return [line for line in checkpoint.ledger() if line.kind is LineKind.JUDGE]


def for_judges(*given: Answer | None) -> Callable[[Call], Answer | None]:
    """Give these answers to judges, in the order of their questions, then the usual ones."""
    left = list(given)
    return lambda call: left.pop(0) if call.model == JUDGE and left else None


async def run(server: Simulator, folder: Path, *jobs: Job, **options: Any) -> RunResult:
    filters = options.pop("filters", [GeminiJudge("Is it a fox?")])
    pipeline = pipeline_on(server, folder, quality=None, filters=filters, **options)
    return await pipeline.run(jobs or [FOX])


async def test_its_calls_are_billed_as_the_provider_bills_them_and_count_in_the_cost(
    tmp_path: Path,
) -> None:
    jobs = [Job(id=f"j{n}", prompt=f"a fox {n}") for n in range(6)]

    async with simulator(scores=lambda call: 9 if call.nth else 3) as server:
        result = await run(server, tmp_path, *jobs, filters=[GeminiJudge("Is it a fox?")])

    billed = server.bill.by_model()
    lines = judge_lines(tmp_path)
    asked = [line for line in server.bill.lines if line.model == JUDGE]
    assert result.delivered == 6
    assert sum((line.usd for line in lines), Decimal(0)) == billed[JUDGE] > 0
    assert result.spend.confirmed_usd == server.bill.usd
    assert result.spend.unknown_usd == 0
    assert len(lines) == len(asked) == result.cost.slots
    assert result.cost.usd_per_accepted == Decimal(server.bill.usd) / 6
    assert result.cost.usd_other_per_slot == billed[JUDGE] / len(lines)


async def test_what_it_rejects_has_its_reason_and_is_drawn_again(tmp_path: Path) -> None:
    async with simulator(answer=for_judges(answers.judgement(4))) as server:
        result = await run(server, tmp_path)

    [image] = result.images
    rejected = [(one.filter_name, one.reason) for one in candidates(tmp_path) if one.reason]
    assert rejected == [("gemini_judge", "score too low (4 of 10, at least 7: Simulated.)")]
    assert image.score == 8


async def test_a_cheaper_filter_before_it_saves_the_question(tmp_path: Path) -> None:
    filters = [MinSize(width_px=9999), GeminiJudge("Is it a fox?")]

    async with simulator() as server:
        await run(server, tmp_path, filters=filters)

    assert {line.model for line in server.bill.lines} == {LITE}


async def test_the_wire_says_what_is_asked_and_in_which_shape(tmp_path: Path) -> None:
    seen: list[Call] = []

    def look(call: Call) -> None:
        seen.append(call)

    async with simulator(answer=look) as server:
        await run(server, tmp_path)

    [question] = [call for call in seen if call.model == JUDGE]
    assert json.loads(question.prompt) == {"criteria": {"c1": "Is it a fox?"}, "prompt": "a fox"}
    assert (question.input_images, question.thinking_level) == (1, "MINIMAL")


async def test_transient_faults_are_tried_again_at_most_three_times_in_all(tmp_path: Path) -> None:
    busy = answers.overloaded()

    async with simulator(answer=for_judges(busy, busy)) as server:
        fine = await run(server, tmp_path / "a")
    async with simulator(answer=for_judges(busy, busy, busy)) as server:
        given_up = await run(server, tmp_path / "b")

    assert fine.delivered == 1
    assert [line.outcome for line in judge_lines(tmp_path / "a")] == [
        Outcome.UNBILLED,
        Outcome.UNBILLED,
        Outcome.BILLED,
    ]
    assert given_up.jobs["a"].status is JobStatus.PENDING
    assert len(judge_lines(tmp_path / "b")) == 3
    assert states(tmp_path / "b") == {"staged": 1}


async def test_a_lost_answer_is_unknown_money_at_its_worst_case(tmp_path: Path) -> None:
    async with simulator(answer=for_judges(answers.reset())) as server:
        result = await run(server, tmp_path)

    lost, found = judge_lines(tmp_path)
    assert lost.usd == 0
    assert (lost.outcome, lost.note) == (Outcome.UNKNOWN, "gemini_judge: connection_lost")
    assert Decimal("0.003") < lost.unknown_usd < Decimal("0.006")
    assert (found.outcome, found.note) == (Outcome.BILLED, "gemini_judge")
    assert result.delivered == 1
    assert result.spend.unknown_usd == lost.unknown_usd


async def test_an_image_that_a_judge_could_not_judge_is_judged_by_the_next_run_and_not_bought_again(
    tmp_path: Path,
) -> None:
    async with simulator(answer=for_judges(answers.says("ACCEPT"))) as server:
        first = await run(server, tmp_path)
        kept = states(tmp_path)
        second = await run(server, tmp_path)

    drawn = [line for line in server.bill.lines if line.model == LITE]
    assert first.jobs["a"].status is JobStatus.PENDING
    assert [one.kind for one in first.failures] == ["filter_error"]
    assert kept == {"staged": 1}
    assert second.delivered == 1
    assert len(drawn) == 1


@pytest.mark.parametrize("text", [text for text in HOSTILE if 0 < len(text) < 4000][::3])
async def test_no_text_of_a_judge_accepts_an_image_by_itself(text: str, tmp_path: Path) -> None:
    async with simulator(answer=for_judges(*[answers.says(text)] * 9)) as server:
        result = await run(server, tmp_path)

    assert result.delivered == 0
    assert states(tmp_path) == {"staged": 1}
    assert [line.outcome for line in judge_lines(tmp_path)] == [Outcome.BILLED]


@pytest.mark.at_once("at half the price the budget lasts")
async def test_the_cap_holds_with_judges_and_a_question_that_does_not_fit_is_not_sent(
    tmp_path: Path,
) -> None:
    # One Lite call reserves 0.12288 USD and a little, and costs about 0.034: with 0.125 it fits
    # once, and what is left covers its judgement, which costs less than half a cent.
    async with simulator() as server:
        result = await run(
            server,
            tmp_path,
            *[Job(id=f"j{n}", prompt="a fox") for n in range(3)],
            budget=Budget(usd="0.125"),
            concurrency=3,
        )

    assert result.ended is Ended.BUDGET
    assert result.delivered == 1
    assert server.bill.usd <= Decimal("0.125")
    assert result.spend.worst_case_usd == server.bill.usd


async def test_an_image_is_left_for_the_next_run_when_its_judgement_does_not_fit(
    tmp_path: Path,
) -> None:
    dear = GeminiJudge({f"criterion {n} {'x' * 900}": 1.0 for n in range(20)}, model=_dear())

    async with simulator() as server:
        first = await run(server, tmp_path, filters=[dear], budget=Budget(usd="0.13"))
        second = await run(server, tmp_path, budget=Budget(usd="0.2"))

    drawn = [line for line in server.bill.lines if line.model == LITE]
    assert first.ended is Ended.BUDGET
    assert first.delivered == 0
    assert second.delivered == 1
    assert len(drawn) == 1


def _dear() -> Any:
    """Return a model whose every judgement may cost a dollar and more."""
    model = ModelRegistry.builtin()["judge"]
    row = dataclasses.replace(model.prices[0], input_usd_per_million_tokens=Decimal(100))
    return dataclasses.replace(model, prices=(row,))


async def test_a_key_that_is_refused_ends_the_run_and_keeps_the_image(tmp_path: Path) -> None:
    async with simulator(answer=for_judges(answers.no_credit())) as server:
        result = await run(server, tmp_path)

    assert result.ended is Ended.ACCOUNT
    assert states(tmp_path) == {"staged": 1}


async def test_the_wait_for_a_model_is_not_held_against_the_filter(tmp_path: Path) -> None:
    slow = answers.judgement(9).after(0.6)

    async with simulator(answer=for_judges(slow)) as server:
        result = await run(server, tmp_path, filter_timeout_seconds=0.3)

    assert result.delivered == 1


async def test_judges_and_drawing_share_the_permits(tmp_path: Path) -> None:
    jobs = [Job(id=f"j{n}", prompt=f"a fox {n}") for n in range(12)]

    async with simulator(latency_seconds=0.02) as server:
        result = await run(server, tmp_path, *jobs, concurrency=3)

    assert result.delivered == 12
    assert server.bill.peak_in_flight <= 3


async def test_cancelling_keeps_what_a_judge_was_being_asked_about(tmp_path: Path) -> None:
    asked = anyio.Event()

    def hold(call: Call) -> Answer | None:
        if call.model != JUDGE:
            return None
        asked.set()
        return answers.judgement(9).after(0.2)

    async with simulator(answer=hold) as server:
        async with anyio.create_task_group() as group:
            group.start_soon(run, server, tmp_path)
            await asked.wait()
            group.cancel_scope.cancel()
        kept = states(tmp_path)
        result = await run(server, tmp_path)

    drawn = [line for line in server.bill.lines if line.model == LITE]
    assert kept == {"accepted": 1}  # the answer came within the time for calls in flight
    assert result.delivered == 1
    assert len(drawn) == 1


KILLED = """
import sys
from nanobatch import Budget, Gemini, Job, TwoTierPipeline, filters
pipeline = TwoTierPipeline(
    Gemini(api_key="k", base_url=sys.argv[1]),
    filters=[filters.GeminiJudge("Is it a fox?")],
    checkpoint=sys.argv[2],
    budget=Budget.unlimited(),
)
pipeline.run_sync([Job(id="a", prompt="a fox")])
"""


async def test_a_kill_while_a_judge_is_asked_leaves_unknown_money_and_the_image(
    tmp_path: Path,
) -> None:
    asked = anyio.Event()

    def hold(call: Call) -> Answer | None:
        if call.model != JUDGE or asked.is_set():
            return None
        asked.set()
        return answers.judgement(9).after(30)

    async with simulator(answer=hold) as server:
        arguments = [sys.executable, "-c", KILLED, server.base_url, str(tmp_path)]
        async with await anyio.open_process(arguments) as process:
            with anyio.fail_after(60):
                await asked.wait()
            process.kill()
            await process.wait()
        result = await run(server, tmp_path)

    lost, found = judge_lines(tmp_path)
    drawn = [line for line in server.bill.lines if line.model == LITE]
    assert (lost.outcome, found.outcome) == (Outcome.UNKNOWN, Outcome.BILLED)
    assert Decimal("0.003") < lost.unknown_usd < Decimal("0.006")
    assert result.delivered == 1
    assert len(drawn) == 1


async def test_a_judge_works_inside_a_combination(tmp_path: Path) -> None:
    strict = GeminiJudge("Is it a hen?", threshold=10, name="hen")
    fox = GeminiJudge("Is it a fox?", name="fox")

    async with simulator() as server:
        result = await run(server, tmp_path, filters=[AnyOf(strict, fox), Not(strict)])

    assert result.delivered == 1
    assert [line.note for line in judge_lines(tmp_path)] == ["hen", "fox", "hen"]


async def test_a_backend_that_answers_no_questions_is_refused_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match="ScriptedBackend answers no questions"):
        TwoTierPipeline(
            ScriptedBackend(),
            filters=[AnyOf(GeminiJudge("A fox?"))],
            checkpoint=tmp_path,
            budget=Budget.unlimited(),
        )
