"""A batch that grows from round to round, and a provider that often fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from nanobatch.simulator import answers
from tests.support import simulator

if TYPE_CHECKING:
    from nanobatch.simulator import Answer, Call, Simulator

__all__ = ["GrowingBatch", "faulty_simulator", "job_of_prompt"]

_ROUTES: tuple[dict[str, Any], ...] = (
    {"route": "lite"},
    {"route": "finish"},
    {"route": "lite", "best_of": 2},
    {"route": "auto", "tag": "mixed"},
    {"route": "quality"},
    {"route": "finish", "best_of": 2},
)


@dataclass
class GrowingBatch:
    """Jobs of every route; each growth adds some and wants more of others."""

    random: Random
    wants: list[int] = field(default_factory=list[int])

    def grow(self, *, new_jobs: int, more_images: int) -> None:
        """Add jobs that want one or two images, and let earlier ones want more."""
        for _ in range(more_images if self.wants else 0):
            self.wants[self.random.randrange(len(self.wants))] += 1
        self.wants += [self.random.randint(1, 2) for _ in range(new_jobs)]

    def jobs(self) -> list[dict[str, Any]]:
        """Return the fields of every job."""
        return [
            {
                "id": f"j{number}",
                "prompt": f"a dune at dawn, study <j{number}>",
                "want": want,
                **_ROUTES[number % len(_ROUTES)],
            }
            for number, want in enumerate(self.wants)
        ]


def job_of_prompt(prompt: str) -> str:
    """Return the job a prompt on the bill belongs to; a finish quotes the prompt of its draft."""
    return prompt.partition("<")[2].partition(">")[0]


def faulty_simulator(seed: int, *, latency_seconds: float = 0.04) -> Simulator:
    """Return a provider of which one answer in eight is a fault or a surprise."""

    def luck(call: Call, purpose: str) -> Random:
        return Random(f"{seed} {call.model} {call.prompt} {call.nth} {call.is_finish} {purpose}")

    def surprise(call: Call) -> Answer | None:
        chance = luck(call, "surprise")
        kind = chance.random()
        faults: tuple[tuple[float, Answer], ...] = (
            (0.04, answers.rate_limited(0.01)),
            (0.06, answers.internal()),
            (0.08, answers.overloaded()),
            (0.11, answers.several_images(2)),
            (0.115, answers.cut(0.5)),
            (0.12, answers.reset(billed=chance.random() < 0.5)),
            (0.125, answers.truncated_json()),
            (0.13, answers.without_usage()),
        )
        return next((answer for below, answer in faults if kind < below), None)

    return simulator(
        seed=seed,
        accept_rate=0.8,
        regenerate_rate=0.05,
        latency_seconds=lambda call: luck(call, "latency").uniform(0, 2 * latency_seconds),
        answer=surprise,
        drawings=4,
    )
