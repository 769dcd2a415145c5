"""Finished batches on the simulator, and filters whose verdicts are known beforehand."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from nanobatch import Checkpoint, Job, Route, StopRule, Verdict
from tests.support import pipeline_on, simulator

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Any

    from nanobatch import AcceptedImage, Candidate
    from nanobatch.simulator import Simulator

ONE_SLOT = StopRule.want_times(1)
"""Every job gets as many slots as it wants images, whatever becomes of them."""


@dataclass(frozen=True)
class AtLeast:
    """Accepts a job's images if its grade is high enough."""

    grade: int
    name: ClassVar[str] = "at_least"

    def __call__(self, candidate: Candidate) -> Verdict:
        grade = candidate.job.metadata["grade"]
        assert isinstance(grade, int)
        return Verdict.accept() if grade >= self.grade else Verdict.reject(f"grade {grade}")


@dataclass(frozen=True)
class Slots:
    """Accepts the images of some slots, with a score by slot if it ranks."""

    accepted: frozenset[int]
    scores: dict[int, float] = field(default_factory=dict)
    name: ClassVar[str] = "slots"

    def __call__(self, candidate: Candidate) -> Verdict:
        score = self.scores.get(candidate.slot)
        if candidate.slot in self.accepted:
            return Verdict.accept(score=score)
        return Verdict.reject("not this slot", score=score)


def slots(*accepted: int, **scores: float) -> Slots:
    """Return a filter that accepts the images of these slots; scores by slot: `s3=0.9`."""
    return Slots(frozenset(accepted), {int(name[1:]): score for name, score in scores.items()})


class OnePerPrompt:
    """Rejects a second image of a prompt; says of which images it was told, in order."""

    name = "one_per_prompt"

    def __init__(self) -> None:
        self.told: list[tuple[str, int, bytes]] = []
        self._known: set[str] = set()

    def __call__(self, candidate: Candidate) -> Verdict:
        if candidate.job.prompt in self._known:
            return Verdict.reject("there is one already")
        return Verdict(accepted=True, memo=candidate.sha256[:8].encode())

    def seen(self, image: AcceptedImage, memo: bytes) -> None:
        self.told.append((image.job_id, image.number, memo))
        self._known.add(image.prompt)


async def grades(folder: Path, *, threshold: int = 5, **options: Any) -> Simulator:
    """Draw ten jobs, `g0` to `g9` by grade and tagged `even` and `odd`, one slot each."""
    jobs = [
        Job(
            id=f"g{grade}",
            prompt=f"a fox {grade}",
            tag="odd" if grade % 2 else "even",
            route=Route.LITE,
            metadata={"grade": grade},
        )
        for grade in range(10)
    ]
    return await batch(folder, jobs, filters=[AtLeast(threshold)], **options)


async def batch(folder: Path, jobs: Iterable[Job], **options: Any) -> Simulator:
    """Work on jobs, one slot after the other, and keep everything; return the closed simulator."""
    settings = options.pop("settings", {})
    async with simulator(**{"pixels": 0.0625, **settings}) as server:
        chosen = {"concurrency": 1, "stop": ONE_SLOT, "keep_rejected": "all", **options}
        await pipeline_on(server, folder, **chosen).run(jobs)
    return server


def contents(folder: Path) -> dict[str, tuple[int, str]]:
    """Return every file of a checkpoint with the time it was written and the hash of its bytes."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def is_clean(folder: Path) -> bool:
    """Return whether a checkpoint verifies."""
    with Checkpoint.read(folder) as checkpoint:
        return checkpoint.verify().is_clean
