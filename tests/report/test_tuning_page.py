"""The page about tuning runs as it is printed, and prints and draws what it shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "tune-a-threshold.md"


def test_the_code_of_the_page_runs_and_prints_what_the_page_shows(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", page, flags=re.DOTALL)

    finished = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert finished.returncode == 0, finished.stderr
    printed = finished.stdout.splitlines()
    assert [_label(line) for line in printed[:6]] == [_label(line) for line in shown.splitlines()]
    for name in ("against-the-run.png", "between-two-values.png"):
        with Image.open(tmp_path / name) as sheet:
            assert sheet.width == 6 * 168 + 8  # six thumbnails of 160 px and their gaps


def _label(line: str) -> str:
    """Return what a line is about: its figures follow the version of Pillow."""
    return re.split(r"  +|:", line)[0]
