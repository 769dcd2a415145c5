"""What a batch may cost, before anything is spent."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from nanobatch.job import Route
from nanobatch.models import Tier, TokenUsage
from nanobatch.policy import Router

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nanobatch.job import Job
    from nanobatch.models import Model, ModelRegistry
    from nanobatch.pipeline.options import Options
    from nanobatch.pipeline.plan import Plan

__all__ = ["Forecast", "forecast"]

ASSUMED_ACCEPT_RATE = Decimal("0.70")
ASSUMED_REGENERATION_RATE = Decimal("0.08")
TEXT_TOKENS = (88, 630)
"""Text tokens beside one image, least and most.

Source: reference page "Gemini image API: facts" 0.11, collected 2026-11-23, unverified.
"""
CALLS_PER_SLOT = 2
"""At most: the first and one regeneration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What some jobs may cost, USD."""

    images: int
    """Images the jobs want."""

    low_usd: Decimal
    """If every first candidate were accepted."""

    expected_usd: Decimal
    """At the measured rates of the registry, or at assumed ones: see `is_measured`."""

    high_usd: Decimal
    """If the stop rule ended every job at its last chance, but never more than the whole budget.

    What earlier runs of the checkpoint have spent is not subtracted: the forecast opens nothing.
    """

    is_measured: bool
    """Whether every rate used was measured; if not, run a small batch first."""

    def __str__(self) -> str:
        """Say it in a sentence."""
        basis = "measured rates" if self.is_measured else "assumed rates (70 % accepted)"
        return (
            f"{self.images} images: about {self.expected_usd:.2f} USD at {basis}, "
            f"{self.low_usd:.2f} to {self.high_usd:.2f} USD."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One way to get a wanted image: how many passing images it takes on one model."""

    tier: Tier
    model: Model
    size: str
    passing: int


def forecast(jobs: Iterable[Job], options: Options, registry: ModelRegistry) -> Forecast:
    """Add up what each job may cost."""
    images = 0
    low = expected = high = Decimal(0)
    is_measured = True
    for job in jobs:
        options.plan.check(job)
        images += job.want
        steps = _steps(job, options.plan)
        for step in steps:
            cheap, dear = (_usd_per_call(job, step, tokens) for tokens in TEXT_TOKENS)
            role = registry.rates.get(step.tier) or registry.rates.get(step.model.id)
            is_measured = is_measured and role is not None
            accept = role.accept if role else ASSUMED_ACCEPT_RATE
            regenerate = role.regenerate if role else ASSUMED_REGENERATION_RATE
            low += cheap * step.passing
            expected += (cheap + dear) / 2 * (1 + regenerate) / accept * step.passing
            slots = options.stop.cap(passing=step.passing - 1, wanted=step.passing)
            high += _dearest(job, step, options.plan) * slots * CALLS_PER_SLOT
    cap = options.budget.usd
    return Forecast(
        images=images,
        low_usd=low,
        expected_usd=expected if cap is None else min(expected, cap),
        high_usd=high if cap is None else min(high, cap),
        is_measured=is_measured,
    )


def _steps(job: Job, plan: Plan) -> list[_Step]:
    draw = plan.next_draw(job, router=Router(plan.priors))
    if draw is None:
        return []
    passing = job.want * job.best_of
    steps = [_Step(tier=draw.tier, model=draw.model, size=draw.size, passing=passing)]
    if plan.route(job) is Route.FINISH:
        finish = plan.finish_draw(job)
        steps.append(
            _Step(tier=finish.tier, model=finish.model, size=finish.size, passing=job.want)
        )
    return steps


def _dearest(job: Job, step: _Step, plan: Plan) -> Decimal:
    """Return the most a call of the step costs; on `auto` the quality tier may take over."""
    usd = _usd_per_call(job, step, TEXT_TOKENS[1])
    quality = plan.models.get(Tier.QUALITY)
    if plan.route(job) is not Route.AUTO or quality is None:
        return usd
    if quality.makes(job.size, job.aspect_ratio):
        other = _Step(tier=Tier.QUALITY, model=quality, size=job.size, passing=0)
        usd = max(usd, _usd_per_call(job, other, TEXT_TOKENS[1]))
    return usd


def _usd_per_call(job: Job, step: _Step, text_tokens: int) -> Decimal:
    text = TokenUsage(
        prompt_tokens=len(job.prompt.encode()), image_tokens=0, text_tokens=text_tokens
    )
    return step.model.usd_per_image(step.size) + step.model.usd(text)
