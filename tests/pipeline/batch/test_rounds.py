"""What a job orders, and that wants, groups, finishes, filters and limits mean what they did."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from nanobatch import (
    BatchOptions,
    Budget,
    Candidate,
    Checkpoint,
    ConfigError,
    Ended,
    Gemini,
    JobStatus,
    TwoTierPipeline,
    Verdict,
)
from nanobatch.filters import NearDuplicate
from nanobatch.pipeline.batch import orders as ordering
from nanobatch.pipeline.learning import era_of
from nanobatch.simulator import answers
from nanobatch.simulator.batch import Polls
from nanobatch.testing import ScriptedBackend
from tests.pipeline.batch.orders import by_batch, check_books, jobs, provider
from tests.support import LITE, PRO, candidates, states

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.simulator import Answer, Call
    from nanobatch.simulator.batch import Operation


async def test_a_rejected_image_is_ordered_again_at_half_price(tmp_path: Path) -> None:
    async with provider(answer=lambda call: answers.image("blank") if call.nth == 0 else None) as (
        server
    ):
        result = await by_batch(server, tmp_path, batch_options={"rounds": 3}).run(jobs(3))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert len(list(result.images)) == 3
    assert server.bill.requests == 6
    assert server.bill.interactive_usd == 0


async def test_what_the_last_order_did_not_bring_is_drawn_at_once(tmp_path: Path) -> None:
    def blank_in_batches(call: Call) -> Answer | None:
        return answers.image("blank") if call.batch else None

    async with provider(answer=blank_in_batches) as server:
        result = await by_batch(server, tmp_path, batch_options={"rounds": 1}).run(jobs(2))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert len(list(result.images)) == 2
    assert sum(not line.batch for line in server.bill.lines) == 2


async def test_without_a_top_up_what_is_missing_stays_pending(tmp_path: Path) -> None:
    def blank_in_batches(call: Call) -> Answer | None:
        return answers.image("blank") if call.batch and call.prompt == "dune 0" else None

    async with provider(answer=blank_in_batches) as server:
        result = await by_batch(server, tmp_path, batch_options={"top_up": False}).run(jobs(2))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert result.jobs["j0"].status is JobStatus.PENDING
    assert "top_up" in result.jobs["j0"].reason
    assert result.jobs["j1"].status is JobStatus.DONE
    assert server.bill.interactive_usd == 0


async def test_who_wants_more_of_a_job_that_is_done_gets_it_at_half_price(tmp_path: Path) -> None:
    once = {"rounds": 1}
    async with provider() as server:
        await by_batch(server, tmp_path, batch_options=once).run(jobs(2))
        more = await by_batch(server, tmp_path, batch_options=once).run(jobs(2, want=2))
        await check_books(server, tmp_path)

    assert more.ended is Ended.COMPLETE
    assert len(list(more.images)) == server.bill.requests == 4
    assert server.bill.interactive_usd == 0


async def test_an_empty_answer_is_asked_for_once_more_in_the_same_slot(tmp_path: Path) -> None:
    async with provider(answer=lambda call: answers.no_image() if call.nth == 0 else None) as (
        server
    ):
        result = await by_batch(server, tmp_path, batch_options={"rounds": 3}).run(jobs(2))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert [job.slots for job in result.jobs.values()] == [1, 1]
    assert [job.calls for job in result.jobs.values()] == [2, 2]
    assert result.cost.slots == 2


def _by_hash(candidate: Candidate) -> Verdict:
    return Verdict.accept(score=int(candidate.sha256[:6], 16))


async def test_of_a_group_the_best_is_accepted_and_the_others_are_kept(tmp_path: Path) -> None:
    async with provider() as server:
        result = await by_batch(
            server, tmp_path, filters=[_by_hash], batch_options={"rounds": 4}
        ).run(jobs(2, best_of=3))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert states(tmp_path) == {"accepted": 2, "unpicked": 4}
    assert server.bill.requests == 6
    for accepted in (one for one in candidates(tmp_path) if one.state == "accepted"):
        group = [one for one in candidates(tmp_path) if one.job_id == accepted.job_id]
        assert accepted.score == max(one.score or 0 for one in group)


async def test_drafts_are_finished_by_a_second_batch_job(tmp_path: Path) -> None:
    async with provider() as server:
        result = await by_batch(server, tmp_path).run(jobs(3, route="finish"))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert {image.model_id for image in result.images} == {PRO}
    assert Counter(line.model for line in server.bill.lines) == {LITE: 3, PRO: 3}
    assert server.bill.interactive_usd == 0
    assert result.spend.confirmed_usd == server.bill.usd


async def test_left_between_draft_and_finish_the_next_run_finishes_the_same_draft(
    tmp_path: Path,
) -> None:
    leave = {"max_wait_seconds": 0}
    ended: list[Ended] = []
    async with provider(schedule=Polls(pending=1, running=0)) as server:
        while Ended.COMPLETE not in ended:
            pipeline = by_batch(server, tmp_path, batch_options=leave)
            ended.append((await pipeline.run(jobs(2, route="finish"))).ended)
            assert len(ended) < 20
        await check_books(server, tmp_path)

    assert len(ended) > 2
    assert Counter(line.model for line in server.bill.lines) == {LITE: 2, PRO: 2}


async def test_filters_that_remember_see_the_images_of_earlier_runs(tmp_path: Path) -> None:
    """Everybody gets the same picture: one is accepted, whoever comes after it is a copy."""
    leave = {"max_wait_seconds": 0}
    options: dict[str, Any] = {"filters": [NearDuplicate()]}
    wanted = jobs(3)
    async with provider(schedule=Polls(pending=1, running=0), answer=_the_same) as server:
        await by_batch(server, tmp_path, **options).run(wanted[:1])
        await by_batch(server, tmp_path, batch_options=leave, **options).run(wanted)
        await server.batches.finish()
        result = await by_batch(
            server, tmp_path, batch_options={"top_up": False, "rounds": 1}, **options
        ).run(wanted)
        await check_books(server, tmp_path)

    assert [image.job_id for image in result.images] == ["j0"]
    rejected = [one for one in candidates(tmp_path) if one.state == "rejected"]
    assert {one.filter_name for one in rejected} == {"near_duplicate"}
    assert len(rejected) == 2


def _the_same(call: Call) -> Answer | None:
    return answers.image("blank") if call.prompt else None


async def test_any_number_of_jobs_goes_through_a_small_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "MAX_ORDERED_SLOTS", 8)
    on_the_way: list[int] = []

    def count(asked: Operation) -> None:
        if asked.name == "create":
            open_jobs = [job for job in server.batches.jobs if not job.is_over]
            on_the_way.append(sum(len(job.keys) for job in open_jobs))

    async with provider(schedule=Polls(pending=0, running=0), fault=count) as server:
        result = await by_batch(server, tmp_path).run(jobs(40))
        await check_books(server, tmp_path)

    assert result.ended is Ended.COMPLETE
    assert len(list(result.images)) == server.bill.requests == 40
    assert max(on_the_way) < 8  # and what is created now is one of the eight
    assert max(len(job.keys) for job in server.batches.jobs) <= 8


async def test_a_calibration_draws_at_once_and_the_run_goes_on_by_batch_jobs(
    tmp_path: Path,
) -> None:
    async with provider() as server:
        pipeline = by_batch(server, tmp_path)
        await pipeline.calibrate(jobs(6), images=2)
        drawn_at_once = server.bill.requests
        result = await pipeline.run(jobs(6))
        await check_books(server, tmp_path)

    assert drawn_at_once == 2
    assert result.ended is Ended.COMPLETE
    assert [len(job.keys) for job in server.batches.jobs] == [4]


async def test_what_was_drawn_at_half_the_price_says_nothing_about_the_full_one(
    tmp_path: Path,
) -> None:
    """Its images teach how often a tier passes, and nothing about what a slot costs there."""
    async with provider() as server:
        pipeline = by_batch(server, tmp_path)
        await pipeline.run(jobs(5))
    plan = pipeline._options.plan
    with Checkpoint.read(tmp_path) as checkpoint:
        lessons = checkpoint.experience(era_of(plan, checkpoint))

    assert [(sums.slots, sums.passed, sums.priced_slots) for sums in lessons.sums] == [(5, 5, 0)]
    assert lessons.usd_nano == {}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hurry": True}, "leave one of them out"),
        ({"backend": ScriptedBackend()}, "it has no create_batch"),
    ],
)
def test_what_goes_with_no_batch_job_is_refused_before_anything_is_sent(
    tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    backend = options.pop("backend", Gemini(api_key="any"))

    with pytest.raises(ConfigError, match=sentence):
        TwoTierPipeline(
            backend,
            checkpoint=tmp_path,
            budget=Budget.unlimited(),
            batch=BatchOptions(),
            **options,
        )
