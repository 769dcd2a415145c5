"""The page about watching a run does what it says, as it is printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "watch-a-run.md"


def test_the_code_of_the_page_runs_and_logs_and_writes_what_it_says(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)

    finished = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert finished.returncode == 0, finished.stderr
    assert len(blocks) == 3
    [line] = finished.stderr.splitlines()  # of the first run only: the others choose otherwise
    assert "20 of 20 images (100 %); accept rate " in line
    assert line.endswith("ended: complete")
    status, ended = finished.stdout.split("\n\n")
    assert re.fullmatch(r"20 of 20, 0\.\d+", status)
    assert ended.splitlines()[-1] == "complete"
