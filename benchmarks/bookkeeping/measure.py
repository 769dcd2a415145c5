"""Open a checkpoint with a million images, reach the first request, and ask what they cost."""

from __future__ import annotations

import argparse
import io
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from PIL import Image

from benchmarks.bookkeeping.make import make
from nanobatch import Budget, Checkpoint, Job, Reply, TokenUsage, TwoTierPipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nanobatch import ImageRequest

__all__ = ["main"]


class Painter:
    """A backend that answers at once and notes when it was first asked."""

    is_open = True

    def __init__(self) -> None:
        self.first_asked = 0.0
        self._image = _picture()

    async def generate(self, request: ImageRequest) -> Reply:
        """Return the one picture it has."""
        del request
        self.first_asked = self.first_asked or time.perf_counter()
        usage = TokenUsage(prompt_tokens=12, image_tokens=1120, text_tokens=0)
        return Reply(images=(self._image,), usage=usage)

    async def aclose(self) -> None:
        """Close nothing."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="keep the checkpoint here, or use this one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "checkpoint"
        if not folder.exists():
            began = time.perf_counter()
            make(folder, options.images)
            print(f"made in {time.perf_counter() - began:.1f} s")
        anyio.run(_measure, folder)


async def _measure(folder: Path) -> None:
    painter = Painter()
    pipeline = TwoTierPipeline(
        painter, filters=[], checkpoint=folder, budget=Budget.unlimited(), concurrency=64
    )
    began = time.perf_counter()
    result = await pipeline.run(_jobs(64))
    print(f"opened, first request after {painter.first_asked - began:.2f} s")
    print(f"whole run of 64 jobs {time.perf_counter() - began:.2f} s")
    questions: dict[str, Callable[[], object]]
    with Checkpoint.read(folder) as reader:
        questions = {
            "cost": reader.cost_model,
            "cost of a tier": lambda: reader.cost_model(tier="lite"),
            "cost of a tag": lambda: reader.cost_model(tag="set 3"),
            "spend": lambda: reader.spend,
        }
        for what, ask in questions.items():
            began = time.perf_counter()
            ask()
            print(f"{what} {time.perf_counter() - began:.2f} s")
    print(f"{result.cost.usd_per_accepted} USD per accepted image, {result.ended}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak RSS {peak:.0f} MB")


def _jobs(number: int) -> Iterator[Job]:
    stamp = time.time_ns()
    for one in range(number):
        yield Job(id=f"new-{stamp}-{one}", prompt="one more")


def _picture() -> bytes:

    file = io.BytesIO()
    Image.linear_gradient("L").save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main()
