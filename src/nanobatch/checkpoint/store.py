"""How the pipeline writes to a checkpoint: numbers for new rows, durable changes, files."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, TypeVar

from nanobatch.checkpoint.changes import now_micros
from nanobatch.checkpoint.reading import spent_nano
from nanobatch.policy.pace import SPEND_WINDOW_SECONDS, Spent

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    from nanobatch.checkpoint.files import ImageFiles
    from nanobatch.checkpoint.writer import Writer

__all__ = ["Store"]

T = TypeVar("T")

_MICROS = 1_000_000
_LONGEST_CALL_SECONDS = 600
"""No call is open for longer; one that began earlier ended before the window."""


class Store:
    """The writing half of an open checkpoint."""

    def __init__(self, writer: Writer, files: ImageFiles) -> None:
        self.writer = writer
        self.files = files
        self.spent_nano = writer.commit_now(_spent)
        """Confirmed and unknown money when the last run began, nano-dollars."""
        self.is_in_run = False
        """Whether a run writes to it: one at a time, or two budgets would not know each other."""
        after = writer.commit_now(_next_numbers)
        self._slots, self._calls, self._candidates = (count(number) for number in after)

    def new_slot(self) -> int:
        """Return the number of a new slot."""
        return next(self._slots)

    def new_call(self) -> int:
        """Return the number of a new call."""
        return next(self._calls)

    def new_candidate(self) -> int:
        """Return the number of a new candidate."""
        return next(self._candidates)

    async def commit(
        self,
        change: Callable[[sqlite3.Connection], T],
        *,
        before: Callable[[], Path | None] | None = None,
        after: Callable[[], object] | None = None,
        held_bytes: int = 0,
    ) -> T:
        """Make one change durable; see `Writer.commit`."""
        return await self.writer.commit(change, before=before, after=after, held_bytes=held_bytes)

    async def new_run(self) -> int:
        """Return the number of a new run of this checkpoint, and what it has spent, in memory."""
        return await self.writer.commit(self._new_run)

    async def spent_lately(self) -> list[Spent]:
        """Return the calls that ended within the window of a `Pace`, the oldest first."""
        return await self.writer.commit(_spent_lately)

    def _new_run(self, db: sqlite3.Connection) -> int:
        self.spent_nano = _spent(db)
        row = db.execute("SELECT value FROM meta WHERE key = 'run'").fetchone()
        number = int(row[0]) + 1 if row else 1
        db.execute("INSERT OR REPLACE INTO meta VALUES ('run', ?)", (str(number),))
        return number


def _next_numbers(db: sqlite3.Connection) -> tuple[int, int, int]:
    def after(table: str) -> int:
        query = f"SELECT coalesce(max(number), 0) + 1 FROM {table}"  # noqa: S608 - our own words
        return int(db.execute(query).fetchone()[0])

    return after("slots"), after("calls"), after("candidates")


def _spent(db: sqlite3.Connection) -> int:
    return sum(spent_nano(db))


def _spent_lately(db: sqlite3.Connection) -> list[Spent]:
    now = now_micros()
    ended_after = now - int(SPEND_WINDOW_SECONDS * _MICROS)
    began_after = ended_after - _LONGEST_CALL_SECONDS * _MICROS
    last = db.execute(
        "SELECT number FROM calls WHERE at < ? ORDER BY number DESC LIMIT 1", (began_after,)
    ).fetchone()
    return [
        Spent(seconds_ago=max(0.0, (now - at) / _MICROS), nano=nano, images=draws)
        for at, nano, draws in db.execute(
            # A line that settles by hand comes later; the call ended with its first one.
            "SELECT min(l.at) AS ended, sum(l.usd_nano + l.unknown_nano), c.kind = 'call' "
            "FROM calls c "
            "JOIN ledger l ON l.slot = c.slot AND l.call = c.number WHERE c.number > ? "
            "GROUP BY c.number HAVING ended > ? ORDER BY ended",
            (last[0] if last else 0, ended_after),
        )
    ]
