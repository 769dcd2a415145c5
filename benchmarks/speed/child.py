"""One candidate, once, in a process of its own; prints what it took as JSON."""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.speed.candidates import CANDIDATES, Work

__all__ = ["main"]


def main() -> None:
    """Warm up, then measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("candidate", choices=CANDIDATES)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--warm-up", type=int, default=16)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--image", type=Path, required=True, help="the file every answer holds")
    parser.add_argument("--cpu", type=int, default=-1, help="the core to stay on")
    options = parser.parse_args()
    if options.cpu >= 0:
        os.sched_setaffinity(0, {options.cpu})
    run = CANDIDATES[options.candidate]
    work = Work(
        base_url=options.base_url,
        images=options.images,
        concurrency=options.concurrency,
        image=options.image,
        out=options.out / "measured",
    )
    warm_up = replace(work, images=options.warm_up, out=options.out / "warm-up")
    for one in (warm_up, work):
        one.out.mkdir(parents=True)
    if warm_up.images:  # imports, first connection, compiled patterns
        run(warm_up)
    gc.collect()
    cpu, clock = _cpu_seconds(), time.perf_counter()
    run(work)
    took = {"seconds": time.perf_counter() - clock, "cpu_seconds": _cpu_seconds() - cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({**took, "peak_rss_mb": peak / 1024}))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
