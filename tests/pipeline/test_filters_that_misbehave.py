"""Whatever a filter does to a paid image, the image is judged in the end and never bought again."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from nanobatch import Candidate, Ended, FilterError, Job, JobStatus, Verdict
from nanobatch.filters import Isolated, MinSize
from nanobatch.pipeline.panel import FILTER_THREADS
from tests.filters import natives
from tests.support import pipeline_on, simulator, states

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from nanobatch import AcceptedImage


@pytest.mark.parametrize("unruly", [natives.crash, natives.hang, natives.quit_at_once])
async def test_a_crash_or_hang_in_native_code_keeps_the_image_for_the_next_run(
    unruly: Any, tmp_path: Path
) -> None:
    async with simulator() as server:
        first = await pipeline_on(
            server,
            tmp_path,
            filters=[Isolated(unruly)],
            filter_timeout_seconds=3 if unruly is natives.hang else 60,
        ).run([Job(id="a", prompt="a fox")])
        kept = states(tmp_path)
        second = await pipeline_on(server, tmp_path, filters=[]).run([Job(id="a", prompt="a fox")])

    assert first.jobs["a"].status is JobStatus.PENDING
    assert [failure.kind for failure in first.failures] == ["filter_error"]
    assert kept == {"staged": 1}
    assert second.ended is Ended.COMPLETE
    assert second.delivered == 1
    assert server.bill.requests == 1


@pytest.mark.parametrize("vandal", [natives.shrink, natives.close])
async def test_what_a_filter_does_to_the_picture_the_next_one_does_not_see(
    vandal: Any, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []

    def look(candidate: Candidate) -> bool:
        seen.append(candidate.image.size)
        return True

    async with simulator(pixels=0.125) as server:
        result = await pipeline_on(
            server,
            tmp_path,
            quality=None,
            filters=[look, vandal, look, MinSize(width_px=128, height_px=128)],
        ).run([Job(id="a", prompt="a fox")])

    assert seen == [(128, 128), (128, 128)]
    [image] = result.images
    assert (image.width_px, image.height_px) == (128, 128)


async def test_a_filter_that_writes_pixels_directly_is_told_not_to(tmp_path: Path) -> None:
    def paint(candidate: Candidate) -> bool:
        pixels: Any = candidate.image.load()
        pixels[0, 0] = (0, 0, 0)
        return True

    async with simulator() as server:
        result = await pipeline_on(server, tmp_path, filters=[paint]).run(
            [Job(id="a", prompt="a fox")]
        )

    assert [failure.message for failure in result.failures] == [
        "Filter paint raised ValueError: image is readonly"
    ]
    assert states(tmp_path) == {"staged": 1}


async def test_a_filter_that_leaves_the_program_ends_its_verdict_only(tmp_path: Path) -> None:
    def leave(candidate: Candidate) -> bool:
        if candidate.job.id == "a":
            sys.exit("enough")
        return True

    async def leave_later(candidate: Candidate) -> bool:
        return leave(candidate)

    async with simulator() as server:
        jobs = [Job(id="a", prompt="a fox"), Job(id="b", prompt="a hen")]
        result = await pipeline_on(server, tmp_path, filters=[leave, leave_later]).run(jobs)

    assert result.jobs["a"].status is JobStatus.PENDING
    assert result.jobs["b"].status is JobStatus.DONE
    assert [failure.message for failure in result.failures] == [
        "Filter leave raised SystemExit: enough"
    ]


async def test_waiting_for_a_thread_is_not_held_against_a_filter(tmp_path: Path) -> None:
    def slow(candidate: Candidate) -> bool:
        time.sleep(0.3)  # six rounds of them take longer than one may
        return True

    jobs = [Job(id=f"j{n}", prompt=f"a fox {n}") for n in range(6 * FILTER_THREADS)]
    async with simulator(pixels=0.05) as server:
        result = await pipeline_on(
            server,
            tmp_path,
            quality=None,
            filters=[slow],
            filter_timeout_seconds=1.2,
            concurrency=3 * FILTER_THREADS,
        ).run(jobs)

    assert result.delivered == len(jobs)
    assert list(result.failures) == []


async def test_a_filter_that_is_cancelled_inside_fails_and_the_others_go_on(tmp_path: Path) -> None:
    async def judge(candidate: Candidate) -> bool:
        if candidate.job.id == "j3":
            call = asyncio.ensure_future(anyio.sleep_forever())
            call.cancel()
            await call
        return True

    jobs = [Job(id=f"j{n}", prompt=f"a fox {n}") for n in range(20)]
    async with simulator(pixels=0.05) as server:
        pipeline = pipeline_on(server, tmp_path, quality=None, filters=[judge], concurrency=2)
        first = await pipeline.run(jobs)
        second = await pipeline_on(server, tmp_path, quality=None, filters=[]).run(jobs)

    assert first.ended is Ended.COMPLETE
    assert first.delivered == 19
    assert "judge raised CancelledError" in first.jobs["j3"].reason
    assert second.delivered == 20
    assert server.bill.requests == 20


async def test_a_memory_that_hangs_is_given_up_and_the_image_is_accepted(tmp_path: Path) -> None:
    class Hangs:
        name = "hangs"

        def __call__(self, candidate: Candidate) -> bool:
            return True

        def seen(self, image: AcceptedImage, memo: bytes) -> None:
            threading.Event().wait()

    async with simulator(pixels=0.05) as server:
        result = await pipeline_on(
            server, tmp_path, filters=[Hangs()], filter_timeout_seconds=0.2
        ).run([Job(id="a", prompt="a fox")])

    assert result.jobs["a"].status is JobStatus.DONE
    assert [failure.message for failure in result.failures] == [
        "Filter hangs did not answer within 0.2 s."
    ]


class Hears:
    """Remembers, and does something for every image it is told of."""

    name = "hears"

    def __init__(self, at_each: Any = lambda _: None) -> None:
        self.told: list[tuple[str, bytes]] = []
        self.at_each = at_each

    def __call__(self, candidate: Candidate) -> Verdict:
        return Verdict(accepted=True, memo=candidate.job.id.encode())

    def seen(self, image: AcceptedImage, memo: bytes) -> None:
        self.at_each(len(self.told))
        self.told.append((image.job_id, memo))


@pytest.fixture
async def of_nine(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Return a run over ten jobs in a checkpoint that holds the images of nine of them."""
    async with simulator() as server:
        jobs = [Job(id=f"j{number}", prompt="a fox") for number in range(10)]
        await pipeline_on(server, tmp_path, filters=[Hears()], concurrency=1).run(jobs[:9])

        async def run(*filters: Any, **options: Any) -> Any:
            return await pipeline_on(server, tmp_path, filters=filters, **options).run(jobs)

        yield run


@pytest.mark.at_once("results of a batch job come in any order")
async def test_a_filter_is_told_of_earlier_images_in_order_and_in_one_thread(
    of_nine: Callable[..., Any],
) -> None:
    told_in: list[threading.Thread] = []
    filters = [Hears(lambda _: told_in.append(threading.current_thread())), Hears()]
    filters[1].name = "hears too"

    await of_nine(*filters)

    expected = [(f"j{number}", f"j{number}".encode()) for number in range(10)]
    assert filters[0].told == expected
    assert [one for one, _ in filters[1].told] == [one for one, _ in expected]
    assert len(set(told_in[:9])) == 1


async def test_the_deadline_is_of_one_image_and_not_of_all_it_is_told_of(
    of_nine: Callable[..., Any],
) -> None:
    slow = Hears(lambda _: time.sleep(0.25))

    result = await of_nine(slow, filter_timeout_seconds=1)

    assert result.delivered == 10
    assert len(slow.told) == 10


@pytest.mark.at_once("results of a batch job come in any order")
@pytest.mark.parametrize("at", [0, 4])
async def test_a_filter_that_hangs_over_an_earlier_image_ends_the_run_and_names_it(
    at: int, of_nine: Callable[..., Any]
) -> None:
    hangs = Hears(lambda nth: time.sleep(30 * (nth == at)))

    with pytest.raises(
        FilterError, match=rf"hears did not answer within 0\.5 s\. .* image j{at}-1\."
    ):
        await of_nine(hangs, filter_timeout_seconds=0.5)


@pytest.mark.at_once("results of a batch job come in any order")
async def test_a_filter_that_raises_over_an_earlier_image_ends_the_run_and_names_it(
    of_nine: Callable[..., Any],
) -> None:
    def refuse(nth: int) -> None:
        if nth == 7:
            raise ValueError("no more")

    with pytest.raises(FilterError, match=r"ValueError: no more\. It was told of .* image j7-1\."):
        await of_nine(Hears(refuse))
