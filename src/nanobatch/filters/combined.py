"""Filters made of filters: all of them, any of them, not this one, by points, for one tag only."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias, cast

from nanobatch.candidate import Verdict
from nanobatch.errors import ConfigError
from nanobatch.filters.protocol import AnyFilter, as_verdict, checked, combines, name_of

if TYPE_CHECKING:
    from nanobatch.candidate import Candidate
    from nanobatch.filters.protocol import Ask

__all__ = ["AllOf", "AnyOf", "Not", "OnlyFor", "Score"]

Weights: TypeAlias = Mapping[AnyFilter, float] | Sequence[tuple[AnyFilter, float]]


@dataclass(frozen=True, slots=True)
class _Combination:
    """What all of them share."""

    name: str = field(default="", init=False, repr=False)
    """What it is and of what: `any_of(min_size, near_duplicate)`."""

    parts: tuple[AnyFilter, ...] = field(default=(), init=False, repr=False)
    """The filters inside, in the order in which they are asked."""

    async def combine(self, candidate: Candidate, ask: Ask, /) -> Verdict:
        """Return one verdict from those of the parts."""
        raise NotImplementedError

    async def __call__(self, candidate: Candidate, /) -> Verdict:
        """Judge outside a pipeline: the parts run here and now, without deadline or budget."""
        return await self.combine(candidate, _ask_here)

    def _hold(self, word: str, parts: Sequence[object]) -> None:
        if not parts:
            raise ConfigError(f"{type(self).__name__} needs at least one filter.")
        held = tuple(map(checked, parts))
        object.__setattr__(self, "parts", held)
        object.__setattr__(self, "name", f"{word}({', '.join(map(name_of, held))})")


@dataclass(frozen=True, slots=True, init=False)
class AllOf(_Combination):
    """Accepts what every part accepts; the first rejection is the verdict and ends the asking.

    In the list of a pipeline it does what its parts would do there. It is for use in `AnyOf`,
    `Not`, `Score` and `OnlyFor`.

    Raises:
        ConfigError: There is no part, or one is no filter.
    """

    filters: tuple[AnyFilter, ...]

    def __init__(self, *filters: AnyFilter) -> None:
        object.__setattr__(self, "filters", filters)
        self._hold("all_of", filters)

    async def combine(self, candidate: Candidate, ask: Ask, /) -> Verdict:
        """Ask until one rejects; the score is the last one given."""
        score: float | None = None
        usd = Decimal(0)
        for part in self.parts:
            verdict = await ask(part, candidate)
            usd += verdict.usd
            score = verdict.score if verdict.score is not None else score
            if not verdict.accepted:
                return Verdict(accepted=False, reason=verdict.reason, score=score, usd=usd)
        return Verdict(accepted=True, score=score, usd=usd)


@dataclass(frozen=True, slots=True, init=False)
class AnyOf(_Combination):
    """Accepts what at least one part accepts; the first acceptance ends the asking.

    Put the cheap parts first: a dear one is asked only about what they reject.

    Raises:
        ConfigError: There is no part, or one is no filter.
    """

    filters: tuple[AnyFilter, ...]

    def __init__(self, *filters: AnyFilter) -> None:
        object.__setattr__(self, "filters", filters)
        self._hold("any_of", filters)

    async def combine(self, candidate: Candidate, ask: Ask, /) -> Verdict:
        """Ask until one accepts; the score is that one's, the reason names every rejection."""
        reasons: list[str] = []
        usd = Decimal(0)
        for part in self.parts:
            verdict = await ask(part, candidate)
            usd += verdict.usd
            if verdict.accepted:
                return Verdict(accepted=True, score=verdict.score, usd=usd)
            reasons.append(verdict.reason)
        return Verdict(
            accepted=False, reason=f"no alternative passes ({'; '.join(reasons)})", usd=usd
        )


@dataclass(frozen=True, slots=True, init=False)
class Not(_Combination):
    """Accepts what another filter rejects, and the other way round.

    A file that is broken stays broken, and a filter that fails decides nothing.

    Args:
        filter: The filter to turn round.
        reason: Why what it accepts is not wanted, in words for a person.

    Raises:
        ConfigError: It is no filter.
    """

    filter: AnyFilter
    reason: str

    def __init__(self, filter: AnyFilter, /, *, reason: str = "") -> None:  # noqa: A002 - the word of this library
        object.__setattr__(self, "filter", filter)
        object.__setattr__(self, "reason", reason)
        self._hold("not", [filter])

    async def combine(self, candidate: Candidate, ask: Ask, /) -> Verdict:
        """Ask and turn the verdict round; a score says nothing about the opposite."""
        [part] = self.parts
        verdict = await ask(part, candidate)
        if verdict.accepted:
            reason = self.reason or f"passes {name_of(part)}, which is not wanted"
            return Verdict(accepted=False, reason=reason, usd=verdict.usd)
        return Verdict(accepted=True, usd=verdict.usd)


@dataclass(frozen=True, slots=True, init=False)
class OnlyFor(_Combination):
    """Judges the jobs of one tag and accepts all others unseen.

    Args:
        tag: `Job.tag`, compared exactly.
        filter: What candidates of that tag have to pass.

    Raises:
        ConfigError: It is no filter.
    """

    tag: str
    filter: AnyFilter

    def __init__(self, tag: str, filter: AnyFilter, /) -> None:  # noqa: A002 - the word of this library
        object.__setattr__(self, "tag", tag)
        object.__setattr__(self, "filter", filter)
        self._hold(f"only_for {tag}", [filter])

    async def combine(self, candidate: Candidate, ask: Ask, /) -> Verdict:
        """Ask if the job has the tag."""
        [part] = self.parts
        if candidate.job.tag != self.tag:
            return Verdict.accept()
        verdict = await ask(part, candidate)
        return Verdict(
            accepted=verdict.accepted,
            reason=verdict.reason,
            score=verdict.score,
            usd=verdict.usd,
        )


@dataclass(frozen=True, slots=True, init=False)
class Score(_Combination):
    """Accepts what reaches a weighted mean of the parts' scores; every part is asked.

    A part that gives no score counts 1 if it accepts and 0 if it rejects. The scales of the parts
    must fit together: the mean of a share and of points from 0 to 10 means nothing.

    Args:
        weights: Filters with their weights, as a mapping or as pairs; weights above 0.
        threshold: Least mean that passes, on the scale of the parts.

    Raises:
        ConfigError: There is no part, one is no filter, a weight is not above 0, or the threshold
            is not finite.
    """

    filters: tuple[AnyFilter, ...]
    weights: tuple[float, ...]
    threshold: float

    def __init__(self, weights: Weights, /, *, threshold: float) -> None:
        pairs = list(weights.items() if isinstance(weights, Mapping) else weights)
        for part, weight in pairs:
            if not 0 < weight < math.inf:
                raise ConfigError(
                    f"Score: the weight of {name_of(part)} must be a finite number above 0, not "
                    f"{weight!r}."
                )
        if not math.isfinite(threshold):
            raise ConfigError(f"Score: threshold must be a finite number, not {threshold!r}.")
        object.__setattr__(self, "filters", tuple(part for part, _ in pairs))
        object.__setattr__(self, "weights", tuple(float(weight) for _, weight in pairs))
        object.__setattr__(self, "threshold", float(threshold))
        self._hold("score", self.filters)

    async def combine(self, candidate: Candidate, ask: Ask, /) -> Verdict:
        """Ask every part; the score is the mean, and a rejection shows what each part gave."""
        scores: list[float] = []
        usd = Decimal(0)
        for part in self.parts:
            verdict = await ask(part, candidate)
            usd += verdict.usd
            scores.append(float(verdict.accepted) if verdict.score is None else verdict.score)
        weighted = (weight * score for weight, score in zip(self.weights, scores, strict=True))
        mean = math.fsum(weighted) / math.fsum(self.weights)
        if mean >= self.threshold:
            return Verdict(accepted=True, score=mean, usd=usd)
        shown = ", ".join(
            f"{name_of(part)} {score:.3g}" for part, score in zip(self.parts, scores, strict=True)
        )
        reason = f"score too low ({mean:.3g}, at least {self.threshold:.3g}: {shown})"
        return Verdict(accepted=False, reason=reason, score=mean, usd=usd)


async def _ask_here(part: AnyFilter, candidate: Candidate) -> Verdict:
    combination = combines(part)
    if combination is not None:
        return await combination.combine(candidate, _ask_here)
    result = cast("object", part(candidate))
    if inspect.isawaitable(result):
        result = await result
    return as_verdict(result, filter_name=name_of(part))
