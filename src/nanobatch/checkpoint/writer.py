"""Group commit: whatever wants to be durable at the same moment shares one transaction."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import anyio
import anyio.to_thread

from nanobatch.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Writer"]

T = TypeVar("T")


class Writer:
    """The one connection that writes; every change waits until it is on the disk.

    There is no background task. Whoever holds the turn commits everything that is queued, so one
    fsync serves all calls that settle at the same time.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._in_use = threading.Lock()
        self._turn = anyio.Lock(fast_acquire=True)
        self._queue: list[_Change[object]] = []

    async def commit(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run a change in a transaction and return its result once it is durable.

        Not interrupted by cancellation: it is brief, and money was spent on what it records.

        Raises:
            CheckpointError: The disk or the database refused; nothing of the change is stored.
        """
        entry = _Change(change)
        self._queue.append(cast("_Change[object]", entry))
        with anyio.CancelScope(shield=True):
            async with self._turn:
                if not entry.is_done:
                    changes, self._queue = self._queue, []
                    await anyio.to_thread.run_sync(self._flush, changes)
        return entry.outcome()

    def commit_now(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Do the same from sync code.

        Raises:
            CheckpointError: As `commit`.
        """
        entry = _Change(change)
        self._flush([cast("_Change[object]", entry)])
        return entry.outcome()

    def close(self) -> None:
        """Close the connection."""
        with self._in_use:
            self._connection.close()

    def _flush(self, changes: list[_Change[object]]) -> None:
        with self._in_use:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                for change in changes:
                    change.apply(self._connection)
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back()
                for change in changes:
                    change.fail(error)
            except BaseException as error:
                self._roll_back()
                for change in changes:
                    change.fail(error)
                raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


class _Change(Generic[T]):
    """One change and what became of it."""

    def __init__(self, change: Callable[[sqlite3.Connection], T]) -> None:
        self._change = change
        self._result: T | None = None
        self._error: BaseException | None = None
        self.is_done = False

    def apply(self, connection: sqlite3.Connection) -> None:
        """Apply it alone: an error of the caller's undoes this change and no other."""
        connection.execute("SAVEPOINT change")
        try:
            self._result = self._change(connection)
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 - handed to whoever asked for the change
            connection.execute("ROLLBACK TO change")
            self._error = error
        connection.execute("RELEASE change")
        self.is_done = True

    def fail(self, error: BaseException) -> None:
        self._error = error
        self.is_done = True

    def outcome(self) -> T:
        if isinstance(self._error, sqlite3.Error):
            raise CheckpointError(
                f"The checkpoint could not be written: {self._error}. Nothing that was saved "
                "before is lost; free the disk and run again."
            ) from self._error
        if self._error is not None:
            raise self._error
        return cast("T", self._result)
