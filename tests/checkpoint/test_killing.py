"""Killed at any point, a checkpoint opens again, and nothing announced or paid for is lost.

A forked process draws and accepts two images and is killed at its n-th step: before each commit,
and before each open, write, fsync, link, rename and removal of a file; n is every number there is.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import anyio

from nanobatch.checkpoint import Checkpoint
from tests.checkpoint.children import KILLED, kill_at, run
from tests.checkpoint.faults import Fault, inject
from tests.checkpoint.story import Story, job, png
from tests.checkpoint.two_images import draw_two, resume

if TYPE_CHECKING:
    from pathlib import Path


def test_killed_at_every_step_of_two_images_nothing_is_lost(folder: Path) -> None:
    point, adopted = 0, 0
    while True:
        point += 1
        run_folder, told = folder / f"{point}", folder / f"{point}.told"
        told.touch()

        def be_killed(point: int = point, run_folder: Path = run_folder, told: Path = told) -> None:
            inject(Fault.KILL, at=point, root=run_folder)
            anyio.run(draw_two, run_folder, told)

        code = run(be_killed)
        adopted += anyio.run(resume, run_folder, told)
        shutil.rmtree(run_folder)
        if code == 0:
            break
        assert code == KILLED

    assert point > 40  # it was killed indeed, again and again
    assert adopted >= 6  # and with images on the disk that no row spoke of, or nobody had judged


def test_killed_at_every_step_of_recovering_nothing_is_lost(folder: Path) -> None:
    """The hardest state: one answer staged and not settled, one linked and without its row."""
    killed, told = folder / "killed", folder / "told"

    async def leave_a_mess() -> None:
        async with Checkpoint.open(killed) as checkpoint:
            story = Story(checkpoint.store)
            taken = story.take(job(want=2), run=1)
            drawn = story.draw(taken, png(1))
            story.store.files.accept(drawn.staged, "fox-1", sha256=drawn.row.sha256)
            _, call = story.begin(taken)
            story.stage(call, png(2))
            (story.store.files.staging / "9-00.png.part").write_bytes(b"half")
            kill_at(1)()

    assert run(lambda: anyio.run(leave_a_mess)) == KILLED
    point, code = 0, KILLED
    while code == KILLED:
        point += 1
        run_folder = folder / f"{point}"
        shutil.copytree(killed, run_folder)
        (run_folder / "images" / "fox-1.png").unlink()  # a copy of the tree is no hard link
        (run_folder / "images" / "fox-1.png").hardlink_to(run_folder / "staging" / "1-00.png")
        told.write_text("sent\nsent\n")

        def be_killed(point: int = point, run_folder: Path = run_folder) -> None:
            inject(Fault.KILL, at=point, root=run_folder)
            anyio.run(_open_and_close, run_folder)

        code = run(be_killed)
        assert anyio.run(resume, run_folder, told) == 2
        shutil.rmtree(run_folder)

    assert code == 0
    assert point > 8


async def _open_and_close(folder: Path) -> None:
    async with Checkpoint.open(folder):
        pass
