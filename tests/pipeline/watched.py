"""A process that makes a small batch in whatever terminal it was started in; see the test."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from nanobatch import Budget, Candidate, Gemini, Job, TwoTierPipeline

if TYPE_CHECKING:
    from nanobatch import RunResult

BASE_URL, FOLDER, *WORDS = sys.argv[1:]
PROGRESS = {"true": True, "false": False}.get(os.environ.get("PROGRESS", ""))


def say_of(candidate: Candidate) -> bool:
    if candidate.job.id == "j3":
        print("a line of the program itself", flush=True)  # noqa: T201 - what the test looks for
    return True


def jobs() -> list[Job]:
    return [Job(id=f"j{n}", prompt=f"dune {n}") for n in range(6)]


def pipeline(folder: str) -> TwoTierPipeline:
    return TwoTierPipeline(
        Gemini(api_key="k", base_url=BASE_URL),
        checkpoint=Path(FOLDER) / folder,
        filters=[say_of],
        budget=Budget(usd="2.50"),
        concurrency=2,
    )


async def both() -> RunResult:
    """Make two batches at once."""
    results: list[Any] = []

    async def run(folder: str) -> None:
        results.append(await pipeline(folder).run(jobs(), PROGRESS))

    async with anyio.create_task_group() as group:
        group.start_soon(run, "run")
        group.start_soon(run, "other")
    return results[0]  # type: ignore[no-any-return]  # a list for two tasks


def main() -> None:
    if "hangup" in WORDS:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if "without rich" in WORDS:
        sys.modules["rich"] = None  # type: ignore[assignment]  # as if it were not installed
    run = (
        partial(anyio.run, both)
        if "two" in WORDS
        else partial(pipeline("run").run_sync, jobs(), PROGRESS)
    )
    result = run()
    # Beside the terminal: that may be gone by now.
    Path(FOLDER, "ended").write_text(f"{result.ended} {result.delivered}", encoding="utf-8")


if __name__ == "__main__":
    if "terminal" in WORDS:  # as a shell would: a session that this terminal controls
        fcntl.ioctl(2, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        WORDS.remove("terminal")
    if "background" in WORDS:
        WORDS.remove("background")
        command = [sys.executable, "-m", "tests.pipeline.watched", BASE_URL, FOLDER, *WORDS]
        sys.exit(subprocess.run(command, check=False, process_group=0).returncode)
    main()
