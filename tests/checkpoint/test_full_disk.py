"""A disk that takes no more is an error that says so, and nothing accepted before is lost."""

from __future__ import annotations

import errno
import os
import random
import resource
from decimal import Decimal
from typing import TYPE_CHECKING

import anyio
import pytest

from nanobatch.checkpoint import Checkpoint, JobStatus
from nanobatch.errors import CheckpointError
from tests.checkpoint.children import run
from tests.checkpoint.story import Story, job, png

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.checkpoint import TakenJob

LARGE = png() + random.Random(1).randbytes(400_000)


def limit_files_to(size_bytes: int) -> None:
    """Let no file of this process grow beyond a size, as a full disk would (errno EFBIG)."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


def _accept_many(story: Story, taken: TakenJob, told: Path) -> None:
    for _ in range(5000):
        path = story.accept(taken, story.draw(taken))
        with told.open("a") as file:
            file.write(f"{path}\n")


def _announced(told: Path) -> list[str]:
    return told.read_text().splitlines() if told.exists() else []


async def test_a_ledger_that_cannot_grow_is_an_error_and_keeps_what_was_accepted(
    tmp_path: Path,
) -> None:
    folder, told = tmp_path / "run", tmp_path / "told"

    async def fill() -> None:
        async with Checkpoint.open(folder) as checkpoint:
            story = Story(checkpoint.store)
            taken = story.take(job(want=5000), run=1)
            limit_files_to((folder / "ledger.sqlite").stat().st_size + 3 * 4096)
            with pytest.raises(CheckpointError, match="could not be written") as refused:
                _accept_many(story, taken, told)
            assert "Nothing that was saved before is lost" in str(refused.value)
            assert refused.value.path == folder
            with pytest.raises(CheckpointError):  # and it stays one
                _accept_many(story, taken, told)

    assert run(lambda: anyio.run(fill)) == 0
    announced = _announced(told)

    async with Checkpoint.open(folder) as checkpoint:
        kept = [str(image.path) for image in checkpoint.images()]
        again = Story(checkpoint.store).take(job(want=5000), run=2)
        assert len(announced) >= 3
        assert kept == announced
        assert checkpoint.verify().is_clean
        assert again.status is JobStatus.PENDING
        assert len(again.leftovers) <= len(list((folder / "staging").iterdir())) + 1
        assert list((folder / "images").iterdir()) != []
        assert not (folder / "lost+found").exists()


async def test_an_image_that_does_not_fit_is_an_error_and_its_call_stays_unknown_money(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"

    async def fill() -> None:
        async with Checkpoint.open(folder) as checkpoint:
            story = Story(checkpoint.store)
            taken = story.take(job(want=2), run=1)
            story.accept(taken, story.draw(taken))
            limit_files_to(300_000)
            _, call = story.begin(taken)
            with pytest.raises(CheckpointError, match=r"The disk refused an image file in .*stag"):
                story.stage(call, LARGE)
            assert list(story.store.files.staging.iterdir()) == []  # nor half of it

    assert run(lambda: anyio.run(fill)) == 0

    with Checkpoint.read(folder) as reader:
        assert len(list(reader.images())) == 1
        assert reader.spend.confirmed_usd == Decimal("0.0336")
        assert reader.spend.unknown_usd == Decimal("0.12")
        assert reader.verify().is_clean


async def test_an_image_that_cannot_be_linked_stays_staged(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    async with Checkpoint.open(folder) as checkpoint:
        story = Story(checkpoint.store)
        taken = story.take(job(want=2), run=1)
        drawn = story.draw(taken)
        (folder / "images").rmdir()

        with pytest.raises(CheckpointError, match="The disk refused an image file"):
            story.accept(taken, drawn)

    async with Checkpoint.open(folder) as checkpoint:
        [leftover] = Story(checkpoint.store).take(job(want=2), run=2).leftovers
        assert leftover.row == drawn.row
        assert checkpoint.verify().is_clean


async def test_a_file_system_without_hard_links_gets_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*names: object, **options: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        taken = story.take(job(), run=1)
        path = story.accept(taken, story.draw(taken, LARGE))
        assert checkpoint.verify().is_clean

    assert path.read_bytes() == LARGE
    assert [one.name for one in (tmp_path / "images").iterdir()] == ["fox-1.png"]
    assert list((tmp_path / "staging").iterdir()) == []


async def test_a_failing_fsync_is_an_error_and_is_not_tried_again_on_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def fails(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        taken = story.take(job(), run=1)
        _, call = story.begin(taken)
        monkeypatch.setattr(os, "fsync", fails)
        with pytest.raises(CheckpointError, match="Input/output error"):
            story.stage(call, png())
        monkeypatch.undo()

    assert len(calls) == 1
    with Checkpoint.read(tmp_path) as reader:
        assert list(reader.candidates()) == []
        assert reader.spend.unknown_usd == Decimal("0.12")
