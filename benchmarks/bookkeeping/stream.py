"""Let a million jobs stream through one run, and watch its memory."""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from benchmarks.bookkeeping.measure import Painter
from nanobatch import Budget, Checkpoint, Job, TwoTierPipeline

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["main"]

_STATUS = Path("/proc/self/status")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nanobatch-stream-") as folder:
        anyio.run(_stream, Path(folder), options.jobs)


async def _stream(folder: Path, number: int) -> None:
    pipeline = TwoTierPipeline(
        Painter(), filters=[], checkpoint=folder, budget=Budget.unlimited(), concurrency=64
    )
    began = time.perf_counter()
    result = await pipeline.run(_jobs(number, every=max(1, number // 20)))
    took = time.perf_counter() - began
    print(
        f"{result.ended}: {result.delivered} images in {took:.0f} s, {number / took:.0f} a second"
    )
    with Checkpoint.read(folder) as checkpoint:
        began = time.perf_counter()
        cost = checkpoint.cost_model()
        print(
            f"{cost.usd_per_accepted:.6f} USD an image, after {time.perf_counter() - began:.2f} s"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak RSS {peak:.0f} MB")


def _jobs(number: int, *, every: int) -> Iterator[Job]:
    """Yield jobs, and say now and then how much memory is in use."""
    began = time.perf_counter()
    for one in range(number):
        if one % every == 0:
            seconds = time.perf_counter() - began
            print(f"{one:>9} jobs read, {seconds:>6.0f} s, RSS {_rss_mb():.0f} MB", flush=True)
        yield Job(id=f"{one:07}", prompt=f"wallpaper {one}: a quiet aurora", tag=f"set {one % 20}")


def _rss_mb() -> float:
    lines = _STATUS.read_text(encoding="utf-8").splitlines() if _STATUS.exists() else []
    found = next((line for line in lines if line.startswith("VmRSS:")), "VmRSS: 0 kB")
    return int(found.split()[1]) / 1024


if __name__ == "__main__":
    main()
