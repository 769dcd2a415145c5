"""Chance is a function of seed, model, prompt and nth; rates are what they say."""

from __future__ import annotations

import random

import anyio
import pytest

from nanobatch.simulator import Simulator
from tests.simulator.wire import BANANA, LITE, body, contrast, files_of, send

pytestmark = pytest.mark.anyio

TINY = 0.02
FLAT = 4.0
"""Below this standard deviation of grey a picture shows nothing."""


async def _answers(simulator: Simulator, prompts: list[str]) -> dict[str, bytes]:
    """Ask all at once, in the given order of starting."""
    found: dict[str, bytes] = {}

    async def one(prompt: str) -> None:
        found[prompt] = (await send(simulator, body(prompt))).content

    async with anyio.create_task_group() as tasks:
        for prompt in prompts:
            tasks.start_soon(one, prompt)
    return found


async def test_answers_do_not_depend_on_the_order_of_arrival() -> None:
    prompts = [f"prompt {n}" for n in range(20)]
    shuffled = random.Random(1).sample(prompts, k=20)

    async with Simulator(seed=7, pixels=TINY, accept_rate=0.5, regenerate_rate=0.2) as simulator:
        first = await _answers(simulator, prompts)
    async with Simulator(seed=7, pixels=TINY, accept_rate=0.5, regenerate_rate=0.2) as simulator:
        second = await _answers(simulator, shuffled)
    async with Simulator(seed=8, pixels=TINY, accept_rate=0.5, regenerate_rate=0.2) as simulator:
        other = await _answers(simulator, prompts)

    assert first == second
    assert all(first[prompt] != other[prompt] for prompt in prompts)


async def test_the_accept_rate_is_the_share_of_good_images() -> None:
    good = {LITE: 0, BANANA: 0}
    async with Simulator(pixels=TINY, accept_rate={LITE: 0.7}) as simulator:
        for model in good:
            for n in range(100):
                file = files_of(await send(simulator, body(f"scene {n}"), model=model))[0]
                good[model] += contrast(file) > FLAT

    # Binomial(100, 0.7): 70 with a standard deviation of 4.6; five of them either way.
    assert 47 <= good[LITE] <= 93
    assert good[BANANA] == 100  # models that the mapping lacks are always good


async def test_rejectable_images_are_whole_and_nearly_flat() -> None:
    async with Simulator(pixels=TINY, accept_rate=0) as simulator:
        files = [files_of(await send(simulator, body(f"scene {n}")))[0] for n in range(20)]

    deviations = [contrast(file) for file in files]
    assert max(deviations) < 2
    assert min(deviations) == 0  # blank ones and dark ones, both
    assert max(deviations) > 0


async def test_broken_answers_are_empty_or_truncated() -> None:
    kinds: set[str] = set()
    async with Simulator(
        pixels=TINY, regenerate_rate=lambda call: float(call.nth == 0)
    ) as simulator:
        for n in range(16):
            candidate = (await send(simulator, body(f"scene {n}"))).json()["candidates"][0]
            again = (await send(simulator, body(f"scene {n}"))).json()["candidates"][0]
            kinds.add(candidate["finishReason"])
            assert again["finishReason"] == "STOP"

    assert kinds == {"NO_IMAGE", "STOP"}
    assert 16 < simulator.bill.images < 32  # the truncated ones are billed, the empty ones not


@pytest.mark.parametrize(
    ("setting", "name"),
    [({"accept_rate": 1.1}, "accept_rate"), ({"regenerate_rate": -0.1}, "regenerate_rate"),
     ({"latency_seconds": -1}, "latency_seconds"), ({"accept_rate": {LITE: 2}}, "accept_rate"),
     ({"accept_rate": float("nan")}, "accept_rate"), ({"drawings": 0}, "drawings"),
     ({"pixels": 0}, "pixels")],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(setting: dict[str, float], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Simulator(**setting)  # type: ignore[arg-type]  # wrong on purpose
