"""Of pictures that look alike one is accepted, whoever comes first and whichever run it was in."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from nanobatch import (
    Budget,
    CandidatePassed,
    Checkpoint,
    Ended,
    ImageAccepted,
    ImageRequest,
    Job,
    JobStatus,
    Reply,
    TokenUsage,
    TwoTierPipeline,
    Verdict,
)
from nanobatch.cost import LineKind
from nanobatch.filters import AllOf, AnyOf, NearDuplicate, Not, OnlyFor, Score
from nanobatch.testing import ScriptedBackend
from tests.filters.files import saved
from tests.filters.looks import look
from tests.support import candidates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nanobatch import AcceptedImage, Candidate, Event

TOGETHER = 16


class Twins:
    """Answers the first calls all at once, each picture twice; later ones show something new."""

    def __init__(self) -> None:
        self._calls = 0
        self._all_here = anyio.Event()

    async def generate(self, request: ImageRequest) -> Reply:
        self._calls += 1
        mine = self._calls
        if mine == TOGETHER:
            self._all_here.set()
        await self._all_here.wait()
        number = mine % (TOGETHER // 2) if mine <= TOGETHER else 1000 + mine
        file_format = "PNG" if mine <= TOGETHER // 2 else "JPEG"
        usage = TokenUsage(prompt_tokens=1, image_tokens=1120, text_tokens=0)
        return Reply(images=(saved(look(number), file_format),), usage=usage)

    async def aclose(self) -> None:
        """Nothing is held open."""


class Copyist:
    """Draws the same picture again and again, and one that is new after that."""

    def __init__(self, same: int) -> None:
        self._left = same

    async def generate(self, request: ImageRequest) -> Reply:
        self._left -= 1
        number = 5 if self._left >= 0 else 6
        usage = TokenUsage(prompt_tokens=1, image_tokens=1120, text_tokens=0)
        return Reply(images=(saved(look(number), "JPEG"),), usage=usage)

    async def aclose(self) -> None:
        """Nothing is held open."""


async def test_of_two_near_duplicates_in_flight_exactly_one_is_accepted(tmp_path: Path) -> None:
    jobs = [Job(id=f"j{number}", prompt=f"a fox {number}") for number in range(TOGETHER)]

    result = await TwoTierPipeline(
        Twins(),
        filters=[NearDuplicate()],
        checkpoint=tmp_path,
        budget=Budget.unlimited(),
        concurrency=TOGETHER,
    ).run(jobs)

    rejected = [one for one in candidates(tmp_path) if one.filter_name == "near_duplicate"]
    assert result.ended is Ended.COMPLETE
    assert result.delivered == TOGETHER
    assert len(rejected) == TOGETHER // 2
    assert {one.slot for one in rejected} <= set(range(1, TOGETHER + 1))


class Waits:
    """Shows one picture to two jobs that let two candidates compete, in an order that hurts.

    Job `a` gets the picture and has to wait for its second candidate, until job `b`, which wants
    the first that passes, has got the same picture accepted.
    """

    def __init__(self) -> None:
        self.accepted = anyio.Event()
        self.calls: Counter[str] = Counter()

    async def generate(self, request: ImageRequest) -> Reply:
        self.calls[request.prompt] += 1
        nth = self.calls[request.prompt]
        if request.prompt == "a":
            if nth > 1:
                await self.accepted.wait()
            number = 5 if nth == 1 else 100 + nth
        else:
            while self.calls["a"] < 2:  # noqa: ASYNC110 - until the first of `a` has passed
                await anyio.sleep(0.01)
            number = 5
        usage = TokenUsage(prompt_tokens=1, image_tokens=1120, text_tokens=0)
        return Reply(images=(saved(look(number), "PNG"),), usage=usage)

    async def aclose(self) -> None:
        """Nothing is held open."""

    def hear(self, event: Event) -> None:
        if isinstance(event, ImageAccepted):
            self.accepted.set()


@dataclass(frozen=True)
class FirstIsBest:
    """Scores the picture that both jobs get highest."""

    name: str = "first_is_best"

    def __call__(self, candidate: Candidate) -> Verdict:
        return Verdict.accept(score=1 if candidate.image_bytes == saved(look(5), "PNG") else 0)


@pytest.mark.parametrize("keep_rejected", ["thumbnail", "all", "none"])
async def test_a_candidate_that_waited_for_its_group_is_compared_once_more(
    keep_rejected: Any, tmp_path: Path
) -> None:
    backend = Waits()

    result = await TwoTierPipeline(
        backend,
        filters=[FirstIsBest(), NearDuplicate()],
        checkpoint=tmp_path,
        budget=Budget.unlimited(),
        concurrency=1 + 1,
        keep_rejected=keep_rejected,
    ).run([Job(id="a", prompt="a", best_of=2), Job(id="b", prompt="b")], progress=backend.hear)

    [rejected] = [one for one in candidates(tmp_path) if one.reason]
    assert result.ended is Ended.COMPLETE
    assert result.delivered == 2
    assert rejected.job_id == "a"
    assert rejected.reason == "near-duplicate (of image 1 of job 'b': 0 of 64 bits differ)"
    assert (rejected.thumbnail is not None) == (keep_rejected == "thumbnail")
    assert (rejected.path is not None) == (keep_rejected == "all")
    assert backend.calls == {"a": 3, "b": 1}
    with Checkpoint.read(tmp_path) as checkpoint:
        assert checkpoint.verify().is_clean
        assert checkpoint.cost_model().accepted == 2


class Paid:
    """Accepts everything for two cents."""

    name = "paid"
    worst_case_usd = Decimal("0.05")

    def __call__(self, candidate: Candidate) -> Verdict:
        return Verdict(accepted=True, score=1, usd=Decimal("0.02"))


class Literal:
    """Remembers pictures byte for byte, and has to look at one to compare it."""

    name = "literal"

    def __init__(self) -> None:
        self.known: set[str] = set()

    def __call__(self, candidate: Candidate) -> bool:
        return candidate.sha256 not in self.known

    def seen(self, image: AcceptedImage, memo: bytes) -> None:
        self.known.add(image.sha256)


NESTED: dict[str, Callable[[Any], Any]] = {
    "all_of": lambda one: AllOf(Paid(), one),
    "any_of": AnyOf,
    "not": lambda one: Not(Not(one)),
    "only_for": lambda one: OnlyFor("", one),
    "score": lambda one: Score([(Paid(), 1), (one, 1)], threshold=1),
    "deep": lambda one: OnlyFor("", AllOf(Paid(), AnyOf(Not(Not(one))))),
    "alone": lambda one: one,
}


@pytest.mark.parametrize("inner", [NearDuplicate, Literal])
@pytest.mark.parametrize("nesting", NESTED)
async def test_it_is_compared_once_more_whatever_the_nesting_and_nothing_is_paid_twice(
    nesting: str, inner: Any, tmp_path: Path
) -> None:
    backend = Waits()

    result = await TwoTierPipeline(
        backend,
        filters=[NESTED[nesting](inner()), FirstIsBest()],
        checkpoint=tmp_path,
        budget=Budget.unlimited(),
        concurrency=1 + 1,
    ).run([Job(id="a", prompt="a", best_of=2), Job(id="b", prompt="b")], progress=backend.hear)

    [rejected] = [one for one in candidates(tmp_path) if one.reason]
    with Checkpoint.read(tmp_path) as checkpoint:
        judged = [line for line in checkpoint.ledger() if line.kind is LineKind.JUDGE]
        assert checkpoint.verify().is_clean
    assert result.delivered == 2
    assert rejected.job_id == "a"
    assert backend.calls == {"a": 3, "b": 1}
    assert len(judged) == (4 if nesting in {"all_of", "score", "deep"} else 0)


@pytest.mark.parametrize("nesting", NESTED)
async def test_it_is_compared_once_more_when_a_later_run_decides_its_group(
    nesting: str, tmp_path: Path
) -> None:
    backend = Waits()
    backend.accepted.set()
    jobs = [Job(id="a", prompt="a", best_of=2), Job(id="b", prompt="b")]

    def pipeline() -> TwoTierPipeline:
        return TwoTierPipeline(
            backend,
            filters=[NESTED[nesting](NearDuplicate()), FirstIsBest()],
            checkpoint=tmp_path,
            budget=Budget.unlimited(),
            concurrency=1,
        )

    await pipeline().calibrate(jobs, images=1)
    backend.calls["a"] += 1  # so that `b` need not wait for it
    await pipeline().run(jobs[1:])
    result = await pipeline().run(jobs)

    with Checkpoint.read(tmp_path) as checkpoint:
        judged = [line for line in checkpoint.ledger() if line.kind is LineKind.JUDGE]
    assert result.delivered == 2
    assert [one.job_id for one in candidates(tmp_path) if one.reason] == ["a"]
    assert len(judged) == (4 if nesting in {"all_of", "score", "deep"} else 0)


async def test_what_was_not_asked_before_is_asked_when_it_decides(tmp_path: Path) -> None:
    """The first time the picture was new, and its price was saved."""
    backend = Waits()

    result = await TwoTierPipeline(
        backend,
        filters=[AnyOf(NearDuplicate(), Paid()), FirstIsBest()],
        checkpoint=tmp_path,
        budget=Budget.unlimited(),
        concurrency=1 + 1,
    ).run([Job(id="a", prompt="a", best_of=2), Job(id="b", prompt="b")], progress=backend.hear)

    with Checkpoint.read(tmp_path) as checkpoint:
        judged = [line for line in checkpoint.ledger() if line.kind is LineKind.JUDGE]
    assert result.delivered == 2
    assert backend.calls == {"a": 2, "b": 1}
    assert [line.usd for line in judged] == [Decimal("0.02")]


class SameDrafts:
    """Draws the same first draft for every job, and finishes once all of them have passed."""

    def __init__(self, jobs: int) -> None:
        self.calls: Counter[str] = Counter()
        self._missing = jobs
        self._all_passed = anyio.Event()

    async def generate(self, request: ImageRequest) -> Reply:
        number = 7
        if request.input_images:
            await self._all_passed.wait()
            number = 8
        else:
            self.calls[request.prompt] += 1
            nth = self.calls[request.prompt]
            number = 5 if nth == 1 else 100 * nth + ord(request.prompt)
        usage = TokenUsage(prompt_tokens=1, image_tokens=1120, text_tokens=0)
        return Reply(images=(saved(look(number), "PNG"),), usage=usage)

    async def aclose(self) -> None:
        """Nothing is held open."""

    def hear(self, event: Event) -> None:
        if isinstance(event, CandidatePassed):
            self._missing -= 1
            if not self._missing:
                self._all_passed.set()


def never(candidate: Candidate) -> bool:
    return False


@pytest.mark.parametrize("nesting", NESTED)
async def test_of_two_drafts_alike_one_is_delivered_in_place_of_its_finish(
    nesting: str, tmp_path: Path
) -> None:
    backend = SameDrafts(jobs=2)

    result = await TwoTierPipeline(
        backend,
        quality="quality",
        route="finish",
        filters=[NESTED[nesting](NearDuplicate())],
        finish_filters=[never],
        finish_fallback=True,
        checkpoint=tmp_path,
        budget=Budget.unlimited(),
        concurrency=2,
    ).run([Job(id="a", prompt="a"), Job(id="b", prompt="b")], progress=backend.hear)

    twins = [one for one in candidates(tmp_path) if one.stage == "draft" and one.reason]
    assert result.ended is Ended.COMPLETE
    assert result.delivered == 2
    assert len(twins) == 1
    assert sorted(backend.calls.values()) == [1, 2]
    with Checkpoint.read(tmp_path) as checkpoint:
        assert checkpoint.verify().is_clean
        assert checkpoint.cost_model().accepted == 2


async def test_a_draft_is_compared_too_where_only_finishes_are(tmp_path: Path) -> None:
    backend = SameDrafts(jobs=2)

    result = await TwoTierPipeline(
        backend,
        quality="quality",
        route="finish",
        filters=[],
        finish_filters=[never, NearDuplicate()],
        finish_fallback=True,
        checkpoint=tmp_path,
        budget=Budget.unlimited(),
        concurrency=2,
    ).run([Job(id="a", prompt="a"), Job(id="b", prompt="b")], progress=backend.hear)

    assert result.delivered == 2
    assert sorted(backend.calls.values()) == [1, 2]


class Sharpens:
    """Draws one picture per job, and finishes it to a larger file of the same."""

    async def generate(self, request: ImageRequest) -> Reply:
        of = request.prompt.rpartition(" ")[2]
        file_format = "PNG" if request.input_images else "JPEG"
        usage = TokenUsage(prompt_tokens=1, image_tokens=1120, text_tokens=0)
        return Reply(images=(saved(look(int(of)), file_format),), usage=usage)

    async def aclose(self) -> None:
        """Nothing is held open."""


async def test_the_finish_of_a_chosen_image_may_look_like_it_but_not_like_another(
    tmp_path: Path,
) -> None:
    def pipeline(*filters: Any) -> TwoTierPipeline:
        return TwoTierPipeline(
            Sharpens(),
            quality="quality",
            route="lite",
            filters=filters,
            checkpoint=tmp_path,
            budget=Budget.unlimited(),
        )

    jobs = [Job(id="a", prompt="a 5"), Job(id="b", prompt="b 6"), Job(id="c", prompt="c 5")]
    first = await pipeline().run(jobs)

    finished = await pipeline(NearDuplicate()).finish(
        image for image in first.images if image.job_id in "ab"
    )

    assert finished.delivered == 1
    assert finished.jobs["b-1-finished"].status is JobStatus.DONE
    assert "near-duplicate (of image 1 of job 'c'" in finished.jobs["a-1-finished"].reason


async def test_a_draft_that_cannot_be_compared_is_left_for_the_next_run(tmp_path: Path) -> None:
    class Broken(Literal):
        def again(self, memo: bytes) -> Verdict:
            raise ValueError("no idea")

        def __call__(self, candidate: Candidate) -> Any:
            return Verdict(accepted=True, memo=b"1")

    def pipeline(one: Any) -> TwoTierPipeline:
        return TwoTierPipeline(
            ScriptedBackend(),
            quality="quality",
            route="finish",
            filters=[one],
            finish_filters=[never],
            finish_fallback=True,
            checkpoint=tmp_path,
            budget=Budget.unlimited(),
        )

    first = await pipeline(Broken()).run([Job(id="a", prompt="a")])
    second = await pipeline(Literal()).run([Job(id="a", prompt="a")])

    assert first.jobs["a"].status is JobStatus.PENDING
    assert "no idea" in first.jobs["a"].reason
    assert first.jobs["a"].slots == 2
    assert second.delivered == 1
    with Checkpoint.read(tmp_path) as checkpoint:
        assert checkpoint.verify().is_clean


async def test_a_filter_that_cannot_compare_again_leaves_the_candidate_in_hand(
    tmp_path: Path,
) -> None:
    class Broken(FirstIsBest):
        def __call__(self, candidate: Candidate) -> Verdict:
            return Verdict(accepted=True, memo=b"1")

        def seen(self, image: AcceptedImage, memo: bytes) -> None:
            """Learn nothing."""

        def again(self, memo: bytes) -> Verdict:
            raise ValueError("no idea")

    def pipeline(*filters: Any) -> TwoTierPipeline:
        return TwoTierPipeline(
            ScriptedBackend(), filters=filters, checkpoint=tmp_path, budget=Budget.unlimited()
        )

    first = await pipeline(Broken()).run([Job(id="a", prompt="a", best_of=2)])
    second = await pipeline().run([Job(id="a", prompt="a", best_of=2)])

    assert first.jobs["a"].status is JobStatus.PENDING
    assert [one.message for one in first.failures] == [
        "Filter first_is_best raised ValueError: no idea"
    ]
    assert second.delivered == 1
    assert second.jobs["a"].slots == 2


async def test_what_an_earlier_run_accepted_is_not_accepted_again(tmp_path: Path) -> None:
    def pipeline(same: int, *filters: NearDuplicate) -> TwoTierPipeline:
        return TwoTierPipeline(
            Copyist(same), filters=filters, checkpoint=tmp_path, budget=Budget.unlimited()
        )

    await pipeline(1, NearDuplicate()).run([Job(id="first", prompt="a fox")])
    second = await pipeline(2, NearDuplicate()).run([Job(id="second", prompt="a hen")])

    reasons = [one.reason for one in candidates(tmp_path) if one.reason]
    assert second.delivered == 1
    assert reasons == ["near-duplicate (of image 1 of job 'first': 0 of 64 bits differ)"] * 2


async def test_what_was_accepted_without_the_filter_counts_too(tmp_path: Path) -> None:
    def pipeline(same: int, *filters: NearDuplicate) -> TwoTierPipeline:
        return TwoTierPipeline(
            Copyist(same), filters=filters, checkpoint=tmp_path, budget=Budget.unlimited()
        )

    await pipeline(1).run([Job(id="first", prompt="a fox")])
    second = await pipeline(1, NearDuplicate()).run([Job(id="second", prompt="a hen")])

    assert second.delivered == 1
    assert [one.filter_name for one in candidates(tmp_path) if one.reason] == ["near_duplicate"]
