"""Plays a batch in memory with the decision code of the library: no HTTP, no disk, no second rule.

The board hands out steps, jobs count and stop themselves, the router chooses tiers and learns. Only
what costs money or takes time is left out: a slot is a look at the prompt's luck, and it lands when
so many others are in flight that the oldest one has to.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

import anyio

from benchmarks.economics.populations import model_of
from nanobatch.checkpoint import InHand, JobStatus, TakenJob
from nanobatch.cost import Stage
from nanobatch.job import Route
from nanobatch.models import Tier
from nanobatch.models.money import nano_of_usd
from nanobatch.pipeline.board import Board
from nanobatch.pipeline.control import Control
from nanobatch.pipeline.intake import Intake
from nanobatch.pipeline.plan import Plan
from nanobatch.pipeline.progress import JobProgress
from nanobatch.pipeline.steps import DrawStep
from nanobatch.policy import StopRule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.economics.populations import Prompt
    from nanobatch import Job
    from nanobatch.pipeline.closing import Closing
    from nanobatch.policy import Router

__all__ = ["Played", "play"]


@dataclass(slots=True, kw_only=True)
class Played:
    """What a batch came to."""

    usd: Decimal = Decimal(0)
    accepted: int = 0
    surplus: int = 0
    """Slots that passed when their job had all it wants."""
    draws: list[tuple[str, Tier]] = field(default_factory=list[tuple[str, Tier]])
    """Job and tier of every slot, in the order of their choice."""
    usd_of: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    """USD by job."""
    slots_of: Counter[str] = field(default_factory=Counter[str])
    accepted_of: Counter[str] = field(default_factory=Counter[str])
    stopped: list[str] = field(default_factory=list[str])
    rounds: int = 0
    """How long the batch took if every slot takes equally long, in slots of one worker."""


def play(
    prompts: Sequence[Prompt],
    *,
    router: Router,
    usd: Mapping[Tier, Decimal],
    stop: StopRule | None = None,
    delay: int = 16,
    hurry: bool = False,
    route: Route = Route.AUTO,
) -> Played:
    """Play a batch to its end.

    Args:
        prompts: The batch, in the order of its input.
        router: Chooses tiers; it goes on learning.
        usd: What a slot costs on each tier.
        stop: When a prompt has had enough.
        delay: Slots in flight at a time: so many choices are made before a result is known.
        hurry: Whether idle workers help.
        route: The route of all jobs.
    """
    return anyio.run(_play, prompts, router, usd, stop or StopRule(), delay, hurry, route)


async def _play(
    prompts: Sequence[Prompt],
    router: Router,
    usd: Mapping[Tier, Decimal],
    stop: StopRule,
    delay: int,
    hurry: bool,  # noqa: FBT001 - anyio.run passes no keywords
    route: Route,
) -> Played:
    plan = Plan(
        models={tier: model_of(tier, usd[tier]) for tier in Tier},
        default_route=route,
        filters=(),
        finish_filters=(),
    )
    of_job = {prompt.job.id: prompt for prompt in prompts}
    played = Played()

    async def start(jobs: list[Job]) -> list[JobProgress]:
        return [JobProgress(taken=_taken(job), plan=plan, stop=stop, router=router) for job in jobs]

    async def conclude(job: JobProgress, closing: Closing) -> None:
        if closing.status is JobStatus.STOPPED:
            played.stopped.append(job.job.id)

    intake = Intake(prompt.job for prompt in prompts)
    intake.close()  # no async input will follow
    board = Board(
        intake,
        control=Control(),
        start=start,
        conclude=conclude,
        hurry_slots=delay if hurry else 0,
    )
    in_flight: deque[tuple[int, DrawStep]] = deque()
    drawn = Counter[tuple[str, Tier]]()
    while True:
        while len(in_flight) < delay and (step := await board.poll()) is not None:
            assert isinstance(step, DrawStep)  # noqa: S101 - nothing is finished or picked here
            in_flight.append((played.rounds + 1, step))
            played.draws.append((step.job.job.id, step.draw.tier))
        if not in_flight:
            return played
        played.rounds, step = in_flight.popleft()
        key = (step.job.job.id, step.draw.tier)
        is_passed = of_job[key[0]].passes(key[1], drawn[key])
        drawn[key] += 1
        _land(step, played, usd[key[1]], is_passed=is_passed)
        board.touch(step.job)


def _land(step: DrawStep, played: Played, usd: Decimal, *, is_passed: bool) -> None:
    job, tier = step.job, step.draw.tier
    if is_passed and job.takes_more:
        job.delivered += 1
        played.accepted += 1
        played.accepted_of[job.job.id] += 1
    elif is_passed:
        job.keep(_in_hand())
        played.surplus += 1
    played.usd += usd
    played.usd_of[job.job.id] = played.usd_of.get(job.job.id, Decimal(0)) + usd
    played.slots_of[job.job.id] += 1
    usd_nano = nano_of_usd(usd)
    job.land(Stage.CANDIDATE, tier, is_billed=True, is_passed=is_passed, usd_nano=usd_nano)


def _taken(job: Job) -> TakenJob:
    return TakenJob(
        job=job,
        number=int(job.id) + 1,
        stem=job.id,
        attempt=1,
        allowance=1,
        status=JobStatus.PENDING,
        reason="",
        delivered=0,
    )


def _in_hand() -> InHand:
    return InHand(candidate=0, slot=0, stage=Stage.CANDIDATE, file="surplus", sha256="", score=None)
