"""Every way a run or a job can end, and that what was paid for is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from nanobatch import (
    Budget,
    Candidate,
    Checkpoint,
    Ended,
    FilterError,
    Job,
    JobStatus,
    Retry,
    Route,
    StopRule,
    Verdict,
)
from nanobatch.simulator import Answer, Call, answers
from tests.support import LITE, PRO, pipeline_on, simulator, states

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _after(number: int, answer: Callable[[], Answer]) -> Callable[[Call], Answer | None]:
    return lambda call: answer() if call.number >= number else None


def _jobs(count: int, **fields: object) -> list[Job]:
    return [
        Job.model_validate({"id": f"j{n}", "prompt": f"dune {n}", **fields}) for n in range(count)
    ]


@pytest.mark.at_once("one by one, the fourth call is the last")
@pytest.mark.parametrize(
    "answer",
    [answers.no_credit, answers.forbidden, answers.invalid_key, answers.daily_quota,
     answers.quota_zero],
)  # fmt: skip
async def test_an_account_fault_ends_the_run_and_keeps_what_is_accepted(
    tmp_path: Path, answer: Callable[[], Answer]
) -> None:
    async with simulator(answer=_after(3, answer)) as server:
        result = await pipeline_on(server, tmp_path, concurrency=1).run(_jobs(10))

    assert result.ended is Ended.ACCOUNT
    assert result.reason
    assert len(list(result.images)) == 3
    assert server.bill.requests == 4
    assert {job.status for job in result.jobs.values()} == {JobStatus.DONE, JobStatus.PENDING}


async def test_a_refused_reservation_sends_nothing(tmp_path: Path) -> None:
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, budget=Budget(usd="0.01"))

        result = await pipeline.run([Job(id="a", prompt="a fox")])

    assert result.ended is Ended.BUDGET
    assert "raise it" in result.reason
    assert server.bill.requests == 0
    assert result.jobs["a"].status is JobStatus.PENDING
    assert result.jobs["a"].reason


@pytest.mark.at_once("at half the price the budget lasts")
async def test_a_raised_budget_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    async with simulator() as server:
        first = await pipeline_on(server, tmp_path, budget=Budget(usd="0.20")).run(_jobs(8))
        second = await pipeline_on(server, tmp_path, budget=Budget(usd="2")).run(_jobs(8))

    assert first.ended is Ended.BUDGET
    assert second.ended is Ended.COMPLETE
    assert second.delivered == 8
    assert server.bill.images == 8


async def test_a_gone_lite_model_leaves_auto_jobs_to_quality_and_lite_jobs_pending(
    tmp_path: Path,
) -> None:
    def gone(call: Call) -> Answer | None:
        return answers.not_found() if call.model == LITE else None

    jobs = [Job(id="auto", prompt="a"), Job(id="only-lite", prompt="b", route=Route.LITE)]
    async with simulator(answer=gone) as server:
        result = await pipeline_on(server, tmp_path, concurrency=1).run(jobs)

    assert result.ended is Ended.MODEL
    assert result.jobs["auto"].status is JobStatus.DONE
    assert result.jobs["only-lite"].status is JobStatus.PENDING


@pytest.mark.at_once("a batch job is sent as a whole")
async def test_when_every_model_is_gone_the_run_ends_at_once(tmp_path: Path) -> None:
    async with simulator(answer=lambda _: answers.not_found()) as server:
        result = await pipeline_on(server, tmp_path, concurrency=1).run(_jobs(50))

    assert result.ended is Ended.MODEL
    assert server.bill.requests <= 4  # two workers may each have asked both models


@pytest.mark.at_once("a batch job is sent as a whole")
async def test_requests_that_are_all_bad_end_the_run_before_all_jobs_have_failed(
    tmp_path: Path,
) -> None:
    bad = answers.error(400, "Unknown name at 'generation_config'.")
    async with simulator(answer=lambda _: bad) as server:
        result = await pipeline_on(server, tmp_path, concurrency=2).run(_jobs(100))
        later = await pipeline_on(server, tmp_path).run(_jobs(100))

    assert result.ended is Ended.HOPELESS
    assert "The last 20 requests were all refused as bad" in result.reason
    assert "Unknown name at 'generation_config'." in result.reason
    failed = [job for job in result.jobs.values() if job.status is JobStatus.FAILED]
    assert 20 <= len(failed) < 25  # those in flight when it ended
    assert later.ended is Ended.HOPELESS  # the others are not lost: they are tried again
    assert server.bill.requests < 60


async def test_a_bad_prompt_here_and_there_ends_no_run(tmp_path: Path) -> None:
    def every_other(call: Call) -> Answer | None:
        return answers.error(400, "Bad.") if int(call.prompt.split()[-1]) % 2 else None

    jobs = [Job(id=f"j{n}", prompt=f"dune {n}", route=Route.LITE) for n in range(60)]
    async with simulator(answer=every_other) as server:
        result = await pipeline_on(server, tmp_path).run(jobs)

    assert result.ended is Ended.COMPLETE
    assert result.delivered == 30


@pytest.mark.at_once("a batch job is sent as a whole")
async def test_an_outage_ends_the_run_after_fifty_faults_without_a_success(tmp_path: Path) -> None:
    async with simulator(answer=lambda _: answers.internal()) as server:
        pipeline = pipeline_on(server, tmp_path, concurrency=1)

        result = await pipeline.run(_jobs(100))

    assert result.ended is Ended.OUTAGE
    assert server.bill.requests == 50


@pytest.mark.at_once("a batch job is sent as a whole")
async def test_a_hopeless_batch_ends_after_thirty_judged_slots(tmp_path: Path) -> None:
    async with simulator(accept_rate=0.0) as server:
        result = await pipeline_on(server, tmp_path, concurrency=1).run(_jobs(100))

    assert result.ended is Ended.HOPELESS
    assert server.bill.requests in (30, 31)  # one may be in flight when the 30th is judged
    assert result.cost.usd_per_accepted is None


async def test_a_hopeless_prompt_stops_after_six_slots_and_says_why(tmp_path: Path) -> None:
    async with simulator(accept_rate=0.0) as server:
        result = await pipeline_on(server, tmp_path, route="lite").run([Job(id="a", prompt="x")])

    job = result.jobs["a"]
    assert result.ended is Ended.COMPLETE
    assert job.status is JobStatus.STOPPED
    assert job.slots == 6
    assert "0 of 6 candidates passed" in job.reason
    assert "Most common rejection: file too small." in job.reason
    assert result.fill_rate == 0.0


async def test_the_articles_rule_stops_a_job_after_three_times_its_want(tmp_path: Path) -> None:
    async with simulator(accept_rate=0.0) as server:
        pipeline = pipeline_on(server, tmp_path, route="lite", stop=StopRule.want_times(3))

        result = await pipeline.run([Job(id="a", prompt="x", want=2)])

    assert result.jobs["a"].slots == 6
    assert result.jobs["a"].status is JobStatus.STOPPED


async def test_a_stopped_job_goes_on_under_a_more_patient_rule(tmp_path: Path) -> None:
    def good_from_the_eighth(call: Call) -> float:
        return 1.0 if call.nth >= 7 else 0.0

    async with simulator(accept_rate=good_from_the_eighth) as server:
        job = Job(id="a", prompt="x", route=Route.LITE)
        first = await pipeline_on(server, tmp_path).run([job])
        again = await pipeline_on(server, tmp_path).run([job])
        second = await pipeline_on(server, tmp_path, stop=StopRule(20)).run([job])

    assert first.jobs["a"].status is JobStatus.STOPPED
    assert again.jobs["a"].slots == 6
    assert second.jobs["a"].status is JobStatus.DONE
    assert second.jobs["a"].slots == 8


@pytest.mark.parametrize("answer", [answers.blocked, answers.prohibited])
async def test_a_blocked_prompt_is_refused_at_once_and_never_tried_again(
    tmp_path: Path, answer: Callable[[], Answer]
) -> None:
    async with simulator(answer=lambda _: answer()) as server:
        first = await pipeline_on(server, tmp_path).run([Job(id="a", prompt="x")])
        second = await pipeline_on(server, tmp_path).run([Job(id="a", prompt="x")])

    assert first.jobs["a"].status is JobStatus.REFUSED
    assert second.jobs["a"].status is JobStatus.REFUSED
    assert server.bill.requests == 1
    assert [failure.kind for failure in first.failures] == ["refused"]
    assert first.spend.confirmed_usd == server.bill.usd


async def test_two_unsafe_slots_in_a_row_refuse_a_job(tmp_path: Path) -> None:
    async with simulator(answer=lambda _: answers.image_refused()) as server:
        result = await pipeline_on(server, tmp_path).run([Job(id="a", prompt="x")])

    assert result.jobs["a"].status is JobStatus.REFUSED
    assert server.bill.requests == 4  # two slots, each regenerated once
    assert result.spend.confirmed_usd == server.bill.usd


async def test_a_bad_request_fails_its_job_and_no_other(tmp_path: Path) -> None:
    def bad(call: Call) -> Answer | None:
        return answers.error(400, "no such thing") if "1" in call.prompt else None

    async with simulator(answer=bad) as server:
        first = await pipeline_on(server, tmp_path).run(_jobs(3))
        await pipeline_on(server, tmp_path).run(_jobs(3))

    assert [job.status for job in first.jobs.values()] == ["done", "failed", "done"]
    assert "no such thing" in first.jobs["j1"].reason
    assert server.bill.requests == 3  # the second run does not take it up again


@pytest.mark.at_once("an order is not tried three times")
async def test_three_void_slots_in_a_row_fail_a_job_and_the_next_run_takes_it_up(
    tmp_path: Path,
) -> None:
    down = True

    def sometimes(call: Call) -> Answer | None:
        return answers.internal() if down and call.prompt == "dune 0" else None

    async with simulator(answer=sometimes) as server:
        pipeline = pipeline_on(server, tmp_path)
        first = await pipeline.run(_jobs(4))
        down = False
        second = await pipeline.run(_jobs(4))

    assert first.jobs["j0"].status is JobStatus.FAILED
    assert first.jobs["j0"].slots == 0
    assert first.delivered == 3
    assert sum(failure.job_id == "j0" for failure in first.failures) == 9  # 3 slots x 3 tries
    assert second.jobs["j0"].status is JobStatus.DONE


async def test_a_call_is_tried_three_times_and_no_more(tmp_path: Path) -> None:
    async with simulator(
        answer=lambda call: answers.internal() if call.nth < 2 else None
    ) as server:
        result = await pipeline_on(server, tmp_path).run([Job(id="a", prompt="x")])

    assert result.jobs["a"].status is JobStatus.DONE
    assert server.bill.requests == 3
    assert (result.cost.slots, result.cost.calls) == (1, 1)


async def test_an_empty_answer_is_regenerated_once_in_the_same_slot(tmp_path: Path) -> None:
    async with simulator(
        answer=lambda call: answers.no_image() if call.nth == 0 else None
    ) as server:
        result = await pipeline_on(server, tmp_path).run([Job(id="a", prompt="x")])

    assert result.jobs["a"].status is JobStatus.DONE
    assert (result.cost.slots, result.cost.calls) == (1, 2)
    assert result.cost.regeneration_rate == 1
    assert result.spend.confirmed_usd == server.bill.usd


async def test_a_prompt_that_brings_no_image_stops_and_says_so(tmp_path: Path) -> None:
    async with simulator(answer=lambda _: answers.no_image()) as server:
        result = await pipeline_on(server, tmp_path).run([Job(id="a", prompt="x")])

    assert result.jobs["a"].status is JobStatus.STOPPED
    assert result.jobs["a"].reason.endswith(" Most common rejection: The answer holds no image.")


async def test_a_slot_broken_twice_is_rejected_and_its_files_are_kept(tmp_path: Path) -> None:
    def broken(call: Call) -> Answer | None:
        return answers.truncated_image() if call.nth < 2 else None

    async with simulator(answer=broken) as server:
        result = await pipeline_on(server, tmp_path).run([Job(id="a", prompt="x")])

    assert (result.cost.slots, result.cost.calls, result.cost.accepted) == (2, 3, 1)
    assert states(tmp_path) == {"broken": 2, "accepted": 1}
    assert len(list((tmp_path / "rejected").iterdir())) == 2
    assert [failure.kind for failure in result.failures] == ["broken", "broken"]


@pytest.mark.at_once("the worst case is half")
async def test_an_answer_without_usage_is_unknown_money_but_its_image_counts(
    tmp_path: Path,
) -> None:
    async with simulator(answer=lambda _: answers.without_usage()) as server:
        result = await pipeline_on(server, tmp_path).run([Job(id="a", prompt="x")])

    assert result.jobs["a"].status is JobStatus.DONE
    assert (result.cost.slots, result.cost.calls, result.cost.accepted) == (1, 1, 1)
    assert result.spend.confirmed_usd == 0
    # 4,096 tokens at 30 USD and the prompt's one byte at 0.25 USD per million
    assert str(result.spend.unknown_usd.normalize()) == "0.12288025"
    assert server.bill.usd <= result.spend.worst_case_usd


@pytest.mark.at_once("a result file is read again")
@pytest.mark.parametrize("answer", [answers.reset, answers.cut, answers.not_json])
async def test_no_complete_answer_is_unknown_money_at_the_worst_case(
    tmp_path: Path, answer: Callable[[], Answer]
) -> None:
    async with simulator(answer=lambda call: answer() if call.nth == 0 else None) as server:
        result = await pipeline_on(server, tmp_path).run([Job(id="a", prompt="x")])

    assert result.jobs["a"].status is JobStatus.DONE
    assert server.bill.requests == 2
    assert (result.cost.slots, result.cost.calls) == (1, 1)
    assert str(result.spend.unknown_usd.normalize()) == "0.12288025"


@pytest.mark.at_once("a result file is read again")
async def test_unknown_money_counts_against_the_budget(tmp_path: Path) -> None:
    async with simulator(answer=lambda _: answers.reset()) as server:
        pipeline = pipeline_on(
            server, tmp_path, budget=Budget(usd="0.30"), retry=Retry(1, 0.001, 0.001)
        )

        result = await pipeline.run(_jobs(10))

    assert result.ended is Ended.BUDGET
    assert server.bill.requests == 2  # two worst cases of 0.123 fit into 0.30, a third does not


async def test_a_filter_that_fails_keeps_the_image_and_buys_no_other(tmp_path: Path) -> None:
    is_broken = True

    def judge(candidate: object) -> bool:
        if is_broken:
            raise RuntimeError("no model loaded")
        return True

    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, filters=[judge])
        first = await pipeline.run(_jobs(3))
        waiting = states(tmp_path)
        is_broken = False
        second = await pipeline.run(_jobs(3))

    assert {job.status for job in first.jobs.values()} == {JobStatus.PENDING}
    assert "RuntimeError: no model loaded" in first.jobs["j0"].reason
    assert waiting == {"staged": 3}
    assert second.delivered == 3
    assert server.bill.requests == 3


@pytest.mark.at_once("a batch job is sent as a whole")
async def test_ten_filter_failures_in_a_row_end_the_run_with_the_filters_error(
    tmp_path: Path,
) -> None:
    def judge(candidate: object) -> bool:
        raise RuntimeError("no model loaded")

    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, filters=[judge], concurrency=1)
        with pytest.raises(FilterError, match=r"judge.*no model loaded"):
            await pipeline.run(_jobs(40))
        requests = server.bill.requests
        pipeline = pipeline_on(server, tmp_path, filters=[lambda _: True], concurrency=1)

        result = await pipeline.run(_jobs(40))

    assert requests <= 12
    assert result.delivered == 40
    assert server.bill.images == 40


async def test_a_filter_that_hangs_is_given_up_after_its_deadline(tmp_path: Path) -> None:
    async def hang(candidate: object) -> bool:
        await anyio.sleep_forever()
        return True

    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, filters=[hang], filter_timeout_seconds=0.05)

        result = await pipeline.run([Job(id="a", prompt="x")])

    assert result.jobs["a"].status is JobStatus.PENDING
    assert "did not answer within 0.05 s" in result.jobs["a"].reason


async def test_a_spare_image_is_judged_only_when_the_candidate_is_rejected(tmp_path: Path) -> None:
    seen: list[str] = []

    def only_the_second(candidate: Candidate) -> Verdict:
        seen.append(candidate.sha256)
        return Verdict.accept() if len(seen) == 2 else Verdict.reject("not yet")

    async with simulator(answer=lambda _: answers.several_images(3)) as server:
        pipeline = pipeline_on(server, tmp_path, filters=[only_the_second], route="lite")

        result = await pipeline.run([Job(id="a", prompt="x")])

    assert result.jobs["a"].status is JobStatus.DONE
    assert result.cost.calls == 1
    assert states(tmp_path) == {"rejected": 1, "accepted": 1, "spare": 1}
    assert result.spend.confirmed_usd == server.bill.usd


async def test_a_checkpoint_counts_its_whole_life(tmp_path: Path) -> None:
    async with simulator() as server:
        await pipeline_on(server, tmp_path).run(_jobs(2))

        result = await pipeline_on(server, tmp_path).run([Job(id="new", prompt="n")])

    assert result.spend.confirmed_usd == server.bill.usd
    assert list(result.jobs) == ["new"]
    assert result.wanted == 1
    with Checkpoint.read(tmp_path) as checkpoint:
        assert len(list(checkpoint.images())) == 3


async def test_pro_costs_more_than_lite_and_the_ledger_knows_it(tmp_path: Path) -> None:
    jobs = [Job(id="a", prompt="x", route=Route.LITE), Job(id="b", prompt="x", route=Route.QUALITY)]
    async with simulator() as server:
        await pipeline_on(server, tmp_path).run(jobs)

    with Checkpoint.read(tmp_path) as checkpoint:
        for tier, model in (("lite", LITE), ("quality", PRO)):
            by_model = server.bill.by_model()[model]
            assert checkpoint.cost_model(tier=tier).spend_usd == by_model
