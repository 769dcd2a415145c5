"""Every example runs as printed, needs no key, and writes only where it was told to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_leaves_images_behind(example: Path, tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, str(example), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env={**os.environ, "HOME": str(tmp_path / "home")},
    )

    assert finished.returncode == 0, finished.stderr
    assert finished.stdout
    assert finished.stderr == ""
    images = [path for path in (tmp_path / "out").rglob("images/*") if path.is_file()]
    assert images


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_enough_to_read_at_once(example: Path) -> None:
    assert len(example.read_text().splitlines()) <= 60
