"""Finishes, best-of groups, second images and filters that remember, judged again.

Slots are numbered as they start, and these batches walk one slot after the other.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from nanobatch import (
    Budget,
    Candidate,
    Checkpoint,
    Job,
    Reply,
    Route,
    StopRule,
    Tier,
    TokenUsage,
    TwoTierPipeline,
    Verdict,
)
from nanobatch.filters import AnyOf, MinSize, NearDuplicate
from nanobatch.report import replay
from nanobatch.simulator import answers
from nanobatch.testing import ScriptedBackend
from tests.filters.files import saved
from tests.filters.looks import look
from tests.report.batches import ONE_SLOT, OnePerPrompt, batch, slots
from tests.support import PRO, pipeline_on, simulator, states

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.simulator import Answer, Call

FINISH = Route.FINISH
LITE = Route.LITE


async def test_a_finish_of_a_draft_that_fails_now_does_not_count_and_its_cost_stays(
    tmp_path: Path,
) -> None:
    jobs = [Job(id=name, prompt=f"a {name}", route=FINISH) for name in ("owl", "fox")]
    server = await batch(tmp_path, jobs, filters=[])  # the draft of the owl is the first slot
    (finish_of_owl,) = (
        line for line in server.bill.lines if line.model == PRO and "owl" in line.prompt
    )

    outcome = await replay(tmp_path, filters=[slots(2, 3, 4)])

    assert (outcome.before.slots, outcome.before.accepted) == (4, 2)
    assert (outcome.after.slots, outcome.after.accepted) == (4, 1)
    assert outcome.after.usd_per_accepted == server.bill.usd
    assert [(one.job_id, one.tier) for one in outcome.newly_rejected] == [("owl", "lite")]
    assert outcome.undone_finishes == 1
    assert outcome.undone_finish_usd == Decimal(finish_of_owl.nano_usd).scaleb(-9)
    assert outcome.by_tier[Tier.LITE].newly_rejected == 1
    assert outcome.by_tier[Tier.QUALITY].newly_rejected == 0
    assert outcome.by_tier[Tier.QUALITY].after.accepted == 1


async def test_a_finish_that_gave_no_image_is_undone_with_its_draft(tmp_path: Path) -> None:
    def no_finish(call: Call) -> Answer | None:
        return answers.text_only() if call.is_finish else None

    job = Job(id="owl", prompt="an owl", route=FINISH)
    server = await batch(tmp_path, [job], filters=[], settings={"answer": no_finish})

    outcome = await replay(tmp_path, filters=[slots()])

    of_finish = sum(line.nano_usd for line in server.bill.lines[1:])
    assert outcome.undone_finishes == 1
    assert outcome.undone_finish_usd == Decimal(of_finish).scaleb(-9)


async def test_finish_filters_judge_finishes_only(tmp_path: Path) -> None:
    job = Job(id="owl", prompt="an owl", route=FINISH)
    await batch(tmp_path, [job], filters=[])

    outcome = await replay(tmp_path, filters=[slots(1)], finish_filters=[slots(2)])
    without = await replay(tmp_path, filters=[slots(1)])

    assert outcome.after.accepted == 1
    assert without.after.accepted == 0  # by default a finish passes the same filters


async def test_a_draft_that_passes_only_now_was_never_finished(tmp_path: Path) -> None:
    job = Job(id="owl", prompt="an owl", route=FINISH)
    await batch(tmp_path, [job], filters=[slots(2, 3)], stop=StopRule(3))  # draft 1 is rejected

    outcome = await replay(tmp_path, filters=[])

    assert states(tmp_path) == {"rejected": 1, "spent": 1, "accepted": 1}
    assert (outcome.before.accepted, outcome.after.accepted) == (1, 1)
    assert [one.slot for one in outcome.newly_passing] == [1]
    assert outcome.unfinished_drafts == 1
    assert "No finish of them exists" in str(outcome)


async def test_a_rejected_finish_that_passes_now_counts(tmp_path: Path) -> None:
    job = Job(id="owl", prompt="an owl", route=FINISH)
    await batch(tmp_path, [job], filters=[slots(1)])

    outcome = await replay(tmp_path, filters=[slots(1, 2)])

    assert (outcome.before.accepted, outcome.after.accepted) == (0, 1)


async def test_a_delivered_draft_gives_way_to_its_finish_that_passes_now(tmp_path: Path) -> None:
    job = Job(id="owl", prompt="an owl", route=FINISH)
    await batch(tmp_path, [job], filters=[slots(1)], finish_fallback=True)

    same = await replay(tmp_path, filters=[slots(1)])
    finish_passes = await replay(tmp_path, filters=[slots(1, 2)])
    draft_fails = await replay(tmp_path, filters=[slots(2)])

    assert same.before == same.after
    assert same.by_tier[Tier.LITE].after.accepted == 1
    assert finish_passes.after.accepted == 1
    assert finish_passes.by_tier[Tier.LITE].after.accepted == 0
    assert finish_passes.by_tier[Tier.QUALITY].after.accepted == 1
    assert draft_fails.after.accepted == 0


async def test_what_a_person_chose_to_finish_falls_with_the_image_it_was_made_from(
    tmp_path: Path,
) -> None:
    async with simulator(pixels=0.0625) as server:
        pipeline = pipeline_on(server, tmp_path, filters=[], concurrency=1)
        first = await pipeline.run([Job(id="owl", prompt="an owl", route=LITE)])
        await pipeline.finish(first.images)

    stays = await replay(tmp_path, filters=[slots(1, 2)])
    falls = await replay(tmp_path, filters=[slots(2)])

    assert (stays.before.accepted, stays.after.accepted) == (2, 2)
    assert (falls.after.accepted, falls.undone_finishes) == (0, 1)


async def test_a_chosen_image_and_its_finish_are_no_duplicates_of_each_other(
    tmp_path: Path,
) -> None:
    async with simulator(pixels=0.0625) as server:
        pipeline = pipeline_on(
            server, tmp_path, filters=[NearDuplicate(distance=15)], concurrency=1
        )
        first = await pipeline.run([Job(id="owl", prompt="an owl", route=LITE)])
        finished = await pipeline.finish(first.images)

    again = await replay(tmp_path, filters=[NearDuplicate(distance=15)])

    assert finished.delivered == 1
    assert (again.before.accepted, again.after.accepted) == (2, 2)


async def test_drafts_are_judged_by_the_shape_lite_can_draw(tmp_path: Path) -> None:
    seen: list[tuple[str, str, str]] = []

    def look(candidate: Candidate) -> bool:
        seen.append((str(candidate.tier), candidate.job.size, candidate.job.aspect_ratio))
        return True

    job = Job(id="poster", prompt="a map", route=FINISH, size="2K", aspect_ratio="16:9")
    await batch(tmp_path, [job], filters=[])

    await replay(tmp_path, filters=[look])

    assert sorted(seen) == [("lite", "1K", "16:9"), ("quality", "2K", "16:9")]


async def test_filters_see_what_they_see_in_a_run(tmp_path: Path) -> None:
    seen: list[Candidate] = []

    def look(candidate: Candidate) -> bool:
        seen.append(replace(candidate, image_bytes=candidate.image_bytes))
        return True

    job = Job(id="owl", prompt="an owl", route=LITE, metadata={"mood": "calm"})
    await batch(tmp_path, [job], filters=[look])

    await replay(tmp_path, filters=[look])

    in_run, in_replay = seen
    assert in_run == in_replay
    assert in_replay.usage is not None


async def test_of_a_best_of_group_another_image_wins_when_the_winner_fails(tmp_path: Path) -> None:
    job = Job(id="owl", prompt="an owl", route=LITE, want=2, best_of=2)
    await batch(tmp_path, [job], filters=[slots(1, 2, 3, 4, s1=0.9, s2=0.1, s3=0.2, s4=0.8)])
    assert states(tmp_path) == {"accepted": 2, "unpicked": 2}  # 1 and 4 win

    same = await replay(tmp_path, filters=[slots(1, 2, 3, 4, s1=0.9, s2=0.1, s3=0.2, s4=0.8)])
    fewer = await replay(tmp_path, filters=[slots(2, 3, 4, s2=0.1, s3=0.2, s4=0.8)])

    assert same.before == same.after
    assert fewer.after.accepted == 1  # 2 and 3 make a group, 4 is left without a partner
    assert [one.slot for one in fewer.newly_rejected] == [1]


async def test_every_n_passing_images_yield_one(tmp_path: Path) -> None:
    job = Job(id="owl", prompt="an owl", route=LITE, want=2, best_of=3)
    await batch(tmp_path, [job], filters=[slots(1, 2, 3)])  # six slots, one group of three
    assert states(tmp_path) == {"accepted": 1, "unpicked": 2, "rejected": 3}

    all_pass = await replay(tmp_path, filters=[])
    five_pass = await replay(tmp_path, filters=[slots(1, 2, 3, 4, 5)])

    assert (all_pass.before.accepted, all_pass.after.accepted) == (1, 2)
    assert five_pass.after.accepted == 1


async def test_the_choice_of_the_run_stands_where_the_same_images_pass(tmp_path: Path) -> None:
    """Groups of two would leave one image; the run had no groups and accepted both."""
    job = Job(id="owl", prompt="an owl", route=LITE, want=2)
    await batch(tmp_path, [job], filters=[])
    await batch(tmp_path, [job.model_copy(update={"best_of": 2})], filters=[])

    same = await replay(tmp_path, filters=[])
    other_scores = await replay(tmp_path, filters=[slots(1, 2, s1=0.1, s2=0.2)])

    assert same.before.accepted == same.after.accepted == 2
    assert other_scores.after.accepted == 1


async def test_a_second_image_is_looked_at_only_when_the_first_is_rejected(tmp_path: Path) -> None:
    asked: list[int] = []
    numbers: dict[str, int] = {}

    class Only:
        name = "only"

        def __init__(self, *accepted: int) -> None:
            self.accepted = accepted

        def __call__(self, candidate: Candidate) -> bool:
            asked.append(numbers[candidate.sha256])
            return numbers[candidate.sha256] in self.accepted

    job = Job(id="owl", prompt="an owl", route=LITE)
    three = {"answer": lambda _: answers.several_images(3), "drawings": 8}
    await batch(tmp_path, [job], filters=[], settings=three)
    assert states(tmp_path) == {"accepted": 1, "spare": 2}
    with Checkpoint.read(tmp_path) as checkpoint:
        numbers |= {one.sha256: one.number for one in checkpoint.candidates()}
    assert sorted(numbers.values()) == [1, 2, 3]

    first = await replay(tmp_path, filters=[Only(1, 2, 3)])
    asked_first = list(asked)
    asked.clear()
    third = await replay(tmp_path, filters=[Only(3)])
    none = await replay(tmp_path, filters=[Only()])

    assert asked_first == [1]
    assert first.after.accepted == 1
    assert [one.passes_after for one in first.candidates] == [True, None, None]
    assert asked[:3] == [1, 2, 3]
    assert third.after.accepted == 1
    assert [one.passes_after for one in third.candidates] == [False, False, True]
    assert none.after.accepted == 0


async def test_what_was_not_needed_takes_a_place_only_when_one_is_free(tmp_path: Path) -> None:
    """Two of best-of-3 passed before the route of one image each: they wait, unneeded."""
    first = Job(id="owl", prompt="an owl", route=LITE, best_of=3)
    await batch(tmp_path, [first], filters=[slots(1, 2)])  # two wait for a third
    await batch(tmp_path, [first.model_copy(update={"best_of": 1})], filters=[slots(1, 2)])
    assert states(tmp_path) == {"accepted": 1, "passed": 1, "rejected": 1}

    same = await replay(tmp_path, filters=[slots(1, 2)])
    fails = await replay(tmp_path, filters=[slots(2)])
    both_fail = await replay(tmp_path, filters=[slots()])

    assert same.before == same.after
    assert same.after.accepted == 1
    assert fails.after.accepted == 1
    assert both_fail.after.accepted == 0


async def test_filters_that_remember_are_told_in_the_order_of_acceptance(tmp_path: Path) -> None:
    """Two prompts, three jobs each: the first image of a prompt is accepted, the others are not."""
    jobs = [Job(id=f"{n}", prompt=f"a fox {n % 2}", route=LITE) for n in range(6)]
    in_run, again = OnePerPrompt(), OnePerPrompt()
    await batch(tmp_path, jobs, filters=[in_run])

    outcome = await replay(tmp_path, filters=[again])

    assert outcome.before == outcome.after
    assert outcome.after.accepted == 2
    assert [job_id for job_id, _, _ in again.told] == ["0", "1"]
    assert again.told == in_run.told  # with the same numbers and memos


async def test_a_filter_that_remembers_rejects_what_a_run_let_through(tmp_path: Path) -> None:
    jobs = [Job(id=f"{n}", prompt=f"a fox {n % 2}", route=LITE) for n in range(6)]
    await batch(tmp_path, jobs, filters=[])

    outcome = await replay(tmp_path, filters=[OnePerPrompt()])

    assert (outcome.before.accepted, outcome.after.accepted) == (6, 2)
    assert [one.job_id for one in outcome.newly_rejected] == ["2", "3", "4", "5"]
    assert outcome.rejections_after == {"one_per_prompt": 4}


async def test_what_passes_only_now_is_remembered_after_everything_else(tmp_path: Path) -> None:
    jobs = [Job(id=f"{n}", prompt=f"a fox {n % 3}", route=LITE) for n in range(4)]
    await batch(tmp_path, jobs, filters=[slots(3, 4)])  # jobs 0 and 1 are rejected
    memory = OnePerPrompt()

    outcome = await replay(tmp_path, filters=[memory])

    assert [job_id for job_id, _, _ in memory.told] == ["2", "3", "1"]  # 3 has the prompt of 0
    assert outcome.after.accepted == 3


async def test_an_image_that_was_not_judged_is_remembered_with_its_old_memo(tmp_path: Path) -> None:
    jobs = [Job(id=f"{n}", prompt="a fox", route=LITE) for n in range(2)]
    in_run, again = OnePerPrompt(), OnePerPrompt()
    await batch(tmp_path, jobs, filters=[in_run])
    (tmp_path / "images" / "0-1.png").unlink()

    outcome = await replay(tmp_path, filters=[again])

    assert again.told == in_run.told
    assert outcome.after.accepted == 1


async def test_a_draft_is_asked_about_before_its_own_finish_is_remembered(tmp_path: Path) -> None:
    job = Job(id="owl", prompt="an owl", route=FINISH)
    await batch(tmp_path, [job], filters=[OnePerPrompt()])

    outcome = await replay(tmp_path, filters=[OnePerPrompt()])

    assert outcome.before.accepted == 1
    assert outcome.before == outcome.after
    assert outcome.newly_rejected == ()


async def test_the_losers_of_a_group_are_asked_about_before_its_winner_is_remembered(
    tmp_path: Path,
) -> None:
    job = Job(id="owl", prompt="an owl", route=LITE, best_of=3)
    await batch(tmp_path, [job], filters=[OnePerPrompt()])

    outcome = await replay(tmp_path, filters=[OnePerPrompt()])

    assert states(tmp_path) == {"accepted": 1, "unpicked": 2}
    assert outcome.before == outcome.after
    assert outcome.newly_rejected == ()


@pytest.mark.parametrize("in_the_run", [True, False])
async def test_what_waited_is_compared_once_more_before_it_counts_as_accepted(
    tmp_path: Path, *, in_the_run: bool
) -> None:
    """Both drafts pass before either is delivered, so only then the second is a second one."""

    def only_drafts(candidate: Candidate) -> bool:
        return candidate.tier is Tier.LITE

    jobs = [Job(id=name, prompt="an owl", route=FINISH) for name in ("a", "b")]
    await batch(
        tmp_path,
        jobs,
        filters=[only_drafts, OnePerPrompt()] if in_the_run else [only_drafts],
        finish_fallback=True,
        settings={"latency_seconds": 0.1},
        concurrency=2,
    )

    outcome = await replay(tmp_path, filters=[only_drafts, AnyOf(OnePerPrompt())])

    assert outcome.before.accepted == (1 if in_the_run else 2)
    assert outcome.after.accepted == 1
    assert len(outcome.newly_rejected) == (0 if in_the_run else 1)


async def test_a_finish_whose_draft_fails_now_is_not_remembered(tmp_path: Path) -> None:
    job = Job(id="owl", prompt="an owl", route=FINISH)
    await batch(tmp_path, [job], filters=[])
    memory = OnePerPrompt()

    await replay(tmp_path, filters=[slots(2), memory])

    assert memory.told == []


async def test_a_second_image_takes_the_place_of_one_that_memory_rejects(tmp_path: Path) -> None:
    class NotThat(OnePerPrompt):
        """Remembers, and has a dislike of its own."""

        disliked = ""

        def __call__(self, candidate: Candidate) -> Verdict:
            if candidate.sha256 == self.disliked:
                return Verdict.reject("not that one")
            return super().__call__(candidate)

    job = Job(id="owl", prompt="an owl", route=LITE)
    await batch(
        tmp_path, [job], filters=[], settings={"answer": lambda _: answers.several_images(2)}
    )
    memory = NotThat()
    with Checkpoint.read(tmp_path) as checkpoint:
        first, second = checkpoint.candidates()
    memory.disliked = first.sha256

    outcome = await replay(tmp_path, filters=[memory])

    assert [one.passes_after for one in outcome.candidates] == [False, True]
    assert outcome.after.accepted == 1
    assert [memo for _, _, memo in memory.told] == [second.sha256[:8].encode()]


async def test_a_filter_of_the_library_gives_the_verdict_it_gave(tmp_path: Path) -> None:
    jobs = [Job(id=f"{n}", prompt=f"a fox {n}", route=LITE) for n in range(3)]
    await batch(tmp_path, jobs, filters=[MinSize(width_px=1, height_px=1)])

    outcome = await replay(tmp_path, filters=[MinSize(width_px=64, height_px=65)])

    assert [one.reason for one in outcome.newly_rejected] == [
        "picture too small (64x64 px, at least 64x65)"
    ] * 3


async def test_what_a_second_image_yields_is_remembered_although_the_first_comes_later(
    tmp_path: Path,
) -> None:
    """The first image of `b` is like that of `a`, the second is accepted, and `c` is like that."""
    usage = TokenUsage(prompt_tokens=1, image_tokens=1120, text_tokens=0)
    same, new = saved(look(5), "PNG"), saved(look(6), "PNG")
    two = Reply(images=(new, same), usage=usage)  # the last one is judged first
    await TwoTierPipeline(
        ScriptedBackend(same, two, saved(look(6), "JPEG")),
        filters=[NearDuplicate()],
        checkpoint=tmp_path,
        budget=Budget.unlimited(),
        concurrency=1,
        keep_rejected="all",
        stop=ONE_SLOT,
    ).run([Job(id=name, prompt=name) for name in "abc"])

    outcome = await replay(tmp_path, filters=[NearDuplicate()])

    assert states(tmp_path) == {"accepted": 2, "rejected": 2}
    assert outcome.before == outcome.after
    assert outcome.newly_passing == outcome.newly_rejected == ()


async def test_beside_an_image_that_was_rejected_when_its_group_was_decided_nothing_is_looked_at(
    tmp_path: Path,
) -> None:
    """The first image of `a` waits for a second, meanwhile one like it is accepted for `b`."""
    usage = TokenUsage(prompt_tokens=1, image_tokens=1120, text_tokens=0)
    first, other, third, fourth = (saved(look(n), "PNG") for n in (5, 6, 7, 8))
    two = Reply(images=(other, first), usage=usage)  # the last one is judged first
    jobs = [Job(id="a", prompt="a", route=LITE, best_of=2), Job(id="b", prompt="b", route=LITE)]

    def pipeline(stop: StopRule, *script: Reply | bytes) -> TwoTierPipeline:
        return TwoTierPipeline(
            ScriptedBackend(*script),
            filters=[NearDuplicate()],
            checkpoint=tmp_path,
            budget=Budget.unlimited(),
            concurrency=1,
            keep_rejected="all",
            stop=stop,
        )

    await pipeline(StopRule(1), two, saved(look(5), "JPEG")).run(jobs)
    await pipeline(StopRule(4), third, fourth).run(jobs)

    outcome = await replay(tmp_path, filters=[NearDuplicate()])

    assert states(tmp_path) == {"accepted": 2, "rejected": 1, "spare": 1, "unpicked": 1}
    assert outcome.before == outcome.after
    assert outcome.newly_passing == outcome.newly_rejected == ()
