"""The measured process: a results file is downloaded and read, and how much memory that took."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import anyio

from nanobatch.backend import Gemini, lines_of
from tests.load.batch import peak_mib


async def main(base_url: str, path: Path) -> None:
    images = lines = 0
    keys: set[str | None] = set()
    faults: dict[str, int] = {}
    async with Gemini("simulated", base_url=base_url) as gemini:
        at_first = peak_mib()
        started = time.perf_counter()
        await gemini.download_results("files/batch-1", path)
        downloaded = time.perf_counter()
        for line in lines_of(path):
            read = gemini.read_line(line)
            lines += 1
            keys.add(read.key)
            if read.reply is not None:
                images += len(read.reply.images)
            elif read.fault is not None:
                faults[read.fault.kind] = faults.get(read.fault.kind, 0) + 1
    report = {
        "lines": lines,
        "keys": len(keys),
        "images": images,
        "faults": faults,
        "peak_mib": peak_mib(),
        "peak_at_first_mib": at_first,
        "download_seconds": downloaded - started,
        "reading_seconds": time.perf_counter() - downloaded,
    }
    print(json.dumps(report))  # noqa: T201 - read by the test


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]))
