"""How the pipeline writes to a checkpoint: numbers for new rows, durable changes, files."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, TypeVar

from nanobatch.checkpoint.reading import spent_nano

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from nanobatch.checkpoint.files import ImageFiles
    from nanobatch.checkpoint.writer import Writer

__all__ = ["Store"]

T = TypeVar("T")


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

    async def commit(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Make one change durable; see `Writer.commit`."""
        return await self.writer.commit(change)

    async def new_run(self) -> int:
        """Return the number of a new run of this checkpoint, and what it has spent, in memory."""
        return await self.writer.commit(self._new_run)

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
