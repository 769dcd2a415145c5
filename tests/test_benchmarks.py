"""The studies run; what they find takes minutes and is not tested here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_coverage_study_prints_every_table() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.economics.coverage", "--quick", "--scale", "0.04"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    assert finished.returncode == 0, finished.stderr
    for title in ("One look: ", "Every look ", "Exact ties, ", "Clear cases: ", "Bills within "):
        assert title in finished.stdout


def test_the_near_duplicate_study_prints_every_line() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.filters.near_duplicate", "--images", "1000"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    assert finished.returncode == 0, finished.stderr
    assert "for 1,000 images" in finished.stdout
    for line in ("independent  distance  6", "families     distance 10"):
        assert line in finished.stdout
