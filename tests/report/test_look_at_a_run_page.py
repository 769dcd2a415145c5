"""The page about looking at a run is true: its code runs, and it is the code that a page copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.docs.pages import DOCS, output_of, shown_on
from tests.report.pages import read_page

if TYPE_CHECKING:
    from pathlib import Path

PAGE = DOCS / "how-to" / "look-at-a-run.md"


def test_the_code_of_the_page_runs_and_writes_what_the_page_names(tmp_path: Path) -> None:
    shown, printed = shown_on(PAGE), output_of(PAGE, cwd=tmp_path)

    assert printed == f"{shown}2 images to finish\n"
    assert (tmp_path / "runs" / "wallpapers-thumbnails").is_dir()
    page = read_page(tmp_path / "runs" / "wallpapers.html")
    links = [item["file"] for item in page.items if item["verdict"] == "accepted"]
    assert len(links) == 20
    assert all((tmp_path / "runs" / link).is_file() for link in links)
    assert {link.rpartition("/")[0] for link in links} == {"wallpapers/images"}
