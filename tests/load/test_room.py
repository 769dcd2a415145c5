"""Answers share the room in the memory: whoever finds none waits, and nobody waits for ever."""

from __future__ import annotations

import gc
import traceback
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from nanobatch import ProviderError, TransientError
from nanobatch.backend import Gemini, ImageRequest
from nanobatch.backend.room import Room
from nanobatch.simulator import answers
from tests.load import hostile
from tests.support import LITE, linux_only, memory_taken, simulator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nanobatch.simulator import Answer

both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


async def _is_waiting(work: Awaitable[None]) -> bool:
    with anyio.move_on_after(0.01):
        await work
        return False
    return True


@both
async def test_only_the_oldest_answer_may_pass_the_limit(anyio_backend: str) -> None:
    room = Room(100)

    with room.share() as oldest, room.share() as second:
        await second.take(60)
        await oldest.take(40)

        assert await _is_waiting(second.take(1))
        await oldest.take(1_000)
        assert room.taken_bytes == 1_100


@both
async def test_answers_of_usual_size_never_wait(anyio_backend: str) -> None:
    room = Room(100, free_bytes=30)

    with room.share(), room.share() as second, room.share() as third:
        await second.take(30)
        await second.take(100)
        await third.take(30)

        assert await _is_waiting(third.take(1))
        assert room.taken_bytes == 100
    assert room.taken_bytes == 0


@both
async def test_what_an_answer_took_is_free_again_when_it_is_over(anyio_backend: str) -> None:
    room = Room(100)

    with room.share() as oldest:
        await oldest.take(100)
        with room.share() as second:
            assert await _is_waiting(second.take(1))
        with room.share(), pytest.raises(KeyError):
            raise KeyError

    assert room.taken_bytes == 0


@both
async def test_the_next_one_becomes_the_oldest_and_goes_on(anyio_backend: str) -> None:
    room = Room(10)
    order: list[int] = []

    async def read(number: int) -> None:
        with room.share() as share:
            for _ in range(5):
                await share.take(10)
                await anyio.lowlevel.checkpoint()
            order.append(number)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(read, number)

    assert sorted(order) == list(range(20))
    assert room.taken_bytes == 0


@both
async def test_a_call_that_is_cancelled_while_it_waits_leaves_nothing_behind(
    anyio_backend: str,
) -> None:
    room = Room(10)

    with room.share() as oldest:
        await oldest.take(10)
        with room.share() as second, anyio.move_on_after(0.01):
            await second.take(1)
        with room.share() as third:
            assert await _is_waiting(third.take(1))

    assert room.taken_bytes == 0


async def _fault(answer: Answer) -> ProviderError:
    async with (
        simulator(answer=lambda _: answer) as server,
        Gemini(api_key="k", base_url=server.base_url, timeout_seconds=30) as gemini,
    ):
        with pytest.raises(ProviderError) as caught:
            await gemini.generate(ImageRequest(model=LITE, prompt="a fox"))
    return caught.value


async def test_json_of_very_many_values_is_not_parsed() -> None:
    fault = await _fault(answers.json_value('{"candidates": [' + "{}," * 100_001 + "{}]}"))

    assert (fault.kind, fault.is_unknown_money) == ("unreadable", True)


@pytest.mark.parametrize(
    ("beginning", "kept_bytes"),
    [("{", hostile.MIB), ('{"parts": [{"inlineData": {"data": "', 24 * hostile.MIB)],
)
async def test_of_a_large_answer_that_nobody_can_read_only_the_beginning_is_kept(
    beginning: str, kept_bytes: int
) -> None:
    fault = await _fault(answers.json_value(beginning + "welcome " * (30 * hostile.MIB // 8)))

    assert isinstance(fault, TransientError)
    assert fault.body.startswith(beginning.encode() + b"welcome ")
    assert len(fault.body) == kept_bytes


@pytest.mark.parametrize("answer", [hostile.large_text, answers.endless_body])
async def test_a_fault_does_not_hold_the_answer_it_came_from(answer: Callable[[], Answer]) -> None:
    fault = await _fault(answer())

    held = [
        len(value)
        for frame, _ in traceback.walk_tb(fault.__traceback__)
        for value in frame.f_locals.values()
        if isinstance(value, bytes | bytearray | str)
    ]
    assert max(held, default=0) < hostile.MIB
    assert fault.__context__ is None


@linux_only
@pytest.mark.parametrize("timeout_seconds", [30, 0.5])
async def test_an_answer_that_was_cut_is_gone_before_any_garbage_is_collected(
    timeout_seconds: float,
) -> None:
    request = ImageRequest(model=LITE, prompt="a fox")
    written = hostile.Written(offered_bytes=40 * hostile.MIB)
    kinds = {30: answers.endless_body(), 0.5: hostile.large_body(written, then_stalls=True)}

    async with (
        simulator(answer=lambda _: kinds[timeout_seconds]) as server,
        Gemini(api_key="k", base_url=server.base_url, timeout_seconds=timeout_seconds) as gemini,
    ):
        await gemini.count_tokens(model=LITE, prompt="warm up")
        gc.disable()
        try:
            with memory_taken() as taken, pytest.raises(TransientError) as caught:
                await gemini.generate(request)
        finally:
            gc.enable()

    assert caught.value.kind == {30: "too_large", 0.5: "timeout"}[timeout_seconds]
    assert taken.peak_mib > 4
    assert taken.left_mib < 4
