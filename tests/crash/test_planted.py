"""The bugs that `nox -s planted` plants still find the lines they change, and still compile."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.crash.planted.__main__ import PACKAGE, plant
from tests.crash.planted.planted import PLANTED

if TYPE_CHECKING:
    from pathlib import Path

    from tests.crash.planted.planted import PlantedBug


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)
def test_a_bug_can_be_planted(bug: PlantedBug, tmp_path: Path) -> None:
    files = {edit.file for edit in bug.edits}
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE / file, tmp_path / file)

    plant(bug, tmp_path)

    for file in files:
        changed = (tmp_path / file).read_text()
        assert changed != (PACKAGE / file).read_text()
        compile(changed, file, "exec")
