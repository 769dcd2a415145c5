"""The prompts that routing is measured on: tags, difficulties, hopeless ones, and their luck."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from math import exp, log

from nanobatch import Job, Model, PriceRow, Tier

__all__ = ["EASY", "HARD", "LITE_USD", "Population", "Prompt", "Tag", "model_of"]

LITE_USD = Decimal("0.0336")
"""One Lite image at 1K, list price."""
TOKENS = 1120
DIFFICULTY_SPREAD = 0.8
"""Standard deviation of a prompt's difficulty on the logit scale; both tiers share it."""

HARD = {Tier.LITE: (0.06, 0.25), Tier.QUALITY: (0.70, 0.85)}
EASY = {Tier.LITE: (0.60, 0.85), Tier.QUALITY: (0.85, 0.96)}
"""Ranges of a tag's pass rate at a difficulty of zero.

Source of ranges and spread: reference page "Economics of a batch" 6 (assumed, not measured).
"""


@dataclass(frozen=True, slots=True)
class Tag:
    """A group of prompts that pass alike."""

    name: str
    rates: dict[Tier, float]

    def rate(self, tier: Tier, difficulty: float) -> float:
        """Return the pass rate of a prompt of so much difficulty; 0 is the tag's usual one."""
        usual = self.rates[tier]
        return 1 / (1 + exp(-(log(usual / (1 - usual)) + difficulty)))


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt with its luck: the n-th slot on a tier passes or not, whatever the policy."""

    job: Job
    rates: dict[Tier, float]
    seed: str

    @property
    def is_hopeless(self) -> bool:
        """Whether it never passes."""
        return not any(self.rates.values())

    def passes(self, tier: Tier, nth: int) -> bool:
        """Return whether its slot number `nth` on a tier passes."""
        return random.Random(f"{self.seed} {tier} {nth}").random() < self.rates[tier]


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """A kind of batch; each seed draws another one of it."""

    prompts: int = 300
    tags: int = 8
    hard_tags: int = 2
    hopeless: float = 0.0
    """Share of prompts that never pass."""
    ratio: int = 2
    """Price of a quality image / price of a Lite image."""
    spread: float = DIFFICULTY_SPREAD
    beta: tuple[float, float] | None = None
    """If set: one tag whose pass rates, on both tiers alike, follow this Beta distribution."""
    wants: tuple[int, ...] = (1, 2, 3, 4)

    def __str__(self) -> str:
        """Say it in a line."""
        kind = (
            f"pass rates Beta{self.beta}"
            if self.beta
            else f"{self.tags} tags, {self.hard_tags} of them hard"
        )
        wants = f"want {self.wants[0]}" + (f"-{self.wants[-1]}" if len(self.wants) > 1 else "")
        return (
            f"{self.prompts} prompts, {kind}, {self.hopeless:.0%} hopeless, {wants}, "
            f"price ratio {self.ratio}"
        )

    @property
    def usd(self) -> dict[Tier, Decimal]:
        """USD of a slot by tier."""
        return {Tier.LITE: LITE_USD, Tier.QUALITY: LITE_USD * self.ratio}

    def draw(self, seed: int) -> tuple[list[Tag], list[Prompt]]:
        """Return the tags and prompts of a seed."""
        dice = random.Random(f"population {seed}")
        tags: list[Tag] = []
        for number in range(self.tags):
            ranges = HARD if number < self.hard_tags else EASY
            rates = {tier: dice.uniform(*ranges[tier]) for tier in Tier}
            tags.append(Tag(f"tag {number}", rates))
        prompts: list[Prompt] = []
        for number in range(self.prompts):
            tag = dice.choice(tags)
            if self.beta is not None:
                rates = dict.fromkeys(Tier, dice.betavariate(*self.beta))
            else:
                difficulty = dice.gauss(0, self.spread)
                rates = {tier: tag.rate(tier, difficulty) for tier in Tier}
            if dice.random() < self.hopeless:
                rates = dict.fromkeys(Tier, 0.0)
            job = Job(
                id=str(number), prompt=str(number), want=dice.choice(self.wants), tag=tag.name
            )
            prompts.append(Prompt(job, rates, f"luck {seed} {number}"))
        return tags, prompts


def model_of(tier: Tier, usd: Decimal) -> Model:
    """Return a model that draws 1K images at a price."""
    price = PriceRow(
        effective_from=date(2026, 1, 1),
        input_usd_per_million_tokens=Decimal(0),
        text_output_usd_per_million_tokens=Decimal(0),
        image_output_usd_per_million_tokens=usd * 10**6 / TOKENS,
    )
    return Model(
        id=f"simulated-{tier}",
        name=f"Simulated {tier}",
        sizes=("1K",),
        aspect_ratios=("1:1",),
        image_tokens={"1K": TOKENS},
        prices=(price,),
    )
