"""What a job is when a run takes it up: new, or as earlier runs left it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nanobatch.checkpoint import Checkpoint, JobStatus, SlotState, TakenJob, take
from nanobatch.checkpoint.changes import close_pending, end_job, move_on
from nanobatch.cost import LineKind, Stage
from nanobatch.errors import DuplicateJobError, JobChangedError
from nanobatch.models import Tier
from tests.checkpoint.story import Story, entry, job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def checkpoint(tmp_path: Path) -> AsyncIterator[Checkpoint]:
    async with Checkpoint.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def story(checkpoint: Checkpoint) -> Story:
    return Story(checkpoint.store)


def _end(
    story: Story, taken: TakenJob, status: JobStatus, *, reason: str = "so", is_final: bool = False
) -> None:
    story.write(lambda db: end_job(db, taken.number, status, reason=reason, is_final=is_final))


def _wants(checkpoint: Checkpoint) -> list[int]:
    return [line.want for line in checkpoint.ledger() if line.kind is LineKind.WANT]


async def test_a_new_job_is_written_down_and_has_no_history(
    checkpoint: Checkpoint, story: Story
) -> None:
    taken = story.take(job(want=3, tag="hands", metadata={"page": 4}), run=1)

    assert (taken.status, taken.delivered, taken.next_number) == (JobStatus.PENDING, 0, 1)
    assert (taken.attempt, taken.allowance) == (1, 1)
    assert taken.slots_used == taken.passed == {}
    assert taken.in_hand == []
    assert taken.leftovers == []
    assert checkpoint.job("fox") == job(want=3, tag="hands", metadata={"page": 4})
    assert checkpoint.job("nobody") is None
    assert _wants(checkpoint) == [3]


async def test_a_job_that_is_done_stays_done(story: Story) -> None:
    taken = story.take(job(), run=1)
    story.accept(taken, story.draw(taken))
    _end(story, taken, JobStatus.DONE, reason="")

    again = story.take(job(), run=2)

    assert (again.status, again.delivered, again.reason) == (JobStatus.DONE, 1, "")


async def test_an_image_accepted_just_before_a_crash_makes_its_job_done(story: Story) -> None:
    taken = story.take(job(), run=1)
    story.accept(taken, story.draw(taken))  # and nobody wrote how the job stands

    assert story.take(job(), run=2).status is JobStatus.DONE


async def test_a_stopped_job_is_judged_by_todays_rule_and_keeps_its_counts(story: Story) -> None:
    taken = story.take(job(want=2), run=1)
    story.reject(story.draw(taken), "blurred")
    story.reject(story.draw(taken), "blurred")
    story.accept(taken, story.draw(taken))
    _end(story, taken, JobStatus.STOPPED)

    again = story.take(job(want=2), run=2)

    assert (again.status, again.reason) == (JobStatus.PENDING, "")
    assert again.slots_used == {Stage.CANDIDATE: 3}
    assert again.passed == {Stage.CANDIDATE: 1}
    assert again.delivered == 1


@pytest.mark.parametrize("status", [JobStatus.REFUSED, JobStatus.FAILED])
async def test_a_final_refusal_stays_until_the_job_changes(story: Story, status: JobStatus) -> None:
    taken = story.take(job(), run=1)
    _end(story, taken, status, reason="SAFETY", is_final=True)

    same = story.take(job(), run=2)
    again = story.take(job(want=2, tag="other", metadata={"a": 1}), run=3)
    changed = story.take(job(prompt="a tame fox"), run=4)
    then = story.take(job(prompt="a tame fox"), run=5)

    assert (same.status, same.reason) == (status, "SAFETY")
    assert (again.status, again.reason) == (status, "SAFETY")
    assert (changed.status, changed.reason, changed.attempt) == (JobStatus.PENDING, "", 2)
    assert (then.status, then.attempt) == (JobStatus.PENDING, 2)


async def test_a_refused_job_that_wants_no_more_than_it_has_is_done(story: Story) -> None:
    taken = story.take(job(want=2), run=1)
    story.accept(taken, story.draw(taken))
    _end(story, taken, JobStatus.REFUSED, reason="SAFETY", is_final=True)

    again = story.take(job(want=1), run=2)

    assert (again.status, again.reason) == (JobStatus.DONE, "")


async def test_a_job_the_provider_failed_is_taken_up_again(story: Story) -> None:
    taken = story.take(job(), run=1)
    _end(story, taken, JobStatus.FAILED, reason="3 slots in a row had no answer")

    again = story.take(job(), run=2)

    assert (again.status, again.reason) == (JobStatus.PENDING, "")


@pytest.mark.parametrize(
    "changed",
    [{"prompt": "a fox "}, {"aspect_ratio": "16:9"}, {"size": "2K"}],
    ids=["prompt", "ratio", "size"],
)
async def test_a_changed_picture_is_refused_once_an_image_is_accepted(
    checkpoint: Checkpoint, story: Story, changed: dict[str, str]
) -> None:
    taken = story.take(job(want=2), run=1)
    story.accept(taken, story.draw(taken))

    with pytest.raises(JobChangedError, match=r"1 image\(s\) of it are accepted") as refused:
        story.take(job(want=2, **changed), run=2)

    assert refused.value.job_id == "fox"
    assert checkpoint.job("fox") == job(want=2)
    assert story.take(job(want=2), run=2).delivered == 1


async def test_a_changed_reference_is_a_changed_picture(story: Story) -> None:
    one = job(references=["a.png"])
    taken = story.write(lambda db: take(db, [entry(one, references=["aa"])], run=1))[0]
    story.accept(taken, story.draw(taken))

    with pytest.raises(JobChangedError):
        story.write(lambda db: take(db, [entry(one, references=["bb"])], run=2))


async def test_a_changed_picture_without_accepted_images_is_a_new_attempt(
    checkpoint: Checkpoint, story: Story
) -> None:
    taken = story.take(job(), run=1)
    story.reject(story.draw(taken), "blurred")
    story.keep(story.draw(taken))
    story.draw(taken)

    again = story.take(job(prompt="a red fox"), run=2)

    assert (again.attempt, again.allowance) == (2, 1)
    assert again.slots_used == again.passed == {}
    assert again.in_hand == []  # they show what is not wanted any more
    assert again.leftovers == []
    assert checkpoint.cost_model().slots == 3  # and were paid for all the same


async def test_a_changed_route_model_or_filter_is_a_new_allowance_of_slots(
    checkpoint: Checkpoint, story: Story
) -> None:
    taken = story.take(job(want=3), run=1, key="lite, eye")
    story.reject(story.draw(taken), "blurred")
    kept = story.draw(taken)
    story.keep(kept, score=0.5)

    again = story.take(job(want=3), run=2, key="lite, sharper eye")
    same = story.take(job(want=3), run=3, key="lite, sharper eye")

    assert (again.attempt, again.allowance) == (1, 2)
    assert (same.attempt, same.allowance) == (1, 2)
    assert again.slots_used == again.passed == {}
    assert [one.candidate for one in again.in_hand] == [kept.row.number]  # it is paid and passed
    assert checkpoint.cost_model().slots == 2


async def test_what_is_wanted_may_change_and_the_ledger_says_so(
    checkpoint: Checkpoint, story: Story
) -> None:
    for run, want in enumerate((2, 5, 5, 1), 1):
        story.take(job(want=want), run=run)

    assert _wants(checkpoint) == [2, 3, -4]
    assert next(checkpoint.jobs()).want == 1
    assert checkpoint.cost_model().fill_rate == 0


async def test_a_lower_want_makes_a_job_done_and_a_higher_one_opens_it(story: Story) -> None:
    taken = story.take(job(want=2), run=1)
    story.accept(taken, story.draw(taken))

    assert story.take(job(want=1), run=2).status is JobStatus.DONE
    assert story.take(job(want=3), run=3).status is JobStatus.PENDING


async def test_the_same_id_twice_in_a_run_is_refused_and_nothing_of_the_page_is_written(
    checkpoint: Checkpoint, story: Story
) -> None:
    page = [entry(job("a")), entry(job("b")), entry(job("a", prompt="a wolf"))]

    with pytest.raises(DuplicateJobError, match="'a' occurs twice") as refused:
        story.write(lambda db: take(db, page, run=1))

    assert refused.value.job_id == "a"
    assert list(checkpoint.jobs()) == []
    story.take(job("a"), run=1)
    with pytest.raises(DuplicateJobError):
        story.take(job("a"), run=1)


async def test_what_is_in_hand_comes_back_in_its_order_with_scores_and_picks(story: Story) -> None:
    taken = story.take(job(want=2, best_of=2, route="finish"), run=1)
    first, second, third = (story.draw(taken, stage=Stage.DRAFT) for _ in range(3))
    story.keep(first, score=0.25)
    story.keep(second)
    story.keep(third, score=0.75)
    story.write(lambda db: move_on(db, third.slot, SlotState.PICKED))
    story.write(lambda db: move_on(db, first.slot, SlotState.UNPICKED))

    again = story.take(job(want=2, best_of=2, route="finish"), run=2)

    hand = [(one.candidate, one.stage, one.file, one.score, one.is_picked) for one in again.in_hand]
    assert hand == [
        (second.row.number, Stage.DRAFT, second.staged, None, False),
        (third.row.number, Stage.DRAFT, third.staged, 0.75, True),
    ]
    assert again.passed == {Stage.DRAFT: 3}


async def test_what_nobody_judged_comes_back_with_its_slot(story: Story) -> None:
    taken = story.take(job(route="finish"), run=1)
    draft = story.draw(taken, stage=Stage.DRAFT)
    story.keep(draft)
    story.write(lambda db: move_on(db, draft.slot, SlotState.PICKED))
    finish = story.draw(taken, stage=Stage.FINISH, parent=draft.slot)

    again = story.take(job(route="finish"), run=2)

    [leftover] = again.leftovers
    assert leftover.row == finish.row
    assert (leftover.slot, leftover.parent) == (finish.slot, draft.slot)
    assert (leftover.stage, leftover.tier) == (Stage.FINISH, Tier.QUALITY)
    assert again.slots_used == {Stage.DRAFT: 1}  # the open slot counts when it has landed


async def test_numbers_go_on_after_the_largest_although_a_kill_left_a_gap(story: Story) -> None:
    taken = story.take(job(want=3), run=1)
    story.draw(taken)  # was going to be number 1
    story.accept(taken, story.draw(taken), nth=2)

    again = story.take(job(want=3), run=2)

    assert (again.delivered, again.next_number) == (1, 3)


async def test_an_image_whose_number_is_taken_is_accepted_under_the_next_one(
    checkpoint: Checkpoint, story: Story
) -> None:
    taken = story.take(job(want=3), run=1)
    first = story.accept(taken, story.draw(taken), nth=2)
    second = story.accept(taken, story.draw(taken), nth=2)

    assert first != second
    assert [(image.number, image.path) for image in checkpoint.images()] == [
        (2, first),
        (3, second),
    ]
    assert checkpoint.verify().is_clean


async def test_a_job_that_a_run_left_pending_says_why_and_forgets_it_when_taken_up(
    checkpoint: Checkpoint, story: Story
) -> None:
    story.take(job(), run=1)
    story.write(lambda db: close_pending(db, 1, "budget"))
    [left] = checkpoint.jobs()

    again = story.take(job(), run=2)

    assert (left.status, left.reason) == (
        JobStatus.PENDING,
        "The run ended first (budget); the next one goes on with it.",
    )
    assert again.reason == ""


async def test_a_run_knows_its_own_jobs(checkpoint: Checkpoint, story: Story) -> None:
    old, new = story.take(job("old", want=4), run=1), story.take(job("new", want=2), run=2)
    for taken in (old, new, new, new):
        story.accept(taken, story.draw(taken))

    assert list(checkpoint.ids_since(2)) == ["new"]
    assert checkpoint.count_since(2) == (1, 2, 2)  # three accepted, two were wanted
    assert checkpoint.count_since(1) == (2, 6, 3)
    assert [image.job_id for image in checkpoint.images_since(2)] == ["new"] * 3
    assert [image.number for image in checkpoint.images_since(2, up_to=3)] == [1, 2]
    assert checkpoint.last_numbers() == (4, 0)
