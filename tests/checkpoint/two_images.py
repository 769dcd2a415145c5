"""The story that is interrupted at every step: two images are drawn, accepted and announced."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from nanobatch.checkpoint import Checkpoint, CheckpointReader, JobStatus
from nanobatch.models.money import usd_of_nano
from tests.checkpoint.story import PRICE, Drawn, Story, job, png

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES = (png(1), png(2))


def telling(told: Path) -> TextIO:
    """Open the file in which a run tells what it sent and what it announced."""
    return told.open("a", buffering=1)  # a line told is a line in the file, killed or not


def read_told(told: Path) -> tuple[int, list[str]]:
    """Return how many calls were sent, and the paths announced."""
    lines = told.read_text().splitlines()
    return lines.count("sent"), [line for line in lines if line != "sent"]


def names(folder: Path) -> list[str]:
    """Return the names in a folder."""
    return sorted(path.name for path in folder.iterdir())


async def draw_two(folder: Path, told: Path) -> None:
    """Draw and accept two images, telling what was sent and what was announced."""
    async with Checkpoint.open(folder) as checkpoint:
        with telling(told) as tell:
            story = Story(checkpoint.store)
            taken = story.take(job(want=2), run=1)
            for image in IMAGES:
                slot, call = story.begin(taken)
                tell.write("sent\n")
                rows = story.stage(call, image)
                story.settle(taken, slot, call, rows=rows)
                path = story.accept(taken, Drawn(slot=slot, call=call, row=rows[0]))
                tell.write(f"{path}\n")


async def resume(folder: Path, told: Path) -> int:
    """Open it again, check that all is right, and go on to the end; return what was adopted."""
    sent, announced = read_told(told)
    async with Checkpoint.open(folder) as checkpoint:
        check(checkpoint, sent=sent, announced=announced)
        story = Story(checkpoint.store)
        taken = story.take(job(want=2), run=2)
        adopted = len(taken.leftovers)
        for leftover in taken.leftovers:
            story.accept(taken, Drawn(slot=leftover.slot, call=0, row=leftover.row))
        while (taken.next_number - 1) < 2:
            story.accept(taken, story.draw(taken))
        again = story.take(job(want=2), run=3)
        assert again.status is JobStatus.DONE
        assert names(folder / "images") == ["fox-1.png", "fox-2.png"]
        assert names(folder / "staging") == []
        assert checkpoint.verify().is_clean
    with Checkpoint.read(folder) as reader:
        assert reader.verify().faults == ()
    return adopted


def check(checkpoint: CheckpointReader, *, sent: int, announced: list[str]) -> None:
    """Check that nothing announced is lost, no file is half, and all money is there."""
    root = checkpoint.root
    images = [str(image.path) for image in checkpoint.images()]
    assert images[: len(announced)] == announced
    assert len(images) <= sent
    report = checkpoint.verify()
    assert report.is_clean, report
    assert names(root / "images") == sorted(Path(name).name for name in images)
    assert report.staged == len(names(root / "staging"))
    assert set(whole_files(root)) <= set(IMAGES)
    assert not (root / "lost+found").exists()
    paid = usd_of_nano(sent * PRICE)
    assert checkpoint.spend.confirmed_usd <= paid <= checkpoint.spend.worst_case_usd
    # An intent may be written and the process killed before it could send.
    assert checkpoint.spend.worst_case_usd <= paid + 2 * Decimal("0.12")


def whole_files(root: Path) -> Iterator[bytes]:
    """Yield the bytes behind every final name."""
    for folder in ("images", "staging"):
        if (root / folder).is_dir():
            for path in (root / folder).iterdir():
                if path.suffix != ".part":
                    yield path.read_bytes()
