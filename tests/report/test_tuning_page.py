"""The page about tuning runs as it is printed, and prints and draws what it shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from PIL import Image

from tests.docs.pages import DOCS, output_of, shown_on

if TYPE_CHECKING:
    from pathlib import Path

PAGE = DOCS / "how-to" / "tune-a-threshold.md"


def test_the_code_of_the_page_runs_and_prints_what_the_page_shows(tmp_path: Path) -> None:
    shown, printed = shown_on(PAGE), output_of(PAGE, cwd=tmp_path)

    lines = printed.splitlines()
    assert [_label(line) for line in lines[:6]] == [_label(line) for line in shown.splitlines()]
    for name in ("against-the-run.png", "between-two-values.png"):
        with Image.open(tmp_path / name) as sheet:
            assert sheet.width == 6 * 168 + 8  # six thumbnails of 160 px and their gaps


def _label(line: str) -> str:
    """Return what a line is about: its figures follow the version of Pillow."""
    return re.split(r"  +|:", line)[0]
