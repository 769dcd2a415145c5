"""A replay shows itself: aligned columns in a terminal, escaped tables in a notebook."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING

import pytest

from nanobatch import Candidate, Job, Route
from nanobatch.report import replay
from tests.report.batches import AtLeast, batch, grades

if TYPE_CHECKING:
    from pathlib import Path


async def test_before_and_after_stand_side_by_side(tmp_path: Path) -> None:
    await grades(tmp_path)

    lines = str(await replay(tmp_path, filters=[AtLeast(3)])).splitlines()

    cells = [re.split(r"  +", line.strip()) for line in lines]
    assert cells[0] == ["before", "after"]
    assert ["Accept rate", "50.0 %", "70.0 %"] in cells
    assert ["Accepted", "5", "7"] in cells
    assert ["Delivered of wanted", "5 of 10", "7 of 10"] in cells
    assert ["at_least", "5", "3"] in cells
    assert "Judged again: 10. Passing only now: 2. Rejected only now: 0." in lines
    assert len({len(line) for line in lines[:9]}) == 1  # aligned


async def test_tags_have_a_table_when_there_is_more_than_one(tmp_path: Path) -> None:
    await grades(tmp_path)

    shown = str(await replay(tmp_path, filters=[AtLeast(3)]))

    [row] = [line for line in shown.splitlines() if line.startswith("odd")]
    assert row.split()[:4] == ["odd", "5", "3", "4"]
    assert "\nTier" not in shown  # only Lite was asked


async def test_a_notebook_gets_escaped_text(tmp_path: Path) -> None:
    def script(candidate: Candidate) -> bool:
        return False

    script.__name__ = "<script>alert(1)</script>"
    jobs = [Job(id=tag, prompt="a fox", tag=tag, route=Route.LITE) for tag in ("<b>", "&")]
    await batch(tmp_path, jobs, filters=[])

    html = (await replay(tmp_path, filters=[script]))._repr_html_()

    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<td>&lt;b&gt;</td>" in html
    assert html.count("<table>") == html.count("</table>") == 3


async def test_its_repr_is_one_line_however_many_images(tmp_path: Path) -> None:
    await grades(tmp_path)

    outcome = await replay(tmp_path, filters=[AtLeast(3)])

    assert repr(outcome) == ("<Replay of 10 images: 5 accepted before, 7 after, 0 not judged>")


async def test_its_values_are_frozen(tmp_path: Path) -> None:
    await grades(tmp_path)
    outcome = await replay(tmp_path, filters=[AtLeast(3)])

    with pytest.raises(FrozenInstanceError):
        outcome.undone_finishes = 1  # type: ignore[misc]  # that is the test
    with pytest.raises(TypeError):
        outcome.rejections_after["at_least"] = 0  # type: ignore[index]  # that is the test
