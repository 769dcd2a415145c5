"""The page about looking at a run is true: its code runs, and it is the code that a page copies."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.report.pages import read_page

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "look-at-a-run.md"


def test_the_code_of_the_page_runs_and_writes_what_the_page_names(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", text, flags=re.DOTALL)

    finished = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == f"{shown}2 images to finish\n"
    assert (tmp_path / "runs" / "wallpapers-thumbnails").is_dir()
    page = read_page(tmp_path / "runs" / "wallpapers.html")
    links = [item["file"] for item in page.items if item["verdict"] == "accepted"]
    assert len(links) == 20
    assert all((tmp_path / "runs" / link).is_file() for link in links)
    assert {link.rpartition("/")[0] for link in links} == {"wallpapers/images"}
