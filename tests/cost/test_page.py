"""The page on intervals runs from top to bottom and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

PAGE = Path(__file__).parents[2] / "docs/explanation/intervals.md"
PROMISED = re.compile(r"print\(.*\)  # (.*n = 50\).*)")


def test_the_page_on_intervals_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))

    exec(compile(code, PAGE.name, "exec"), {})  # noqa: S102 - our own page

    printed = capsys.readouterr().out
    promised = PROMISED.findall(code)
    assert len(promised) == 4
    assert all(f"{line}\n" in printed for line in promised)
