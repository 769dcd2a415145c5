"""How long `NearDuplicate` takes to look up and to learn among very many accepted images.

Run it with `python -m benchmarks.filters.near_duplicate [--images 1000000]`. Two kinds of hashes:
independent ones, and families as one prompt drawn over and over gives them, with every member
about 12 bits off the head of its family. Times are CPU times, so that other programs on the machine
do not count.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import time
import tracemalloc
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from nanobatch.candidate import AcceptedImage
from nanobatch.filters import NearDuplicate
from nanobatch.filters.hamming import HashIndex
from nanobatch.models import Tier

if TYPE_CHECKING:
    from collections.abc import Callable

FAMILIES = 200
FLIPS = 12
LOOKUPS = 300


def independent(chance: random.Random) -> Callable[[], int]:
    """Return a source of hashes that have nothing to do with one another."""
    return lambda: chance.getrandbits(64)


def families(chance: random.Random) -> Callable[[], int]:
    """Return a source of hashes that come in families."""
    heads = [chance.getrandbits(64) for _ in range(FAMILIES)]

    def draw() -> int:
        flips = sum(1 << bit for bit in chance.sample(range(64), FLIPS))
        return chance.choice(heads) ^ flips

    return draw


def measure(name: str, draw: Callable[[], int], *, images: int, distance: int) -> None:
    """Print what one index does."""
    index = HashIndex(distance)
    hashes = [draw() for _ in range(images)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for one in hashes[: images // 100]:
        index.add(one)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    started = time.process_time()
    for one in hashes[images // 100 :]:
        index.add(one)
    adding = (time.process_time() - started) / max(1, images - images // 100)
    times: list[float] = []
    for _ in range(LOOKUPS):
        wanted = draw()
        started = time.process_time()
        index.nearest(wanted)
        times.append(time.process_time() - started)
    times.sort()
    print(
        f"{name:12} distance {distance:2}: median {statistics.median(times) * 1e3:7.3f} ms, "
        f"95 % within {times[int(0.95 * LOOKUPS)] * 1e3:7.3f} ms, "
        f"longest {times[-1] * 1e3:7.3f} ms, learning {adding * 1e6:5.1f} us an image, "
        f"{grown / max(1, images // 100):5.1f} bytes an image at first"
    )


def measure_filter(*, images: int) -> None:
    """Print what the filter itself takes to hear of so many images, each of a job of its own."""
    judge, chance = NearDuplicate(), random.Random(1)
    image = AcceptedImage(
        job_id="", number=1, path=Path(), sha256="", mime_type="image/png", width_px=1, height_px=1,
        model_id="", tier=Tier.LITE, usd=Decimal(0), score=None, prompt="", slot=1,
    )  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    for number in range(images):
        judge.seen(replace(image, job_id=f"job-{number:07}"), chance.randbytes(8))
    seconds = time.process_time() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"the filter: {seconds:.1f} s and {grown / 1024:.0f} MiB for {images:,} images")


def main() -> None:
    """Measure the filter, and both kinds at the default distance and a larger one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    images = parser.parse_args().images
    measure_filter(images=images)
    for distance in (6, 10):
        chance = random.Random(distance)
        measure("independent", independent(chance), images=images, distance=distance)
        measure("families", families(chance), images=images, distance=distance)


if __name__ == "__main__":
    main()
