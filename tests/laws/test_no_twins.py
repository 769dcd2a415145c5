"""Whatever the filters, the routes and the order of events: no two accepted images look alike.

And the same filters, asked again by a replay, come to the same verdicts.
"""

from __future__ import annotations

from itertools import combinations
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from PIL import Image

from nanobatch import (
    Budget,
    Checkpoint,
    ImageRequest,
    Job,
    JobStatus,
    Reply,
    Route,
    StopRule,
    TokenUsage,
    TwoTierPipeline,
    Verdict,
)
from nanobatch.filters import AllOf, AnyOf, NearDuplicate, Not, OnlyFor, Score
from nanobatch.filters.perceptual_hash import perceptual_hash
from nanobatch.report import replay
from tests.filters.files import saved
from tests.filters.looks import look

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch import Candidate

LOOKS = 12
FILES = [saved(look(n), file_format) for n in range(LOOKS) for file_format in ("PNG", "JPEG")]
USAGE = TokenUsage(prompt_tokens=1, image_tokens=1120, text_tokens=0)


class Painter:
    """Answers when it likes with one or two of a few pictures, or with none."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    async def generate(self, request: ImageRequest) -> Reply:
        await anyio.sleep(self._chance.random() / 50)
        images = self._chance.choices([0, 1, 2], [1, 16, 4])[0]
        return Reply(images=tuple(self._chance.choices(FILES, k=images)), usage=USAGE)

    async def aclose(self) -> None:
        """Nothing is held open."""


def most(candidate: Candidate) -> Verdict:
    """Accept most files, and score them all, by nothing but their bytes."""
    digits = int(candidate.sha256[:4], 16)
    return Verdict(accepted=digits % 8 > 0, score=digits)


async def few_not(candidate: Candidate) -> bool:
    await anyio.lowlevel.checkpoint()
    return int(candidate.sha256[-2:], 16) % 8 > 0


def nested(chance: Random, inner: Any, *, depth: int = 3) -> Any:
    """Return a filter that rejects whatever `inner` rejects."""
    if not depth or chance.random() < 0.25:
        return inner
    deeper = nested(chance, inner, depth=depth - 1)
    return chance.choice(
        [
            AllOf(few_not, deeper),
            AllOf(deeper, few_not),
            AnyOf(deeper),
            Not(Not(deeper)),
            OnlyFor("x", deeper),
            Score([(deeper, 1), (few_not, 1)], threshold=1),
        ]
    )


def pipeline(folder: Path, seed: int, chance: Random) -> TwoTierPipeline:
    return TwoTierPipeline(
        Painter(chance),
        quality="quality",
        filters=filters(seed),
        checkpoint=folder,
        budget=Budget.unlimited(),
        concurrency=chance.choice([1, 3, 8]),
        keep_rejected="all",
        finish_fallback=bool(seed % 2),
        stop=StopRule(4, 10**6),
    )


def filters(seed: int) -> list[Any]:
    """Return fresh filters, the same ones for the same seed."""
    chance = Random(seed)
    found = [nested(chance, NearDuplicate()), most]
    chance.shuffle(found)
    return found


def jobs_of(chance: Random) -> list[Job]:
    return [
        Job(
            id=f"j{number}",
            prompt=f"a fox {number}",
            tag="x",
            want=chance.choice([1, 1, 2]),
            best_of=chance.choice([1, 1, 2, 3]),
            route=chance.choice(list(Route)),
        )
        for number in range(chance.choice([3, 6]))
    ]


@pytest.mark.parametrize("seed", range(10))
async def test_no_two_accepted_images_look_alike(seed: int, tmp_path: Path) -> None:
    chance = Random(seed)
    jobs = jobs_of(chance)

    for images in (2, 7):
        await pipeline(tmp_path, seed, chance).calibrate(jobs, images=images)
    result = await pipeline(tmp_path, seed, chance).run(jobs)
    again = await replay(tmp_path, filters=filters(seed))

    with Checkpoint.read(tmp_path) as checkpoint:
        assert checkpoint.verify().is_clean
        looks = [perceptual_hash(Image.open(image.path)) for image in checkpoint.images()]
    assert {job.status for job in result.jobs.values()} <= {JobStatus.DONE, JobStatus.STOPPED}
    assert {failure.kind for failure in result.failures} <= {"empty"}
    assert all((one ^ other).bit_count() > 6 for one, other in combinations(looks, 2))
    assert again.before == again.after
    assert again.newly_passing == again.newly_rejected == ()
