"""The in-memory driver of the benchmark decides as the pipeline does, slot by slot."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.economics.play import play
from benchmarks.economics.populations import Population
from nanobatch import JobEnded, JobStatus, ModelRegistry, StopRule, Tier
from nanobatch.policy import Router
from tests.support import LITE, PRO, candidates, pipeline_on, simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from benchmarks.economics.populations import Prompt
    from nanobatch import Event, Job
    from nanobatch.simulator import Call

USD = {Tier.LITE: Decimal("0.0336"), Tier.QUALITY: Decimal("0.1344")}


def _registry(folder: Path) -> ModelRegistry:
    """Return the registry with prices for images only: a slot then costs what the list says."""
    config = folder / "nanobatch.toml"
    config.write_text(
        "".join(
            f'[[models."{model}".prices]]\neffective_from = 2026-11-01\ninput = "0"\n'
            f'text_output = "0"\nimage_output = "{usd}"\n'
            for model, usd in ((LITE, 30), (PRO, 120))
        )
    )
    return ModelRegistry.load(config)


@pytest.mark.parametrize("seed", range(3))
async def test_the_driver_draws_the_same_tiers_in_the_same_order(tmp_path: Path, seed: int) -> None:
    """One job after the other, so that the order of answers cannot differ."""
    population = Population(prompts=24, tags=3, hard_tags=1, hopeless=0.15, ratio=4, wants=(1, 2))
    _, prompts = population.draw(seed)
    prompts = [_with_want(prompt, 1) for prompt in prompts]
    by_text = {prompt.job.prompt: prompt for prompt in prompts}
    ended = anyio.Event()
    stopped: list[str] = []

    def luck(call: Call) -> float:
        tier = Tier.LITE if call.model == LITE else Tier.QUALITY
        return float(by_text[call.prompt].passes(tier, call.nth))

    async def stream() -> AsyncIterator[Job]:
        nonlocal ended
        for prompt in prompts:
            ended = anyio.Event()
            yield prompt.job
            await ended.wait()

    def hear(event: Event) -> None:
        if isinstance(event, JobEnded):
            ended.set()
            if event.status is JobStatus.STOPPED:
                stopped.append(event.job_id)

    async with simulator(accept_rate=luck) as server:
        registry = _registry(tmp_path)
        pipeline = pipeline_on(server, tmp_path / "run", registry=registry, concurrency=1)
        result = await pipeline.run(stream(), hear)
    played = await anyio.to_thread.run_sync(
        lambda: play(prompts, router=Router(), usd=USD, delay=1)
    )

    drawn = [(one.job_id, one.tier) for one in candidates(tmp_path / "run")]
    assert drawn == played.draws
    assert {tier for _, tier in drawn} == {Tier.LITE, Tier.QUALITY}
    assert stopped == played.stopped
    assert stopped
    assert result.spend.confirmed_usd == played.usd
    assert result.delivered == played.accepted


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.booleans(),
    st.integers(1, 8),
    st.sampled_from([0.0, 0.3]),
)
def test_a_batch_delivers_no_more_than_is_wanted_and_stops_in_time(
    seed: int, delay: int, hurry: bool, slots: int, hopeless: float
) -> None:
    population = Population(prompts=25, tags=3, hard_tags=1, hopeless=hopeless)
    _, prompts = population.draw(seed)
    wants = {prompt.job.id: prompt.job.want for prompt in prompts}

    played = play(
        prompts,
        router=Router(),
        usd=USD,
        stop=StopRule(slots_per_accepted=slots),
        delay=delay,
        hurry=hurry,
    )

    assert hurry or played.surplus == 0
    for job, want in wants.items():
        accepted = played.accepted_of[job]
        assert accepted <= want
        assert (accepted == want) != (job in played.stopped)
        # What passes beyond the want earns slots too, but a job that has all it wants draws none.
        assert played.slots_of[job] <= slots * (accepted + 1)
        if job in played.stopped:
            assert played.slots_of[job] == slots * (accepted + 1)


def _with_want(prompt: Prompt, want: int) -> Prompt:
    from dataclasses import replace

    return replace(prompt, job=prompt.job.model_copy(update={"want": want}))
