"""Routes: drafts and finishes, best of n, a person's choice, references, filters with memory."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from nanobatch import (
    Budget,
    Candidate,
    Checkpoint,
    ConfigError,
    Ended,
    Job,
    JobChangedError,
    JobStatus,
    Route,
    StopRule,
    Tier,
    Verdict,
)
from tests.support import LITE, PRO, pipeline_on, simulator, states

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch import AcceptedImage
    from nanobatch.simulator import Call


async def test_a_finish_is_drawn_on_quality_from_a_lite_draft_and_costs_both(
    tmp_path: Path,
) -> None:
    calls: list[Call] = []
    async with simulator(answer=calls.append) as server:
        job = Job(id="poster", prompt="a map", route=Route.FINISH, size="2K", aspect_ratio="16:9")

        result = await pipeline_on(server, tmp_path).run([job])

    (image,) = result.images
    draft, finish = calls
    assert (draft.model, draft.size, draft.prompt) == (LITE, "1K", "a map")
    assert (finish.model, finish.size, finish.input_images) == (PRO, "2K", 1)
    assert "a map" in finish.prompt
    assert image.tier is Tier.QUALITY
    assert image.usd == server.bill.usd
    assert result.jobs["poster"].slots == 2
    assert states(tmp_path) == {"spent": 1, "accepted": 1}


async def test_a_rejected_finish_spends_its_draft_and_a_new_one_is_drawn(tmp_path: Path) -> None:
    def first_finish_fails(call: Call) -> float:
        return 0.0 if call.is_finish and call.nth == 0 else 1.0

    async with simulator(accept_rate=first_finish_fails) as server:
        job = Job(id="poster", prompt="a map", route=Route.FINISH)

        result = await pipeline_on(server, tmp_path).run([job])

    assert result.jobs["poster"].status is JobStatus.DONE
    assert states(tmp_path) == {"spent": 2, "rejected": 1, "accepted": 1}
    assert server.bill.requests == 4


async def test_with_fall_back_the_draft_is_delivered_when_its_finish_is_rejected(
    tmp_path: Path,
) -> None:
    async with simulator(accept_rate=lambda call: 0.0 if call.is_finish else 1.0) as server:
        pipeline = pipeline_on(server, tmp_path, finish_fallback=True)

        result = await pipeline.run([Job(id="poster", prompt="a map", route=Route.FINISH)])

    (image,) = result.images
    assert image.tier is Tier.LITE
    assert (result.cost.slots, result.cost.accepted) == (2, 1)
    assert result.cost.usd_per_accepted == server.bill.usd


async def test_each_stage_of_a_finish_is_stopped_by_itself(tmp_path: Path) -> None:
    async with simulator(accept_rate=lambda call: 0.0 if call.is_finish else 1.0) as server:
        pipeline = pipeline_on(server, tmp_path, stop=StopRule(3))

        result = await pipeline.run([Job(id="poster", prompt="a map", route=Route.FINISH)])

    job = result.jobs["poster"]
    assert job.status is JobStatus.STOPPED
    assert "0 of 3 finishes passed" in job.reason
    assert server.bill.requests == 6


async def test_the_best_score_of_a_group_wins_and_the_others_are_kept(tmp_path: Path) -> None:
    scores = {1: 0.2, 2: 0.9, 3: 0.9, 4: 0.1}

    def rank(candidate: Candidate) -> Verdict:
        return Verdict.accept(score=scores[candidate.slot])

    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, filters=[rank], route="lite", concurrency=1)

        result = await pipeline.run([Job(id="a", prompt="x", best_of=4)])

    (image,) = result.images
    assert (image.slot, image.score) == (2, 0.9)  # ties: the first
    assert states(tmp_path) == {"accepted": 1, "unpicked": 3}
    with Checkpoint.read(tmp_path) as checkpoint:
        kept = [c.path for c in checkpoint.candidates() if c.state == "unpicked"]
    assert all(path is not None and path.is_file() for path in kept)
    assert result.cost.usd_per_accepted == server.bill.usd  # four slots for one accepted image


async def test_a_person_chooses_images_to_finish(tmp_path: Path) -> None:
    jobs = [Job(id=name, prompt=f"a {name}", want=2) for name in ("owl", "fox")]
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path)
        first = await pipeline.run(jobs)
        chosen = [image for image in first.images if image.number == 2]

        finished = await pipeline.finish(chosen)
        again = await pipeline.finish(chosen)

    assert sorted(finished.jobs) == ["fox-2-finished", "owl-2-finished"]
    assert [image.tier for image in finished.images] == [Tier.QUALITY, Tier.QUALITY]
    assert finished.ended is again.ended is Ended.COMPLETE
    assert server.bill.requests == 6
    assert all(image.path.is_file() for image in first.images)
    with Checkpoint.read(tmp_path) as checkpoint:
        assert checkpoint.verify().is_clean
        assert checkpoint.spend.confirmed_usd == server.bill.usd


async def test_a_rejected_choice_ends_after_one_slot_and_can_be_chosen_again(
    tmp_path: Path,
) -> None:
    def first_finish_fails(call: Call) -> float:
        return 0.0 if call.is_finish and call.nth == 0 else 1.0

    async with simulator(accept_rate=first_finish_fails) as server:
        pipeline = pipeline_on(server, tmp_path)
        chosen = list((await pipeline.run([Job(id="owl", prompt="an owl")])).images)

        first = await pipeline.finish(chosen)
        second = await pipeline.finish(chosen)

    assert first.jobs["owl-1-finished"].status is JobStatus.STOPPED
    assert "rejected" in first.jobs["owl-1-finished"].reason
    assert second.jobs["owl-1-finished"].status is JobStatus.DONE
    assert server.bill.requests == 3


async def test_finishing_without_a_quality_tier_is_a_sentence(tmp_path: Path) -> None:
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, quality=None)

        with pytest.raises(ConfigError, match="needs a quality tier"):
            await pipeline.finish([])


async def test_references_are_sent_and_their_content_is_part_of_the_job(tmp_path: Path) -> None:
    reference = tmp_path / "logo.png"
    calls: list[Call] = []
    async with simulator(answer=calls.append) as server:
        pipeline = pipeline_on(server, tmp_path / "run", route="lite")
        await pipeline.run([Job(id="plain", prompt="x")])
        with Checkpoint.read(tmp_path / "run") as checkpoint:
            (image,) = checkpoint.images()
        reference.write_bytes(image.path.read_bytes())

        await pipeline.run([Job(id="with", prompt="x", references=(reference,))])
        reference.write_bytes(reference.read_bytes() + b"\n")
        with pytest.raises(JobChangedError, match="'with' changed its prompt, references"):
            await pipeline.run([Job(id="with", prompt="x", references=(reference,))])

    assert [call.input_images for call in calls] == [0, 1]


class NoTwins:
    """Remembers the first byte sum of what was accepted, and refuses a second one of a job."""

    name = "no_twins"

    def __init__(self) -> None:
        self.memos: list[bytes] = []

    def __call__(self, candidate: Candidate) -> Verdict:
        memo = candidate.job.tag.encode()
        if memo in self.memos:
            return Verdict.reject(f"a twin of {memo.decode()}")
        return Verdict(accepted=True, memo=memo)

    def seen(self, image: AcceptedImage, memo: bytes) -> None:
        assert image.path.is_file()
        self.memos.append(memo)


async def test_a_filter_with_memory_judges_one_at_a_time_and_remembers_across_runs(
    tmp_path: Path,
) -> None:
    jobs = [Job(id=f"j{n}", prompt=f"dune {n}", tag=f"t{n % 3}") for n in range(9)]
    first, second = NoTwins(), NoTwins()
    async with simulator() as server:
        options = {"route": "lite", "stop": StopRule(1)}
        await pipeline_on(server, tmp_path, filters=[first], **options).run(jobs)

        result = await pipeline_on(server, tmp_path, filters=[second], **options).run(
            [Job(id="late", prompt="late", tag="t1")]
        )

    assert sorted(first.memos) == [b"t0", b"t1", b"t2"]
    assert sorted(second.memos) == [b"t0", b"t1", b"t2"]
    assert result.jobs["late"].status is JobStatus.STOPPED
    assert "a twin of t1" in result.jobs["late"].reason


class PaidJudge:
    """Charges a cent a look, and two at worst."""

    name = "paid"
    worst_case_usd = Decimal("0.02")

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, candidate: Candidate) -> Verdict:
        self.asked += 1
        return Verdict(accepted=True, usd=Decimal("0.01"))


async def test_a_paid_filter_is_in_the_ledger_and_under_the_budget(tmp_path: Path) -> None:
    judge = PaidJudge()
    jobs = [Job(id=f"j{n}", prompt=f"dune {n}", route=Route.LITE) for n in range(20)]
    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, filters=[judge], budget=Budget(usd="0.50"))

        result = await pipeline.run(jobs)

    spent = server.bill.usd + judge.asked * Decimal("0.01")
    assert result.ended is Ended.BUDGET
    assert result.spend.confirmed_usd == spent
    assert result.spend.worst_case_usd <= Decimal("0.50")
    assert result.cost.accepted
    assert result.cost.usd_per_accepted == spent / result.cost.accepted


async def test_a_draft_is_judged_by_the_shape_lite_can_draw(tmp_path: Path) -> None:
    job = Job(id="wide", prompt="x", route=Route.FINISH, size="4K", aspect_ratio="21:9")
    async with simulator() as server:
        result = await pipeline_on(server, tmp_path, filters=None).run([job])

    assert result.jobs["wide"].status is JobStatus.DONE
    assert server.bill.requests == 2
