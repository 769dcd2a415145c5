"""Of pictures that look alike one is accepted, whoever comes first and whichever run it was in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from nanobatch import Budget, Ended, ImageRequest, Job, Reply, TokenUsage, TwoTierPipeline
from nanobatch.filters import NearDuplicate
from tests.filters.files import saved
from tests.filters.looks import look
from tests.support import candidates

if TYPE_CHECKING:
    from pathlib import Path

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
