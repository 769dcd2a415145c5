"""How differently good prompts pass, and how many prompts never do: a fit to what was measured."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import exp, inf, lgamma, log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["GoodPrompts", "fit_good_prompts"]

USUAL_STRENGTH = 8.0
STRENGTH_SPREAD = 1.0
"""What few data say of the strength is held near the usual value: a normal prior on its logarithm.

Without it a short run often looks as if all prompts were alike, and the cap comes out too tight.
"""
LEAST_STRENGTH, MOST_STRENGTH = 1.0, 200.0
FIRST_STEP, LAST_STEP = 0.5, 0.002
EM_STEPS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodPrompts:
    """Pass rates of prompts that can work follow a Beta distribution; the others never pass."""

    mean: float
    """Mean pass rate of the good prompts, above 0 and below 1."""
    strength: float
    """`alpha + beta`: the larger, the more alike they are."""
    hopeless: float
    """Share of the prompts that never pass, 0 to 1."""

    def failing(self, slots: int) -> float:
        """Return the probability that the first so many slots of a good prompt all fail."""
        alpha, beta = self.mean * self.strength, (1 - self.mean) * self.strength
        chance = 1.0
        for slot in range(slots):
            chance *= (beta + slot) / (alpha + beta + slot)
        return chance


def fit_good_prompts(tallies: Iterable[tuple[int, int]]) -> GoodPrompts:
    """Fit good and hopeless prompts to the slots of each prompt and how many of them passed.

    A prompt none of whose slots passed may be hopeless or unlucky: it counts as either, by how
    likely each is. When a prompt was stopped does not matter to the fit: the likelihood of its
    slots is the same whatever ended them.

    Args:
        tallies: Slots (>= 1) and passing slots of each prompt; some of them have passed.

    Source: the most likely zero-inflated beta-binomial distribution, found by a pattern search;
    its share of zeros by expectation and maximisation.
    """
    counts = Counter(tallies)

    def loss(point: tuple[float, float]) -> float:
        mean, strength = _read(point)
        prior = (log(strength / USUAL_STRENGTH) / STRENGTH_SPREAD) ** 2 / 2
        return prior - _likelihood(counts, mean, strength)[0]

    best, step = (log(0.7 / 0.3), log(USUAL_STRENGTH)), FIRST_STEP
    least = loss(best)
    while step > LAST_STEP:
        around = [
            (best[0] + step * x, best[1] + step * y)
            for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1), (1, -1), (-1, 1))
        ]
        nearest, point = min((loss(point), point) for point in around)
        if nearest < least:
            least, best = nearest, point
        else:
            step /= 2
    mean, strength = _read(best)
    return GoodPrompts(
        mean=mean, strength=strength, hopeless=_likelihood(counts, mean, strength)[1]
    )


def _read(point: tuple[float, float]) -> tuple[float, float]:
    mean = 1 / (1 + exp(-max(min(point[0], 6.0), -6.0)))
    return mean, max(LEAST_STRENGTH, min(exp(point[1]), MOST_STRENGTH))


def _likelihood(
    counts: Mapping[tuple[int, int], int], mean: float, strength: float
) -> tuple[float, float]:
    """Return the log-likelihood of the tallies, and the most likely share of hopeless prompts."""
    alpha, beta = mean * strength, (1 - mean) * strength
    base = _log_beta(alpha, beta)
    good = {
        (slots, passed): _log_beta(alpha + passed, beta + slots - passed) - base
        for slots, passed in counts
    }
    prompts = sum(counts.values())
    silent = [(good[key], count) for key, count in counts.items() if key[1] == 0]
    hopeless = sum(count for _, count in silent) / prompts / 2
    for _ in range(EM_STEPS):
        if not silent or hopeless <= 0:
            break
        hopeless = (
            sum(n * hopeless / (hopeless + (1 - hopeless) * exp(one)) for one, n in silent)
            / prompts
        )
    total = 0.0
    for key, count in counts.items():
        chance = (1 - hopeless) * exp(good[key]) + (hopeless if key[1] == 0 else 0)
        total += count * (log(chance) if chance > 0 else -inf)
    return total, hopeless


def _log_beta(alpha: float, beta: float) -> float:
    return lgamma(alpha) + lgamma(beta) - lgamma(alpha + beta)
