"""Which model draws what: a job's route as requests, or as an error before any is sent."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanobatch.backend import ImageRequest
from nanobatch.cost import Stage
from nanobatch.errors import JobError, PriceUnknownError
from nanobatch.filters.protocol import combines, fingerprint, name_of, remembers
from nanobatch.job import Route
from nanobatch.models import Tier, TokenUsage
from nanobatch.models.money import nano_of_usd
from nanobatch.policy import Prior

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nanobatch.checkpoint.changes import NewSlot
    from nanobatch.filters import AnyFilter
    from nanobatch.job import Job
    from nanobatch.models import Model, ModelRegistry
    from nanobatch.policy import Router, Tally

__all__ = ["Draw", "Plan", "asked_once_more", "priors_of"]

FINISH_INSTRUCTION = (
    "Finish the first image: keep its composition, subject, colours and light exactly, and render "
    "it again with clean detail, natural texture and no artefacts. What it should show:"
)
CANDIDATE_THINKING_LEVEL = "minimal"
"""Thinking is billed at the text rate; nano-banana-2.1 thinks at `medium` unless told otherwise.

Source: reference page "Gemini image API: facts" 0.12, collected 2026-11-23, unverified.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What one slot asks for."""

    stage: Stage
    tier: Tier
    model: Model
    size: str
    aspect_ratio: str

    def prompt(self, job: Job) -> str:
        """Return the text that is sent; a finish says what is to be done with the draft."""
        if self.stage is Stage.FINISH:
            return f"{FINISH_INSTRUCTION}\n\n{job.prompt}"
        return job.prompt

    def request(
        self, job: Job, *, references: tuple[bytes, ...], draft: bytes | None
    ) -> ImageRequest:
        """Return the request; the draft to finish goes before the references."""
        has_levels = CANDIDATE_THINKING_LEVEL in self.model.thinking_levels
        return ImageRequest(
            model=self.model.id,
            prompt=self.prompt(job),
            aspect_ratio=self.aspect_ratio,
            size=self.size,
            input_images=references if draft is None else (draft, *references),
            timeout_seconds=self.model.timeout_seconds,
            thinking_level=CANDIDATE_THINKING_LEVEL if has_levels else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The models of a pipeline, the filters that judge their images, and the default route."""

    models: dict[Tier, Model]
    default_route: Route
    filters: Sequence[AnyFilter]
    finish_filters: Sequence[AnyFilter]
    priors: Mapping[Tier, Prior] = field(default_factory=dict["Tier", "Prior"])
    """What the config says was measured of the models, by tier."""

    @property
    def model_ids(self) -> dict[Tier, str]:
        """The ids of the models by tier."""
        return {tier: model.id for tier, model in self.models.items()}

    @property
    def all_filters(self) -> tuple[AnyFilter, ...]:
        """Every filter once, those of the finish too."""
        further = [one for one in self.finish_filters if all(one is not f for f in self.filters)]
        return (*self.filters, *further)

    def route(self, job: Job) -> Route:
        """Return the route a job takes."""
        return job.route or self.default_route

    def check(self, job: Job) -> None:
        """Refuse a job that no model of its route can make at a known price.

        Raises:
            JobError: It names what is missing and what the models can make.
            PriceUnknownError: What a call would cost cannot be said.
        """
        route = self.route(job)
        if route in (Route.FINISH, Route.QUALITY) and Tier.QUALITY not in self.models:
            raise JobError(
                f"Job {job.id!r} takes the route {route.value!r}, but the pipeline has no quality "
                "tier: pass TwoTierPipeline(..., quality='quality').",
                job_id=job.id,
            )
        if not self._tiers(job):
            tried = [self.models[tier] for tier in _tiers_of(route) if tier in self.models]
            raise JobError(
                f"Job {job.id!r} cannot be made on its route {route.value!r}: "
                + " ".join(model.why_not(job.size, job.aspect_ratio) for model in tried),
                job_id=job.id,
            )
        draws = [self._draw(job, Stage.CANDIDATE, tier) for tier in self._tiers(job)]
        if route is Route.FINISH:
            draws.append(self._draft(job))
        for draw in draws:
            draw.model.usd_per_image(draw.size)

    def next_draw(
        self,
        job: Job,
        *,
        router: Router,
        own: Mapping[Tier, Tally] | None = None,
        gone: frozenset[Tier] = frozenset(),
        is_last: bool = False,
    ) -> Draw | None:
        """Return what the job's next new slot draws; `None` if no tier is left for it.

        Args:
            job: A job that `check` has passed.
            router: Chooses where more than one tier can draw it.
            own: What the job's own candidate slots came to, by tier.
            gone: Tiers whose model does not answer any more.
            is_last: Whether the job ends if this slot fails.
        """
        tiers = self._tiers(job) - gone
        if self.route(job) is Route.FINISH:
            if gone or not tiers:
                return None
            return self._draft(job)
        if not tiers:
            return None
        if len(tiers) == 1:
            (tier,) = tiers
        else:
            listed_nano = {tier: self.listed_nano(tier, job.size) for tier in Tier if tier in tiers}
            tier = router.choose(job.tag, listed_nano=listed_nano, own=own, is_last=is_last)
        return self._draw(job, Stage.CANDIDATE, tier)

    def listed_nano(self, tier: Tier, size: str) -> int:
        """Return what one image costs by the price list, nano-dollars.

        Raises:
            PriceUnknownError: It cannot be said.
        """
        return nano_of_usd(self.models[tier].usd_per_image(size))

    def finish_draw(self, job: Job) -> Draw:
        """Return what finishes a draft of the job."""
        return self._draw(job, Stage.FINISH, Tier.QUALITY)

    def draw_again(self, job: Job, slot: NewSlot) -> Draw | None:
        """Return what a slot asked for, to ask once more; `None`: another model is used now."""
        model = self.models.get(slot.tier)
        if model is None or model.id != slot.model_id:
            return None
        if slot.stage is Stage.DRAFT:
            return self._draft(job)
        return self._draw(job, slot.stage, slot.tier)

    def allowance_key(self, job: Job) -> str:
        """Return what starts a new allowance of slots when it changes."""
        facts = {
            "route": self.route(job),
            "models": self.model_ids,
            "filters": [fingerprint(one) for one in self.filters],
            "finish_filters": [fingerprint(one) for one in self.finish_filters],
        }
        return _hash(facts)

    def filter_names(self, *, of_finishes: bool = False) -> list[str]:
        """Return the names of the filters in the order in which they are asked."""
        filters = self.finish_filters if of_finishes else self.filters
        return [name_of(one) for one in sorted(filters, key=remembers)]

    def filters_key(self, *, of_finishes: bool = False) -> str:
        """Return what makes verdicts on candidates, or on finishes, void when it changes."""
        filters = self.finish_filters if of_finishes else self.filters
        return _hash([fingerprint(one) for one in filters])

    def prices_key(self) -> str:
        """Return what makes bills void when it changes: the price of each kind of token today."""
        kinds = [
            TokenUsage(prompt_tokens=10**6, image_tokens=0, text_tokens=0),
            TokenUsage(prompt_tokens=0, image_tokens=10**6, text_tokens=0),
            TokenUsage(prompt_tokens=0, image_tokens=0, text_tokens=10**6),
        ]
        prices: dict[str, list[str]] = {}
        for model in self.models.values():
            with suppress(PriceUnknownError):
                prices[model.id] = [str(model.usd(usage).normalize()) for usage in kinds]
        return _hash(prices)

    def draft_shape(self, job: Job) -> tuple[str, str]:
        """Return size and aspect ratio of the job's drafts: the nearest Lite can draw."""
        return self.models[Tier.LITE].nearest(job.size, job.aspect_ratio)

    def _draft(self, job: Job) -> Draw:
        lite = self.models[Tier.LITE]
        size, aspect_ratio = self.draft_shape(job)
        return Draw(
            stage=Stage.DRAFT, tier=Tier.LITE, model=lite, size=size, aspect_ratio=aspect_ratio
        )

    def _draw(self, job: Job, stage: Stage, tier: Tier) -> Draw:
        return Draw(
            stage=stage,
            tier=tier,
            model=self.models[tier],
            size=job.size,
            aspect_ratio=job.aspect_ratio,
        )

    def _tiers(self, job: Job) -> frozenset[Tier]:
        """Return the tiers that can make the image a job wants accepted."""
        return frozenset(
            tier
            for tier in _tiers_of(self.route(job))
            if tier in self.models and self.models[tier].makes(job.size, job.aspect_ratio)
        )


def asked_once_more(
    filters: Sequence[AnyFilter], finish_filters: Sequence[AnyFilter], *, is_fallback: bool
) -> list[AnyFilter]:
    """Return the filters to ask once more about a candidate that has waited: those that remember.

    Args:
        filters: What it has passed.
        finish_filters: What a finish has to pass.
        is_fallback: Whether it is a draft in place of its finish. What compares finishes with what
            was accepted then compares it too, unless it is a combination, which may ask for what
            only a finish has.
    """
    asked = [one for one in filters if remembers(one)]
    if is_fallback:
        alone = [one for one in finish_filters if combines(one) is None and remembers(one)]
        asked += [one for one in alone if all(one is not other for other in asked)]
    return asked


def priors_of(models: dict[Tier, Model], registry: ModelRegistry) -> dict[Tier, Prior]:
    """Return what the config says was measured of each tier's model."""
    known = {tier: registry.rates_of(model) for tier, model in models.items()}
    return {
        tier: Prior(accept=float(rates.accept), calls_per_slot=1 + float(rates.regenerate))
        for tier, rates in known.items()
        if rates is not None
    }


def _hash(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _tiers_of(route: Route) -> tuple[Tier, ...]:
    """Return the tiers whose images are accepted on a route."""
    return {
        Route.LITE: (Tier.LITE,),
        Route.FINISH: (Tier.QUALITY,),
        Route.QUALITY: (Tier.QUALITY,),
        Route.AUTO: (Tier.LITE, Tier.QUALITY),
    }[route]
