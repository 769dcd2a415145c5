"""What type checkers say of reports; mypy and pyright read this file, pytest runs it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import assert_type

import anyio
from PIL.Image import Image

from nanobatch import Estimate, filters
from nanobatch.report import (
    Replay,
    ReplayedCandidate,
    Tuning,
    TuningPoint,
    tune,
    tune_sync,
    write_html,
)
from tests.report.batches import AtLeast, grades


def test_tuning_has_the_types_it_is_documented_with(tmp_path: Path) -> None:
    anyio.run(grades, tmp_path)
    tuning = tune_sync(tmp_path, filters.MinBytes, [0, 10])
    point = tuning[10]

    assert_type(tuning, Tuning)
    assert_type(point, TuningPoint)
    assert_type(point.accept, Estimate | None)
    assert_type(point.usd_per_accepted, Decimal | None)
    assert_type(point.newly_rejected, tuple[ReplayedCandidate, ...])
    assert_type(point.outcome, Replay)
    assert_type(tuning.contact_sheet(10), Image)


async def test_awaited_tuning_has_the_same_type(tmp_path: Path) -> None:
    await grades(tmp_path)

    assert_type(await tune(tmp_path, AtLeast, range(3)), Tuning)
    assert_type(
        await tune(tmp_path, lambda share: filters.Sharpness(min_sharpness=share), [0.5]), Tuning
    )


def test_writing_a_page_gives_its_path(tmp_path: Path) -> None:
    anyio.run(grades, tmp_path / "run")

    assert_type(write_html(tmp_path / "run", tmp_path / "run.html", thumbnails="beside"), Path)
    assert_type(write_html(str(tmp_path / "run"), str(tmp_path / "run.html"), title="Foxes"), Path)
