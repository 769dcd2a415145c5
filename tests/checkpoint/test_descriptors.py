"""What was paid for is saved although the process has no file descriptor left."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

import anyio
import pytest

from nanobatch.checkpoint import Checkpoint, descriptors
from nanobatch.checkpoint.descriptors import RESERVE
from nanobatch.errors import CheckpointError
from tests.checkpoint.children import run
from tests.checkpoint.story import Story, job, png

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 128


def _use_up() -> list[int]:
    """Open files until no more can be opened."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, hard))
    mine: list[int] = []
    while True:
        try:
            mine.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            return mine


async def test_an_answer_is_staged_settled_and_accepted_out_of_the_reserve(folder: Path) -> None:
    async def draw_without_descriptors() -> None:
        async with Checkpoint.open(folder) as checkpoint:
            story = Story(checkpoint.store)
            taken = story.take(job(want=3), run=1)
            mine: list[int] = []
            for shade in (1, 2, 3):
                mine += _use_up()
                story.accept(taken, story.draw(taken, png(shade)))
            for one in mine:
                os.close(one)

    assert run(lambda: anyio.run(draw_without_descriptors)) == 0

    with Checkpoint.read(folder) as reader:
        assert [image.number for image in reader.images()] == [1, 2, 3]
        assert reader.verify().is_clean


async def test_when_others_snatch_even_the_reserve_it_is_a_sentence(folder: Path) -> None:
    async def draw_without_reserve() -> None:
        descriptors.PATIENCE_SECONDS = 0.1
        async with Checkpoint.open(folder) as checkpoint:
            story = Story(checkpoint.store)
            taken = story.take(job(), run=1)
            _, call = story.begin(taken)
            RESERVE._spend()
            mine = _use_up()
            with pytest.raises(CheckpointError, match=r"too many files are open: raise the limit"):
                story.stage(call, png(1))
            with pytest.raises(CheckpointError, match=r"too many files are open: raise the limit"):
                story.begin(taken)
            for one in mine:
                os.close(one)
            story.draw(taken, png(2))  # nothing was closed for good

    assert run(lambda: anyio.run(draw_without_reserve)) == 0

    with Checkpoint.read(folder) as reader:
        assert reader.verify().is_clean


async def test_the_reserve_is_given_back_when_the_last_checkpoint_closes(folder: Path) -> None:
    before = len(RESERVE._spares)
    async with Checkpoint.open(folder / "a"):
        async with Checkpoint.open(folder / "b"):
            both = len(RESERVE._spares)
        one = len(RESERVE._spares)

    assert (before, both, one, len(RESERVE._spares)) == (0, 4, 4, 0)
    with pytest.raises(CheckpointError):
        async with Checkpoint.open(folder / "a" / "lock" / "b"):
            pass
    assert len(RESERVE._spares) == 0
