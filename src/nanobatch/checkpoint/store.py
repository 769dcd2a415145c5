"""How the pipeline writes to a checkpoint: numbers for new rows, durable changes, files."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, TypeVar

from nanobatch.checkpoint.reading import spent_nano

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from nanobatch.checkpoint.files import ImageFiles
    from nanobatch.checkpoint.writer import Writer

__all__ = ["Store"]

T = TypeVar("T")


class Store:
    """The writing half of an open checkpoint."""

    def __init__(self, writer: Writer, files: ImageFiles) -> None:
        self.writer = writer
        self.files = files
        self.spent_nano = 0
        """Confirmed and unknown money when the checkpoint was opened."""
        self._slots, self._calls, self._candidates = (count(1) for _ in range(3))
        writer.commit_now(self._load)

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
        self._load(db)
        row = db.execute("SELECT value FROM meta WHERE key = 'run'").fetchone()
        number = int(row[0]) + 1 if row else 1
        db.execute("INSERT OR REPLACE INTO meta VALUES ('run', ?)", (str(number),))
        return number

    def _load(self, db: sqlite3.Connection) -> None:
        def after(table: str) -> Iterator[int]:
            query = f"SELECT coalesce(max(number), 0) + 1 FROM {table}"  # noqa: S608 - our own words
            return count(int(db.execute(query).fetchone()[0]))

        self._slots, self._calls, self._candidates = map(after, ("slots", "calls", "candidates"))
        self.spent_nano = sum(spent_nano(db))
