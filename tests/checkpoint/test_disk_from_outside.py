"""The same faults inside SQLite's own writes, injected into its system calls from outside.

Only with `NANOBATCH_FAULTS=all` and where strace can trace: minutes, and Linux. strace gets no
`--seccomp-bpf`: with it the faults silently do not happen. That each did is read from its log.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from tests.checkpoint.faults import STRIDE
from tests.checkpoint.two_images import resume

STRACE = shutil.which("strace")
SCRIPT = """
import sys, anyio
from pathlib import Path
from nanobatch.errors import CheckpointError
from tests.checkpoint.two_images import draw_two
try:
    anyio.run(draw_two, Path(sys.argv[1]), Path(sys.argv[2]))
except CheckpointError as error:
    print(error)
"""
EVERY = 5
"""Of the hundred writes inside of the commits, every fifth: each run starts an interpreter."""

pytestmark = [
    pytest.mark.skipif(STRIDE > 1, reason="long: set NANOBATCH_FAULTS=all"),
    pytest.mark.skipif(STRACE is None, reason="there is no strace"),
    pytest.mark.timeout(1200),
]


def _run(folder: Path, told: Path, log: Path, inject: str) -> subprocess.CompletedProcess[str]:
    repository = Path(__file__).parents[2]
    call, _, _ = inject.partition(":")
    database = os.fspath(folder / "ledger.sqlite")
    return subprocess.run(
        [
            *(STRACE or "", "-f", "-qq", "-o", os.fspath(log), "-e", f"trace={call}"),
            *("-P", database, "-P", f"{database}-journal", "-e", f"inject={inject}"),
            *(sys.executable, "-c", SCRIPT, os.fspath(folder), os.fspath(told)),
        ],
        env={**os.environ, "PYTHONPATH": f"{repository / 'src'}:{repository}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("fault", ["error=EIO", "error=ENOSPC", "signal=SIGKILL"])
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "fsync", "ftruncate"])
def test_a_fault_inside_a_commit_is_a_sentence_and_nothing_is_lost(
    folder: Path, call: str, fault: str
) -> None:
    fired, at = 0, 1
    while True:
        run_folder, told, log = (folder / f"{at}{end}" for end in ("", ".told", ".log"))
        told.touch()

        done = _run(run_folder, told, log, f"{call}:{fault}:when={at}")

        traced = log.read_text()
        if "PTRACE" in done.stderr:
            pytest.skip("this system does not let strace trace")
        assert "Traceback" not in done.stderr, done.stderr
        is_killed = done.returncode in (-9, 137)
        happened = is_killed if "SIGKILL" in fault else "(INJECTED)" in traced
        if run_folder.exists():
            anyio.run(resume, run_folder, told)
            shutil.rmtree(run_folder)
        if not happened:
            assert done.stdout == ""
            break
        fired += 1
        if not is_killed and done.stdout:
            assert "lost" in done.stdout or "untouched" in done.stdout or "safe" in done.stdout
        at += EVERY
    used = call in ("pwrite64", "fdatasync")  # the others depend on how SQLite was built
    assert fired >= 3 or not used
