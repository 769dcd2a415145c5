"""The page about what-if questions runs as it is printed, and prints the lines it shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "what-if.md"


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
    printed = finished.stdout.splitlines()[: len(shown.splitlines())]
    assert [_label(line) for line in printed] == [_label(line) for line in shown.splitlines()]
    assert finished.stdout.count("Calls priced again") == 3


def _label(line: str) -> str:
    """Return what a line is about: its figures follow the size of files, and so the machine."""
    return re.split(r"  +|:", line)[0]
