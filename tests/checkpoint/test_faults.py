"""Whatever step to the disk fails, the error is a sentence, and nothing paid for is lost.

Every fifth step is tried; with `NANOBATCH_FAULTS=all` it is every step.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from nanobatch.checkpoint import descriptors
from nanobatch.errors import CheckpointError
from tests.checkpoint.children import run
from tests.checkpoint.faults import STRIDE, Fault, inject
from tests.checkpoint.two_images import draw_two, read_told, resume

if TYPE_CHECKING:
    from pathlib import Path

SAFE = ("Nothing that was saved before is lost", "Everything else is safe")
STEPS = {"open", "write", "fsync", "link", "replace", "unlink", "COMMIT"}
APPLIES = {
    Fault.EIO: STEPS,
    Fault.ENOSPC: {"open", "write", "link", "replace", "COMMIT"},
    Fault.EROFS: {"open", "write", "link", "replace", "unlink", "COMMIT"},
    Fault.EMFILE: {"open", "COMMIT"},
}


def _run(folder: Path, told: Path, seen: Path, fault: Fault, *, at: int, for_good: bool) -> None:
    """Draw two images with a fault; for a process of its own, which tells what it saw."""
    descriptors.PATIENCE_SECONDS = 0.1
    injected = inject(fault, at=at, root=folder, for_good=for_good)
    said = ""
    try:
        anyio.run(draw_two, folder, told)
    except CheckpointError as error:
        said = str(error)
    seen.write_text(
        json.dumps({"step": injected.fired, "again": injected.synced_again, "said": said})
    )


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("fault", APPLIES, ids=lambda fault: fault.name)
def test_a_step_that_fails_is_a_sentence_and_nothing_is_lost(
    folder: Path, fault: Fault, for_good: bool
) -> None:
    failed: set[str] = set()
    point, refused = 1, 0
    while True:
        run_folder, told, seen = (folder / f"{point}{end}" for end in ("", ".told", ".seen"))
        told.touch()

        def fail(
            point: int = point, run_folder: Path = run_folder, told: Path = told, seen: Path = seen
        ) -> None:
            _run(run_folder, told, seen, fault, at=point, for_good=for_good)

        assert run(fail) == 0
        saw: dict[str, Any] = json.loads(seen.read_text())
        anyio.run(resume, run_folder, told)
        if run_folder.exists():
            shutil.rmtree(run_folder)
        if not saw["step"]:
            break
        assert saw["again"] == ""
        if saw["said"]:
            refused += 1
            assert any(words in saw["said"] for words in SAFE), saw
        else:
            assert len(read_told(told)[1]) == 2, saw
        failed.add(saw["step"].split()[0])
        point += STRIDE

    assert failed <= APPLIES[fault] | {"mkdir"}
    assert point > 20  # it did fail, again and again
    assert refused >= 3 or (fault is Fault.EMFILE and not for_good)
    if STRIDE == 1:
        assert failed >= APPLIES[fault]
