"""Group commit: whatever wants to be durable at the same moment shares one transaction."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import anyio
import anyio.to_thread

from nanobatch.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Writer"]

T = TypeVar("T")


class Writer:
    """The one connection that writes; every change waits until it is on the disk.

    There is no background task. Whoever holds the turn commits everything that is queued, so one
    fsync serves all calls that settle at the same time.
    """

    def __init__(self, connection: sqlite3.Connection, root: Path) -> None:
        self._connection = connection
        self._root = root
        self._in_use = threading.Lock()
        self._turn = anyio.Lock(fast_acquire=True)
        self._queue: deque[_Change[Any]] = deque()
        self._is_closed = False

    async def commit(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run a change in a transaction and return its result once it is durable.

        Not interrupted by cancellation: it is brief, and money was spent on what it records.
        Even a task that asyncio cancels by force leaves its change in the queue: the next commit,
        or closing, writes it.

        Raises:
            CheckpointError: The disk or the database refused; nothing of the change is stored.
            Exception: What the change itself raised; nothing of it is stored.
        """
        entry = self._enqueue(change)
        with anyio.CancelScope(shield=True):
            async with self._turn:
                if not entry.is_done:
                    await anyio.to_thread.run_sync(self._flush)
        return entry.outcome(self._root)

    def commit_now(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Do the same from sync code, after everything that is queued.

        Raises:
            CheckpointError: As `commit`.
            Exception: As `commit`.
        """
        entry = self._enqueue(change)
        self._flush()
        return entry.outcome(self._root)

    def close(self) -> None:
        """Write what is still queued and close the connection."""
        self._flush()
        with self._in_use:
            self._is_closed = True
            self._connection.close()

    def _enqueue(self, change: Callable[[sqlite3.Connection], T]) -> _Change[T]:
        if self._is_closed:
            raise CheckpointError(
                f"The checkpoint {self._root} is closed: use it inside its `async with` block.",
                path=self._root,
            )
        entry = _Change(change)
        self._queue.append(entry)
        return entry

    def _flush(self) -> None:
        """Commit everything that is queued; what goes wrong is told to whoever asked for it."""
        with self._in_use:
            changes: list[_Change[Any]] = []
            while self._queue:
                changes.append(self._queue.popleft())
            if not changes:
                return
            try:
                self._transact(changes)
            except BaseException as error:  # noqa: BLE001 - raised by `outcome`
                for change in changes:
                    change.fail(error)
            for change in changes:
                change.is_done = True

    def _transact(self, changes: list[_Change[Any]]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for change in changes:
                change.apply(self._connection)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                with suppress(sqlite3.Error):  # the first error says more
                    self._connection.execute("ROLLBACK")
            raise


class _Change(Generic[T]):
    """One change and what became of it."""

    def __init__(self, change: Callable[[sqlite3.Connection], T]) -> None:
        self._change = change
        self._result: T | None = None
        self._error: BaseException | None = None
        self.is_done = False
        """Whether it is durable, or has failed for good."""

    def apply(self, connection: sqlite3.Connection) -> None:
        """Apply it alone: an error of its own undoes this change and no other.

        Raises:
            sqlite3.Error: SQLite gave up the whole transaction, for instance on a full disk.
        """
        connection.execute("SAVEPOINT change")
        try:
            self._result = self._change(connection)
        except Exception as error:
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO change")
            self._error = error
        connection.execute("RELEASE change")

    def fail(self, error: BaseException) -> None:
        """Take note that the whole transaction failed."""
        self._error = error

    def outcome(self, root: Path) -> T:
        """Return its result, or raise what went wrong."""
        if isinstance(self._error, sqlite3.Error):
            raise CheckpointError(
                f"The checkpoint {root} could not be written: {self._error}. Nothing that was "
                "saved before is lost; make room on the disk and run again.",
                path=root,
            ) from self._error
        if self._error is not None:
            raise self._error
        return cast("T", self._result)
