"""The measured process: one batch on a simulator elsewhere, and how much memory it ever took."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from nanobatch import Budget, Gemini, TwoTierPipeline, filters
from tests.load.mix import CONCURRENCY, jobs
from tests.support import NO_WAIT

TIMEOUT_SECONDS = 2.5


def peak_mib() -> float:
    """Return the largest resident set this process ever had, MiB (Linux only)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kib) / 1024


def main() -> None:
    base_url, folder, count = sys.argv[1:]
    pipeline = TwoTierPipeline(
        Gemini(api_key="simulated", base_url=base_url, timeout_seconds=TIMEOUT_SECONDS),
        filters=[filters.MinBytes(200), filters.Decodes(), filters.NotBlank()],
        checkpoint=folder,
        budget=Budget.unlimited(),
        concurrency=CONCURRENCY,
        retry=NO_WAIT,
    )
    result = pipeline.run_sync(jobs(int(count)))
    report = {
        "ended": result.ended,
        "statuses": {name: str(job.status) for name, job in result.jobs.items()},
        "reasons": {name: job.reason for name, job in result.jobs.items()},
        "confirmed_usd": str(result.spend.confirmed_usd),
        "worst_case_usd": str(result.spend.worst_case_usd),
        "peak_mib": peak_mib(),
    }
    print(json.dumps(report))  # noqa: T201 - read by the test


if __name__ == "__main__":
    main()
