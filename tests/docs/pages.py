"""The pages of the documentation, and the blocks of code on them."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^( *)```(.*)\n((?:.*\n)*?)\1```$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block of a page."""

    language: str
    text: str
    line: int
    """Where its first line stands on the page, from 1."""


def pages() -> dict[str, Path]:
    """Return every Markdown page by its name, `how-to/resume-and-inspect`; `README` is one."""
    found = {
        str(path.relative_to(DOCS).with_suffix("")): path
        for path in sorted(DOCS.rglob("*.md"))
        if "_build" not in path.parts
    }
    return {"README": ROOT / "README.md", **found}


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, from top to bottom."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            language=found[2].strip(),
            text=re.sub(f"^{found[1]}", "", found[3], flags=re.MULTILINE),
            line=text[: found.start(3)].count("\n") + 1,
        )
        for found in FENCE.finditer(text)
    ]


def output_of(page: Path, *, cwd: Path) -> str:
    """Run all Python of a page as one program, in a folder; return what it printed."""
    program = "\n".join(block.text for block in blocks(page) if block.language == "python")
    finished = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def shown_on(page: Path) -> str:
    """Return the one block of a page that shows what its program prints."""
    (shown,) = (block.text for block in blocks(page) if block.language == "text")
    return shown


def prose(page: Path) -> str:
    """Return a page without its blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))
