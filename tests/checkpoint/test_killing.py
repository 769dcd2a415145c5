"""Killed at any point, a checkpoint opens again, and nothing announced or paid for is lost.

A forked process draws and accepts two images and is killed at its n-th step: before each commit,
each fsync, and each link, rename or removal of a file; n is every number there is.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TextIO

import anyio
import pytest

from nanobatch.checkpoint import Checkpoint, CheckpointReader, JobStatus
from nanobatch.models.money import usd_of_nano
from tests.checkpoint.children import KILLED, kill_at, run
from tests.checkpoint.story import PRICE, Drawn, Story, job, png

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEPS = ("fsync", "link", "replace", "unlink")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory if there is one: a kill takes nothing away that was written."""
    memory = Path("/dev/shm")  # noqa: S108 - its subfolder is made safely
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=memory) as name:
        yield Path(name)


def _kill_this_process_at(point: int) -> None:
    """Count everything that touches the disk from now on; for a process of its own."""
    step = kill_at(point)

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            step()
            return real(*arguments, **options)

        return call

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    connect = sqlite3.connect

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(lambda statement: step() if statement == "COMMIT" else None)
        return connection

    sqlite3.connect = traced  # type: ignore[assignment] # the child's own copy


def _telling(told: Path) -> TextIO:
    return told.open("a", buffering=1)  # a line told is a line in the file, killed or not


def _told(told: Path) -> tuple[int, list[str]]:
    """Return how many calls were sent, and the paths announced."""
    lines = told.read_text().splitlines()
    return lines.count("sent"), [line for line in lines if line != "sent"]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def _draw_two(folder: Path, told: Path) -> None:
    """Draw and accept two images, telling what was sent and what was announced."""
    async with Checkpoint.open(folder) as checkpoint:
        with _telling(told) as tell:
            story = Story(checkpoint.store)
            taken = story.take(job(want=2), run=1)
            for shade in (1, 2):
                slot, call = story.begin(taken)
                tell.write("sent\n")
                rows = story.stage(call, png(shade))
                story.settle(taken, slot, call, rows=rows)
                path = story.accept(taken, Drawn(slot=slot, call=call, row=rows[0]))
                tell.write(f"{path}\n")


async def _resume(folder: Path, told: Path) -> int:
    """Open it again, check that all is right, and go on to the end; return what was adopted."""
    sent, announced = _told(told)
    async with Checkpoint.open(folder) as checkpoint:
        _check(checkpoint, sent=sent, announced=announced)
        story = Story(checkpoint.store)
        taken = story.take(job(want=2), run=2)
        adopted = len(taken.leftovers)
        for leftover in taken.leftovers:
            story.accept(taken, Drawn(slot=leftover.slot, call=0, row=leftover.row))
        while (taken.next_number - 1) < 2:
            story.accept(taken, story.draw(taken))
        again = story.take(job(want=2), run=3)
        assert again.status is JobStatus.DONE
        assert _names(folder / "images") == ["fox-1.png", "fox-2.png"]
        assert _names(folder / "staging") == []
        assert checkpoint.verify().is_clean
    return adopted


def _check(checkpoint: CheckpointReader, *, sent: int, announced: list[str]) -> None:
    root = checkpoint.root
    images = [str(image.path) for image in checkpoint.images()]
    assert images[: len(announced)] == announced
    assert len(images) <= sent
    report = checkpoint.verify()
    assert report.is_clean, report
    assert _names(root / "images") == sorted(Path(name).name for name in images)
    assert report.staged == len(_names(root / "staging"))
    assert not (root / "lost+found").exists()
    paid = usd_of_nano(sent * PRICE)
    assert checkpoint.spend.confirmed_usd <= paid <= checkpoint.spend.worst_case_usd
    # An intent may be written and the process killed before it could send.
    assert checkpoint.spend.worst_case_usd <= paid + 2 * Decimal("0.12")


def test_killed_at_every_step_of_two_images_nothing_is_lost(folder: Path) -> None:
    point, adopted = 0, 0
    while True:
        point += 1
        run_folder, told = folder / f"{point}", folder / f"{point}.told"
        told.touch()

        def be_killed(point: int = point, run_folder: Path = run_folder, told: Path = told) -> None:
            _kill_this_process_at(point)
            anyio.run(_draw_two, run_folder, told)

        code = run(be_killed)
        adopted += anyio.run(_resume, run_folder, told)
        shutil.rmtree(run_folder)
        if code == 0:
            break
        assert code == KILLED

    assert point > 25  # it was killed indeed, again and again
    assert adopted >= 6  # and with images on the disk that no row spoke of, or nobody had judged


def test_killed_at_every_step_of_recovering_nothing_is_lost(folder: Path) -> None:
    """The hardest state: one answer staged and not settled, one linked and without its row."""
    killed, told = folder / "killed", folder / "told"

    async def leave_a_mess() -> None:
        async with Checkpoint.open(killed) as checkpoint:
            story = Story(checkpoint.store)
            taken = story.take(job(want=2), run=1)
            drawn = story.draw(taken, png(1))
            story.store.files.accept(drawn.staged, "fox-1")
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
            _kill_this_process_at(point)
            anyio.run(_open_and_close, run_folder)

        code = run(be_killed)
        assert anyio.run(_resume, run_folder, told) == 2
        shutil.rmtree(run_folder)

    assert code == 0
    assert point > 8


async def _open_and_close(folder: Path) -> None:
    async with Checkpoint.open(folder):
        pass
