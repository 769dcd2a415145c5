"""What a batch may cost, before anything is spent."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from math import ceil
from typing import TYPE_CHECKING, cast

from nanobatch.backend import BatchBackend
from nanobatch.cost import CostModel, Forecast, Stage
from nanobatch.cost.exact import add_exactly, to_decimal
from nanobatch.models import Tier, TokenUsage
from nanobatch.models.model import INPUT_IMAGE_TOKENS
from nanobatch.pipeline.basis import basis_of
from nanobatch.pipeline.intake import checked_job, checked_jobs
from nanobatch.pipeline.learning import era_of, evidence_of
from nanobatch.pipeline.prompt_tokens import MAX_COUNTED, counted_per_estimated, estimated_tokens
from nanobatch.policy import BatchOptions, Router, expected_slots

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nanobatch.checkpoint import CheckpointReader, StageFigures
    from nanobatch.job import Job
    from nanobatch.models import MeasuredRates, Model, ModelRegistry
    from nanobatch.pipeline.basis import Basis
    from nanobatch.pipeline.options import Options
    from nanobatch.pipeline.plan import Draw

__all__ = ["forecast"]

BATCH_PRICE = 0.5
"""A call by batch job costs half of one at once.

Source: reference page "Gemini image API: facts" 1.1, collected 2026-11-23.
"""
HOURS_PER_ROUND = 24.0
"""The provider's target for a batch job; it may take twice as long.

Source: reference page "Gemini image API: facts" 2.5, collected 2026-11-23.
"""
_TWIN = {Stage.DRAFT: Stage.CANDIDATE, Stage.CANDIDATE: Stage.DRAFT}
_STAGES = {Stage.DRAFT: "drafts", Stage.CANDIDATE: "accepted as it is", Stage.FINISH: "finishes"}


def _name(stage: Stage, tier: Tier) -> str:
    return f"{tier}, {_STAGES[stage]}"


def _order(item: tuple[tuple[Stage, Tier], object]) -> tuple[int, int]:
    """Return where a part stands in the work: drafts, candidates, finishes, Lite before quality."""
    stage, tier = item[0]
    return list(_STAGES).index(stage), list(Tier).index(tier)


def forecast(
    jobs: Iterable[Job],
    options: Options,
    registry: ModelRegistry,
    checkpoint: CheckpointReader | None = None,
) -> Forecast:
    """Return what the jobs may cost beyond what the checkpoint already has.

    Args:
        jobs: The jobs, read to their end once.
        options: The pipeline's parts.
        registry: Where rates of the config are.
        checkpoint: What earlier runs made and measured; `None` if there is none.

    Raises:
        ConfigError: A job that no model can make.
    """
    parts = _Parts(options, registry, checkpoint)
    for job in cast("Iterable[Job]", checked_jobs(jobs)):
        options.plan.check(checked_job(job))
        parts.add(job, job.want if checkpoint is None else checkpoint.still_wanted(job))
    ratio = parts.counted_per_estimated()
    tokens = "estimated" if ratio is None else "counted"
    ratio = Fraction(1) if ratio is None else ratio
    whole = _sum(parts.forecasts(counted_per_estimated=ratio), images=parts.images)
    whole = replace(
        whole,
        hours=parts.hours_at_once(),
        note=f"{whole.note} Prompt tokens are {tokens}.".lstrip(),
    )
    if isinstance(options.backend, BatchBackend) and whole.images:
        whole = _both_modes(whole, parts, options.batch, ratio)
    limit = options.budget.usd
    if limit is None:
        return whole
    spent = Decimal(0) if checkpoint is None else checkpoint.spend.worst_case_usd
    return whole.capped(max(Decimal(0), limit - spent))


def _both_modes(
    at_once: Forecast, parts: _Parts, chosen: BatchOptions | None, ratio: Fraction
) -> Forecast:
    """Return the forecast of the mode that the pipeline uses, with the other one beside it."""
    batch = chosen or BatchOptions()
    found = parts.forecasts(counted_per_estimated=ratio, batch=batch)
    by_batch = replace(
        _sum(found, images=parts.images),
        name="by batch jobs",
        hours=HOURS_PER_ROUND * batch.rounds,
        note=at_once.note,
    )
    at_once = replace(at_once, name="at once")
    one, other = (at_once, by_batch) if chosen is None else (by_batch, at_once)
    return replace(one, instead=replace(other, parts=(), note=_compared(other, one)))


def _compared(one: Forecast, other: Forecast) -> str:
    """Say how much less or more one forecast is than another; empty if nobody knows."""
    if not (one.expected_usd.is_finite() and other.expected_usd.is_finite() and other.expected_usd):
        return ""
    more = one.expected_usd / other.expected_usd - 1
    return f"{abs(more):.0%} {'more' if more > 0 else 'less'}".replace("%", " %")


def _sum(found: list[tuple[MeasuredRates, Forecast]], *, images: int) -> Forecast:
    """Add up parts; those that rest on the same rates are wrong together, so their bounds add."""
    parts = tuple(part for _, part in found)
    if len(parts) == 1:
        return parts[0]
    by_rates: dict[MeasuredRates, list[Forecast]] = {}
    for rates, part in found:
        by_rates.setdefault(rates, []).append(part)
    groups = [
        replace(
            Forecast.sum(group),
            low_usd=reduce(add_exactly, (part.low_usd for part in group)),
            high_usd=reduce(add_exactly, (part.high_usd for part in group)),
        )
        for group in by_rates.values()
    ]
    note = " ".join(dict.fromkeys(part.note for part in parts))
    return replace(Forecast.sum(groups, images=images), parts=parts, note=note)


@dataclass(slots=True, kw_only=True)
class _Part:
    """What one stage on one tier has to yield, and what its calls take in.

    Sums over the passing images it has to yield, one call for each.
    """

    model: Model
    images: Fraction = Fraction(0)
    image_usd: Fraction = Fraction(0)
    """Price of the images that come out."""
    input_images: Fraction = Fraction(0)
    prompt_tokens: Fraction = Fraction(0)
    """Estimated."""
    wants: Counter[int] = field(default_factory=Counter[int])
    """How many jobs need how many passing images."""
    prompts: dict[str, None] = field(default_factory=dict[str, None])
    """Some of them, without repetition, to be counted."""

    def add(self, job: Job, draw: Draw, images: Fraction) -> None:
        """Add the passing images that one job needs of this stage."""
        prompt = draw.prompt(job)
        self.images += images
        self.wants[ceil(images)] += 1
        self.image_usd += Fraction(self.model.usd_per_image(draw.size)) * images
        self.input_images += (len(job.references) + (draw.stage is Stage.FINISH)) * images
        self.prompt_tokens += estimated_tokens(prompt) * images
        if len(self.prompts) < MAX_COUNTED:
            self.prompts[prompt] = None

    def calls_at_full_price(self, rate: Fraction, batch: BatchOptions) -> Fraction:
        """Return what the slots of batch jobs and of the top-up cost, in slots drawn at once.

        It is the ratio to as many slots as it takes at once.
        """
        cost = slots = 0.0
        for want, jobs in self.wants.items():
            by_batch, topped_up = expected_slots(want, rate=float(rate), rounds=batch.rounds)
            cost += jobs * (by_batch * BATCH_PRICE + topped_up)
            slots += jobs * want / float(rate)
        return Fraction(cost / slots)

    def usd_per_call(self, *, text_tokens: int, counted_per_estimated: Fraction) -> Fraction:
        """Return the mean price of a call, USD."""
        prompt_tokens = self.prompt_tokens * counted_per_estimated
        tokens = TokenUsage(
            prompt_tokens=ceil(
                (prompt_tokens + self.input_images * INPUT_IMAGE_TOKENS) / self.images
            ),
            image_tokens=0,
            text_tokens=text_tokens,
        )
        return self.image_usd / self.images + Fraction(self.model.usd(tokens))


class _Parts:
    """The jobs of a forecast, added up by stage and tier."""

    def __init__(
        self, options: Options, registry: ModelRegistry, checkpoint: CheckpointReader | None
    ) -> None:
        self._options = options
        self._registry = registry
        self._router = Router(options.plan.priors)
        self._figures: dict[tuple[Stage, Tier], StageFigures] = {}
        self._seconds_per_call = None if checkpoint is None else checkpoint.seconds_per_call()
        if checkpoint is not None:  # known is what a run would know
            era = era_of(options.plan, checkpoint)
            self._figures = checkpoint.stages(era)
            for piece in evidence_of(checkpoint.experience(era), options.plan):
                self._router.learn(piece)
        self._today = datetime.now(UTC).date()
        self._parts: dict[tuple[Stage, Tier], _Part] = {}
        self.images = 0
        """Accepted images wanted."""

    def add(self, job: Job, want: int) -> None:
        """Add what is still to be made of a job."""
        plan = self._options.plan
        draw = plan.next_draw(job, router=self._router)
        if draw is None or not want:
            return
        self.images += want
        passing = Fraction(want * job.best_of)
        if draw.stage is Stage.DRAFT:
            finish = plan.finish_draw(job)
            if not self._options.finish_fallback:  # a rejected finish has spent its draft
                passing /= Fraction(self._basis(finish.stage, finish.tier).rates.accept)
            self._part(finish).add(job, finish, Fraction(want))
        self._part(draw).add(job, draw, passing)

    def _part(self, draw: Draw) -> _Part:
        return self._parts.setdefault((draw.stage, draw.tier), _Part(model=draw.model))

    def _basis(self, stage: Stage, tier: Tier) -> Basis:
        return basis_of(
            _name(stage, tier),
            tier,
            self._registry.rates_of(self._options.plan.models[tier]),
            self._measured(stage, tier),
            today=self._today,
        )

    def _measured(self, stage: Stage, tier: Tier) -> StageFigures | None:
        """Return what is measured of a stage; the same filters judge drafts and candidates."""
        own = self._figures.get((stage, tier))
        twin = self._figures.get((_TWIN[stage], tier)) if stage in _TWIN else None
        return max((own, twin), key=lambda figures: figures.slots if figures else 0)

    def hours_at_once(self) -> float | None:
        """Return how long all calls take with all permits in use; `None`: none was measured."""
        if self._seconds_per_call is None:
            return None
        calls = 0.0
        for (stage, tier), part in self._parts.items():
            rates = self._basis(stage, tier).rates
            calls += float(part.images) * float(1 + rates.regenerate) / float(rates.accept)
        return calls * self._seconds_per_call / self._options.concurrency / 3600

    def forecasts(
        self, *, counted_per_estimated: Fraction, batch: BatchOptions | None = None
    ) -> list[tuple[MeasuredRates, Forecast]]:
        """Return the forecast of each part with the rates it rests on, in the order of the work.

        Args:
            counted_per_estimated: What to multiply estimated prompt tokens by.
            batch: How batch jobs draw them; by default everything is drawn at once.
        """
        found: list[tuple[MeasuredRates, Forecast]] = []
        for (stage, tier), part in sorted(self._parts.items(), key=_order):
            basis = self._basis(stage, tier)
            usd_per_call = part.usd_per_call(
                text_tokens=ceil(basis.text_tokens_per_call),
                counted_per_estimated=counted_per_estimated,
            )
            if batch is not None:
                usd_per_call *= part.calls_at_full_price(Fraction(basis.rates.accept), batch)
            cost = CostModel.from_rates(
                basis.rates,
                usd_per_call=to_decimal(usd_per_call),
                usd_other_per_slot=basis.usd_other_per_slot,
            )
            named = replace(
                cost.forecast(ceil(part.images)),
                name=_name(stage, tier),
                is_measured=basis.is_measured,
                note=basis.source,
            )
            found.append((basis.rates, named))
        return found

    def counted_per_estimated(self) -> Fraction | None:
        """Have some prompts counted, on the model that gets most of them."""
        largest = max(self._parts.values(), key=lambda part: part.images, default=None)
        if largest is None:
            return None
        return counted_per_estimated(
            self._options.backend, largest.model.id, tuple(largest.prompts)
        )
