"""Filters of your own: a function that says yes or no, and an object that gives scores.

Run it with `python examples/custom_filter.py [out-folder]`; it uses the simulator.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import anyio
from PIL import ImageStat

from nanobatch import Budget, Candidate, Gemini, Job, TwoTierPipeline, Verdict, filters
from nanobatch.simulator import Simulator


def is_landscape(candidate: Candidate) -> bool:
    """Accept what is wider than high; the function's name is the reason of a rejection."""
    return candidate.width_px > candidate.height_px


@dataclass(frozen=True)
class CalmBrightness:
    """Rejects what is nearly black or nearly white; the closer to mid-grey, the higher the score.

    It is a dataclass so that the checkpoint notices when a parameter changes.
    """

    name: ClassVar[str] = "calm_brightness"
    darkest: float = 12
    brightest: float = 243

    def __call__(self, candidate: Candidate) -> Verdict:
        """Judge one candidate; the picture is decoded once and shared by all filters."""
        mean = ImageStat.Stat(candidate.image.convert("L")).mean[0]
        score = 1 - abs(mean - 127.5) / 127.5
        if not self.darkest <= mean <= self.brightest:
            return Verdict.reject(f"mean brightness {mean:.0f} of 255", score=score)
        return Verdict.accept(score=score)


async def main(folder: Path) -> None:
    """Let two candidates compete for each image; the higher score is kept."""
    job = Job(id="canyon", prompt="A canyon at dusk", want=3, best_of=2, aspect_ratio="16:9")
    async with Simulator(seed=7, accept_rate=0.7) as simulator:
        pipeline = TwoTierPipeline(
            Gemini(api_key="simulated", base_url=simulator.base_url),  # the real API: Gemini()
            filters=[*filters.default(), is_landscape, CalmBrightness()],
            checkpoint=folder,
            budget=Budget(usd="5.00"),
        )
        result = await pipeline.run([job])
    for image in result.images:
        print(f"{image.path.name}: score {image.score or 0:.2f}, USD {image.usd:.4f}")


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
