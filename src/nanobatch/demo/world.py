"""A stand-in for Google: some prompts are easy, some are hard, some cannot be drawn at all."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from anyio.from_thread import start_blocking_portal

from nanobatch.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from nanobatch.job import Job
    from nanobatch.simulator import Call

__all__ = ["Difficulty", "simulated"]

REGENERATE_RATE = 0.06
LATENCY_SECONDS = (0.05, 0.3)
"""Least and most; the real models take 3 to 40 seconds."""
DRAWINGS = 80
"""Ten motifs a scene: two images of one prompt rarely look the same."""
QUICK_PIXELS = 0.25
QUICK_LATENCY_SECONDS = (0.01, 0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chances:
    """How likely an image is good, 0 to 1, by tier."""

    lite: float
    quality: float


_EASY = _Chances(lite=0.75, quality=0.92)
_HARD = _Chances(lite=0.25, quality=0.75)
_BY_TAG = {
    "typography": _HARD,
    "crowds": _HARD,
    "hands": _HARD,
    "impossible": _Chances(lite=0, quality=0),
}


class Difficulty:
    """Knows how often each model draws each prompt well: the tag of its job decides.

    Args:
        jobs: What is going to be asked for.
        quality: Id of the quality model; any other counts as Lite.
    """

    def __init__(self, jobs: Sequence[Job], *, quality: str) -> None:
        self._tags = {job.prompt: job.tag for job in jobs}
        self._longest_first = sorted(self._tags, key=len, reverse=True)
        self._quality = quality

    def __call__(self, call: Call) -> float:
        """Return the accept rate of one call."""
        chances = _BY_TAG.get(self._tag(call.prompt), _EASY)
        return chances.quality if call.model == self._quality else chances.lite

    def _tag(self, prompt: str) -> str:
        if prompt in self._tags:
            return self._tags[prompt]
        # A finishing prompt holds the job's own prompt word for word.
        within = (own for own in self._longest_first if own in prompt)
        return self._tags.get(next(within, ""), "")


@contextmanager
def simulated(
    jobs: Sequence[Job], *, quality: str, seed: int, is_quick: bool
) -> Generator[Simulator]:
    """Run a simulated Gemini in a thread of its own: the main thread is left to the pipeline.

    Args:
        jobs: What is going to be asked for.
        quality: Id of the quality model.
        seed: Another seed is other luck.
        is_quick: Whether it draws small pictures at once.
    """
    simulator = Simulator(
        seed=seed,
        accept_rate=Difficulty(jobs, quality=quality),
        regenerate_rate=REGENERATE_RATE,
        drawings=DRAWINGS,
        latency_seconds=_latency(QUICK_LATENCY_SECONDS if is_quick else LATENCY_SECONDS),
        pixels=QUICK_PIXELS if is_quick else 1.0,
    )
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(simulator):
        yield simulator


def _latency(least_and_most: tuple[float, float]) -> Callable[[Call], float]:
    return lambda call: Random(call.number).uniform(*least_and_most)  # noqa: S311 - no secret
