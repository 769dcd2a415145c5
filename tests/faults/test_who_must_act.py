"""What is not tried again: job, tier or run ends, and the sentence says who must act."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from nanobatch import Ended, Job, JobStatus, Route
from nanobatch.simulator import answers
from tests.faults.story import Case, Told, told_by, usd_of
from tests.support import LITE, PRO, pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path

    from _pytest.mark import ParameterSet

    from nanobatch.simulator import Answer, Call

BAD_FIELD = "Invalid JSON payload received. Unknown name \"x\" at 'generation_config'."

STOP_JOB = [
    Case(
        fault="N1",
        name="400",
        first=(answers.error(400, BAD_FIELD),),
        kinds=("bad_request",),
        says=f"The provider answered 400: {BAD_FIELD}",
    ),
    Case(
        fault="N1",
        name="400 with a message of 3 MB",
        first=(answers.error(400, "too long " * 340_000),),
        kinds=("bad_request",),
        says="The provider answered 400: ",  # an error is read for 64 KiB, and then no JSON
    ),
    *(
        Case(
            fault="N4",
            name=str(status),
            first=(answers.error(status, "Not now."),),
            kinds=("bad_request",),
            says=f"The provider answered {status}: Not now.",
        )
        for status in (409, 422, 425)
    ),
    Case(
        fault="N5",
        name="413",
        first=(answers.error(413, "Request payload is too large."),),
        kinds=("bad_request",),
        says="The provider answered 413: Request payload is too large.",
    ),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    return told_by(STOP_JOB, tmp_path_factory.mktemp("job") / "run")


@pytest.mark.parametrize("case", [case.param for case in STOP_JOB])
def test_a_bad_request_fails_its_job_at_once_and_costs_nothing(
    told: dict[str, Told], case: Case
) -> None:
    job = told[case.name]

    assert (job.ended, job.status) == (Ended.COMPLETE, JobStatus.FAILED)
    assert len(job.bill) == 1
    assert job.kinds == case.kinds
    assert case.says in job.messages[0]
    assert len(job.messages[0]) < 800
    assert job.reason == job.messages[0]
    assert (job.slots, job.calls, job.images) == (0, 0, ())
    assert job.confirmed_usd == job.unknown_usd == 0


@pytest.mark.fault("N5", "F11")
async def test_a_reference_of_21_mb_fails_its_job_and_no_other(tmp_path: Path) -> None:
    reference = tmp_path / "huge.png"
    reference.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(21_000_000))
    jobs = [Job(id="huge", prompt="x", references=(reference,)), Job(id="plain", prompt="y")]

    async with simulator() as server:
        result = await pipeline_on(server, tmp_path / "run").run(jobs)

    assert result.jobs["huge"].status is JobStatus.FAILED
    assert "Request payload size exceeds the limit" in result.jobs["huge"].reason
    assert result.jobs["plain"].status is JobStatus.DONE
    assert server.bill.requests == 2
    assert result.spend.confirmed_usd == server.bill.usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """An answer after which no call of the account can work."""

    fault: str
    name: str
    answer: Answer
    kind: str
    advice: str

    @property
    def param(self) -> ParameterSet:
        """The case as a test of its own, with its mark."""
        mark = pytest.mark.fault(self.fault)
        return pytest.param(self, id=f"{self.fault} {self.name}", marks=mark)


STOP_RUN = [
    Stop(
        fault="N2",
        name="400 of the key",
        answer=answers.invalid_key(),
        kind="invalid_key",
        advice="Check the API key.",
    ),
    Stop(
        fault="N2",
        name="400 of the country",
        answer=answers.error(
            400, "Free tier is not available in your country.", "FAILED_PRECONDITION"
        ),
        kind="precondition",
        advice="The account must be set up first (billing, region).",
    ),
    Stop(
        fault="N2",
        name="401",
        answer=answers.error(401, "Request had invalid authentication credentials."),
        kind="invalid_key",
        advice="Check the API key.",
    ),
    Stop(
        fault="N2",
        name="403",
        answer=answers.forbidden(),
        kind="permission",
        advice="Check the key's permissions and restrictions.",
    ),
    Stop(
        fault="N7",
        name="402",
        answer=answers.no_credit(),
        kind="no_credit",
        advice="Top up the account, then run again: what is done stays done.",
    ),
    Stop(
        fault="N7",
        name="429 of an empty account",
        answer=answers.error(429, "Your prepayment credits are depleted."),
        kind="no_credit",
        advice="Top up the account, then run again: what is done stays done.",
    ),
    Stop(
        fault="N7",
        name="429 per day that says 7 s",
        answer=answers.daily_quota(),
        kind="daily_quota",
        advice="Run again after midnight Pacific time, when the daily quota is reset.",
    ),
    Stop(
        fault="N7",
        name="429 with limit 0 that says 12 s",
        answer=answers.quota_zero(),
        kind="quota_zero",
        advice="This account has no quota for the model: a paid tier is needed.",
    ),
]


@pytest.mark.parametrize("case", [case.param for case in STOP_RUN])
async def test_a_fault_of_the_account_ends_the_run_and_the_next_one_goes_on(
    tmp_path: Path, case: Stop
) -> None:
    jobs = [Job(id=f"j{n}", prompt=f"dune {n}", route=Route.LITE) for n in range(3)]
    is_broke = True

    def answer(call: Call) -> Answer | None:
        return case.answer if is_broke and call.number >= 1 else None

    async with simulator(answer=answer) as server:
        first = await pipeline_on(server, tmp_path, concurrency=1).run(jobs)
        requests = server.bill.requests
        is_broke = False
        second = await pipeline_on(server, tmp_path, concurrency=1).run(jobs)

    assert first.ended is Ended.ACCOUNT
    assert first.reason.endswith(case.advice)
    assert requests == 2  # the one image, and the fault once
    assert [failure.kind for failure in first.failures] == [case.kind]
    assert first.delivered == 1
    assert sorted(job.status for job in first.jobs.values()) == ["done", "pending", "pending"]
    assert first.spend.confirmed_usd == usd_of(server.bill.lines[:1])
    assert first.spend.unknown_usd == 0
    assert second.ended is Ended.COMPLETE
    assert server.bill.images == 3
    assert second.spend.confirmed_usd == server.bill.usd


@pytest.mark.fault("N2", "N7")
async def test_calls_in_flight_when_the_account_fails_are_saved(tmp_path: Path) -> None:
    def answer(call: Call) -> Answer:
        return answers.forbidden() if call.number == 3 else answers.image().after(0.2)

    async with simulator(answer=answer) as server:
        result = await pipeline_on(server, tmp_path, concurrency=4).run(
            [Job(id=f"j{n}", prompt=f"dune {n}", route=Route.LITE) for n in range(20)]
        )

    assert result.ended is Ended.ACCOUNT
    assert server.bill.requests == 4
    assert result.delivered == 3
    assert result.spend.confirmed_usd == server.bill.usd
    assert result.spend.unknown_usd == 0


@pytest.mark.parametrize("gone", [answers.not_found(), answers.withdrawn()])
@pytest.mark.fault("N3", "C4")
async def test_a_model_that_is_retired_in_the_middle_of_a_run_leaves_the_rest_to_the_other_tier(
    tmp_path: Path, gone: Answer
) -> None:
    jobs = [Job(id=f"j{n}", prompt=f"dune {n}") for n in range(6)]

    def answer(call: Call) -> Answer | None:
        return gone if call.model == LITE and call.number >= 2 else None

    async with simulator(answer=answer) as server:
        result = await pipeline_on(server, tmp_path, concurrency=1).run(jobs)

    assert result.ended is Ended.COMPLETE
    assert result.delivered == 6
    assert [line.model for line in server.bill.lines if line.images] == [LITE] * 2 + [PRO] * 4
    # The second worker may have been waiting for the permit with a request of its own.
    assert {failure.kind for failure in result.failures} == {"model_gone"}
    assert server.bill.requests - 6 == len(list(result.failures)) <= 2
    assert result.spend.confirmed_usd == server.bill.usd
    assert result.spend.unknown_usd == 0


@pytest.mark.fault("N3")
async def test_a_model_that_is_gone_without_another_tier_ends_the_run(tmp_path: Path) -> None:
    jobs = [Job(id=f"j{n}", prompt=f"dune {n}") for n in range(6)]

    async with simulator(
        answer=lambda call: answers.withdrawn() if call.number >= 2 else None
    ) as server:
        result = await pipeline_on(server, tmp_path, concurrency=1, quality=None).run(jobs)

    assert result.ended is Ended.MODEL
    assert "no longer available" in result.reason
    assert result.reason.endswith("Switch the model in the registry's config.")
    assert result.delivered == 2
    assert server.bill.requests <= 4  # as above
    assert {job.status for job in result.jobs.values()} == {JobStatus.DONE, JobStatus.PENDING}
