"""Write a checkpoint with a million accepted images, its files left out: rows are what is measured.

Money and states are those a run would have left: every fourth job had a slot rejected first, every
twelfth slot was regenerated, every fiftieth was judged for money, every thousandth call is unknown.
"""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio

from nanobatch import Checkpoint, Job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["make"]

JOBS_A_PORTION = 10_000
CALL_NANO, JUDGE_NANO, WORST_NANO = 33_618_000, 1_200_000, 123_000_000
MICROS = 1_700_000_000_000_000  # 2023-11-14: before any window that still counts

_INSERTS = {
    "jobs": "(number, id, stem, stem_key, spec, body, tag, want, allowance_key, run, status)",
    "slots": "(number, job, attempt, allowance, stage, tier, model_id, billed, state)",
    "calls": "(number, slot, kind, at, worst_nano, is_open)",
    "ledger": "(at, kind, job, slot, call, outcome, usd_nano, unknown_nano, want, prompt_tokens, "
    "image_tokens, text_tokens)",
    "candidates": "(number, slot, call, at, sha256, mime_type, width_px, height_px, state)",
    "images": "(job, nth, slot, candidate, file)",
}


def make(folder: Path, images: int) -> None:
    """Create a checkpoint with one accepted image for each of `images` jobs."""
    anyio.run(_create, folder)
    rows = _Rows()
    with closing(sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA journal_mode = OFF")
        for first in range(1, images + 1, JOBS_A_PORTION):
            portion: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _INSERTS}
            for number in range(first, min(first + JOBS_A_PORTION, images + 1)):
                for table, row in rows.of_job(number):
                    portion[table].append(row)
            db.execute("BEGIN")
            for table, columns in _INSERTS.items():
                marks = ", ".join("?" for _ in columns.split(","))
                db.executemany(
                    f"INSERT INTO {table} {columns} VALUES ({marks})",  # noqa: S608
                    portion[table],
                )
            db.execute("COMMIT")
        db.execute("INSERT OR REPLACE INTO meta VALUES ('run', '1')")


async def _create(folder: Path) -> None:
    async with Checkpoint.open(folder):
        pass


class _Rows:
    def __init__(self) -> None:
        self._slots, self._calls = count(1), count(1)

    def of_job(self, number: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Yield every row of one job, with its table."""
        job = Job(id=f"job-{number}", prompt=f"wallpaper {number}", tag=f"set {number % 10}")
        digest = job.spec_sha256([])
        yield (
            "jobs",
            (
                number, job.id, job.id, job.id, digest, job.model_dump_json(), job.tag, 1, "lite",
                1, "done",
            ),
        )  # fmt: skip
        yield "ledger", (MICROS, "want", number, None, None, None, 0, 0, 1, None, None, None)
        if number % 4 == 0:
            yield from self._slot(number, is_accepted=False)
        yield from self._slot(number, is_accepted=True)

    def _slot(self, job: int, *, is_accepted: bool) -> Iterator[tuple[str, tuple[Any, ...]]]:
        slot, state = next(self._slots), "accepted" if is_accepted else "rejected"
        tier = "quality" if slot % 5 == 0 else "lite"
        calls = 2 if slot % 12 == 0 else 1
        yield "slots", (slot, job, 1, 1, "candidate", tier, "painter", calls, state)
        call = 0
        for _ in range(calls):
            call = next(self._calls)
            usd, unknown = (0, WORST_NANO) if call % 1000 == 0 else (CALL_NANO + call % 7, 0)
            tokens = (12, 1120, 0)
            yield "calls", (call, slot, "call", MICROS, WORST_NANO, 0)
            yield (
                "ledger",
                (MICROS, "call", job, slot, call, "billed", usd, unknown, 0, *tokens),
            )
        digest = hashlib.sha256(str(slot).encode()).hexdigest()
        image = (slot, slot, call, MICROS, digest, "image/png", 1024, 1024, state)
        yield "candidates", image
        if slot % 50 == 0:
            judge = next(self._calls)
            yield "calls", (judge, slot, "judge", MICROS, JUDGE_NANO, 0)
            nothing = (None, None, None)
            yield (
                "ledger",
                (MICROS, "judge", job, slot, judge, "billed", JUDGE_NANO, 0, 0, *nothing),
            )
        if is_accepted:
            yield "images", (job, 1, slot, slot, f"job-{job}-1.png")
            accepted = ("accepted", job, slot, None, None, 0, 0, 0, None, None, None)
            yield "ledger", (MICROS, *accepted)
