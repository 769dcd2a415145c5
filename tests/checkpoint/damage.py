"""A checkpoint with something of everything in it, and ways to damage it as disks and people do."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from nanobatch.checkpoint import Checkpoint, JobStatus, SlotState
from nanobatch.checkpoint.changes import Settlement, end_job, move_on, settle
from nanobatch.cost import LineKind, Outcome, Stage
from tests.checkpoint.story import WORST, Story, job, png

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nanobatch.checkpoint import TakenJob

PAGE = 4096
JUDGED = 6_400_000
"""Nano-dollars of every paid judgement: 0.0064 USD."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a checkpoint was told, kept apart from it."""

    accepted: frozenset[str]
    """Digests of the accepted images."""
    images: frozenset[str]
    """Digests of every image that was paid for and not rejected."""
    worst_case_usd: Decimal


@dataclass(frozen=True)
class Copies:
    """Copies of one checkpoint that has something of everything in it."""

    original: Path
    written: Written

    def to(self, folder: Path) -> Path:
        """Copy it to a folder that is not there yet, and return that."""
        shutil.copytree(self.original, folder)
        return folder


async def write_everything(root: Path, *, jobs: int = 3) -> Written:
    """Write a checkpoint with every kind of row in it; each job is the same, its images are not.

    Of each job: two accepted images, one waiting in hand, one not judged, one rejected, one whose
    call timed out, one settled by hand, a paid judgement, and a draft with its finish.
    """
    accepted: list[bytes] = []
    waiting: list[bytes] = []
    async with Checkpoint.open(root) as checkpoint:
        story = Story(checkpoint.store)
        await checkpoint.store.new_run()
        for number in range(jobs):
            taken = story.take(job(f"job {number}", want=3, prompt="a fox " * 20), run=1)
            shade = number * 20
            for one in (1, 2):
                drawn = story.draw(taken, png(shade + one))
                _judge(story, taken.number, drawn.slot)
                story.accept(taken, drawn, score=0.5)
            story.keep(story.draw(taken, png(shade + 3)))
            story.draw(taken, png(shade + 4))
            story.reject(story.draw(taken, png(shade + 5)), "blurred")
            _time_out(story, taken)
            checkpoint.settle(_time_out(story, taken), "0.05", "on the bill")
            _finish(story, taken, png(shade + 6), png(shade + 7))
            _end(story, taken)
            accepted += [png(shade + 1), png(shade + 2), png(shade + 7)]
            waiting += [png(shade + 3), png(shade + 4), png(shade + 6)]
        worst = checkpoint.spend.worst_case_usd
    # 7 calls at 0.0336, 2 judgements at 0.0064, one timeout at 0.12, one settled at 0.05.
    assert worst == jobs * Decimal("0.4180")
    kept = frozenset(_digest(one) for one in accepted)
    return Written(
        accepted=kept,
        images=kept | {_digest(one) for one in waiting},
        worst_case_usd=worst,
    )


def _time_out(story: Story, taken: TakenJob) -> int:
    slot, call = story.begin(taken)
    story.settle(taken, slot, call, outcome=Outcome.UNKNOWN, usd_nano=0, unknown_nano=WORST)
    return call


def _finish(story: Story, taken: TakenJob, draft_image: bytes, image: bytes) -> None:
    draft = story.draw(taken, draft_image, stage=Stage.DRAFT)
    story.keep(draft)
    story.write(lambda db: move_on(db, draft.slot, SlotState.PICKED))
    story.accept(taken, story.draw(taken, image, stage=Stage.FINISH, parent=draft.slot))


def _end(story: Story, taken: TakenJob) -> None:
    story.write(lambda db: end_job(db, taken.number, JobStatus.DONE, reason="", is_final=False))


def _judge(story: Story, job_number: int, slot: int) -> None:
    _, call = story.begin_judging(slot)
    story.write(
        lambda db: settle(
            db,
            Settlement(
                call=call,
                slot=slot,
                job=job_number,
                kind=LineKind.JUDGE,
                outcome=Outcome.BILLED,
                usd_nano=JUDGED,
            ),
        )
    )


def edit(root: Path, *statements: str) -> None:
    """Change rows by hand, as somebody with a SQLite shell would."""
    with closing(sqlite3.connect(root / "ledger.sqlite", isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


def rows(root: Path, query: str) -> list[tuple[object, ...]]:
    """Look at what is stored."""
    with closing(sqlite3.connect(root / "ledger.sqlite")) as db:
        return db.execute(query).fetchall()


def pages(root: Path) -> int:
    """Return how many pages the database has."""
    return (root / "ledger.sqlite").stat().st_size // PAGE


def overwrite(root: Path, page: int, content: bytes) -> None:
    """Let a page of the database, counted from 1, hold something else."""
    with (root / "ledger.sqlite").open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(content.ljust(PAGE, content[-1:])[:PAGE])


def digests(root: Path) -> Iterator[str]:
    """Yield the digest of every image file that is anywhere in a checkpoint."""
    for folder in ("images", "staging", "rejected", "lost+found"):
        if (root / folder).is_dir():
            for path in (root / folder).iterdir():
                yield hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
