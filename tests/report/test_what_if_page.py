"""The page about what-if questions runs as it is printed, and prints the lines it shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.docs.pages import DOCS, output_of, shown_on

if TYPE_CHECKING:
    from pathlib import Path

PAGE = DOCS / "how-to" / "what-if.md"


def test_the_code_of_the_page_runs_and_prints_what_the_page_shows(tmp_path: Path) -> None:
    shown, printed = shown_on(PAGE), output_of(PAGE, cwd=tmp_path)

    lines = printed.splitlines()[: len(shown.splitlines())]
    assert [_label(line) for line in lines] == [_label(line) for line in shown.splitlines()]
    assert printed.count("Calls priced again") == 3


def _label(line: str) -> str:
    """Return what a line is about: its figures follow the size of files, and so the machine."""
    return re.split(r"  +|:", line)[0]
