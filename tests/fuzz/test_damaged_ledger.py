"""Whatever a disk did to the ledger: what can be read is read, the rest is a `CheckpointError`."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from nanobatch import Checkpoint, CheckpointError, JobChangedError
from nanobatch.checkpoint.changes import NewFailure
from nanobatch.cost import Outcome
from nanobatch.models import Tier
from tests.checkpoint.story import Story, abandon, job
from tests.fuzz.mutator import Campaign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nanobatch import CheckpointReader

PAGE_BYTES = 4096


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory if there is one: thousands of checkpoints are written here."""
    memory = Path("/dev/shm")  # noqa: S108 - its subfolder is made safely
    name = mkdtemp(dir=memory if os.access(memory, os.W_OK) else None)
    yield Path(name)
    shutil.rmtree(name)


async def _write(root: Path) -> None:
    """Write a checkpoint that has some of everything."""
    async with Checkpoint.open(root) as checkpoint:
        story = Story(checkpoint.store)
        for name in ("fox", "föx/1", "owl"):
            taken = story.take(job(name, want=3, tag="x", metadata={"n": [1.5]}), run=1)
            for _ in range(2):
                story.accept(taken, story.draw(taken), score=0.5)
            story.reject(story.draw(taken), "blurry (0.1)")
            story.keep(story.draw(taken), score=1.0)
            failure = NewFailure(
                job=taken.number, slot=None, kind="timeout", message="late", model_id="painter"
            )
            slot, call = story.begin(taken)
            story.settle(
                taken,
                slot,
                call,
                outcome=Outcome.UNKNOWN,
                usd_nano=0,
                unknown_nano=10**8,
                failure=failure,
            )
            story.begin(taken)


def _damaged(ledger: bytes, number: int) -> bytes:
    """Return the database with bytes flipped, pages zeroed or swapped, or its end cut off."""
    random = Random(number)
    data = bytearray(ledger)
    pages = len(data) // PAGE_BYTES
    match random.randrange(8):
        case 0:
            start = random.randrange(pages) * PAGE_BYTES
            data[start : start + PAGE_BYTES] = bytes(PAGE_BYTES)
        case 1:
            del data[random.randrange(len(data)) :]
        case 2:
            here, there = (random.randrange(pages) * PAGE_BYTES for _ in range(2))
            data[here : here + PAGE_BYTES] = data[there : there + PAGE_BYTES]
        case _:
            page = random.randrange(pages)  # where something is written, mostly
            used = [i for i in range(page * PAGE_BYTES, (page + 1) * PAGE_BYTES) if data[i]]
            for _ in range(random.choice((1, 2, 5, 30))):
                place = random.choice(used or range(len(data)))
                data[place] = random.choice((data[place] ^ 1 << random.randrange(8), 0, 0xFF))
    return bytes(data)


def _look(root: Path) -> str:
    """Ask a checkpoint everything there is to ask; nothing but a `CheckpointError` may come."""
    try:
        reader = Checkpoint.read(root)
    except CheckpointError as error:
        return _refused(error)
    refusals: list[str] = []
    with reader as checkpoint:
        for question in _questions(checkpoint, root):
            try:
                question()
            except CheckpointError as error:
                _refused(error)
                refusals.append(str(error))
        is_clean = checkpoint.verify().is_clean
    if is_clean:  # verify finds what cannot be read
        # But a bit of an index may pass SQLite's own check, once in some thousand times.
        assert all("database disk image is malformed" in refusal for refusal in refusals)
    return "partly read" if refusals else ("sound" if is_clean else "found by verify")


def _questions(checkpoint: CheckpointReader, root: Path) -> Iterator[Callable[[], object]]:
    lists: tuple[Callable[[], Iterator[Any]], ...] = (
        checkpoint.images,
        checkpoint.images_with_memos,
        checkpoint.failures,
        checkpoint.candidates,
        checkpoint.jobs,
        checkpoint.ledger,
        partial(checkpoint.images_since, 1),
        partial(checkpoint.failures_since, 1),
        partial(checkpoint.ids_since, 1),
    )
    for rows in lists:
        yield partial(_all, rows)
    yield checkpoint.cost_model
    yield partial(checkpoint.cost_model, tier="lite", tag="x")
    yield lambda: _learn(checkpoint)
    yield checkpoint.tags
    yield lambda: checkpoint.spend
    yield lambda: checkpoint.job("fox")
    yield lambda: checkpoint.count_since(1)
    yield checkpoint.last_numbers
    yield lambda: checkpoint.export(root / "manifest.jsonl")


def _learn(checkpoint: CheckpointReader) -> None:
    models = {Tier.LITE: "m"}
    era = checkpoint.era(filters="f", finish_filters="g", prices="p", model_ids=models)
    checkpoint.stages(era)
    checkpoint.experience(era)


def _all(rows: Callable[[], Iterator[Any]]) -> list[Any]:
    return list(rows())


def _open(root: Path) -> str:
    async def work() -> None:
        async with Checkpoint.open(root) as checkpoint:
            story = Story(checkpoint.store)
            for name in ("fox", "owl"):
                story.draw(story.take(job(name, want=9), run=2))

    try:
        anyio.run(work)
    except CheckpointError as error:
        return _refused(error)
    except JobChangedError:  # what is left of the job looks like another one
        return "refused"
    return "opened"


def _refused(error: CheckpointError) -> str:
    assert str(error).isprintable()
    assert error.path is not None
    return "refused"


@pytest.mark.timeout(0)  # the long version takes a while
@pytest.mark.parametrize("use", [_look, _open])
async def test_a_damaged_ledger_is_read_or_refused_never_a_traceback(
    use: Callable[[Path], str], folder: Path
) -> None:
    await _write(folder / "whole")
    abandon(folder / "whole")  # so that opening looks closely
    ledger = (folder / "whole" / "ledger.sqlite").read_bytes()

    def check(data: bytes) -> str:
        shutil.rmtree(folder / "damaged", ignore_errors=True)
        shutil.copytree(folder / "whole", folder / "damaged")
        (folder / "damaged" / "ledger.sqlite").write_bytes(data)
        return use(folder / "damaged")

    campaign = await anyio.to_thread.run_sync(
        lambda: Campaign().run(lambda number: _damaged(ledger, number), check, usually=120)
    )

    assert "refused" in campaign.outcomes
    assert len(campaign.outcomes) > 1
