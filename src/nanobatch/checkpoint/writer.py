"""Group commit: whatever wants to be durable at the same moment shares one transaction."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import anyio
import anyio.to_thread

from nanobatch.checkpoint.descriptors import RESERVE
from nanobatch.checkpoint.disk import disk_errors, sync_folder
from nanobatch.checkpoint.trouble import advice, trouble_of
from nanobatch.errors import CheckpointError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

__all__ = ["Writer"]

T = TypeVar("T")

TURN_BYTES = 16 * 1024 * 1024
BEHIND_BYTES = 2 * TURN_BYTES
PATIENCE_SECONDS = 0.1
"""From turn to turn while nobody is in a hurry. A turn takes the processor 1.5 ms, a sixth of what
a picture takes; alone, each image has three of them (benchmarks, 2026-11)."""
MORE_THREADS = 5
"""Threads that write files beside the one that has the turn: half their time they wait for the
disk. Six wrote 5 % more images a second than two, at the same CPU (benchmarks, 2026-11)."""


class Writer:
    """The one connection that writes; every change waits until it is on the disk.

    There is no background task. Whoever holds the turn commits everything that is queued, so one
    fsync serves all calls that settle at the same time. Files that a change speaks of are written
    in the same turn, before it: then one sync of their folder serves all of them too, and a call
    costs one change of threads, not three.

    A connection that met a failing disk or a damaged page is closed for good: SQLite would sync
    the same file again and might be told that all is well. The next one that is opened rolls back
    what was not committed.
    """

    def __init__(self, connection: sqlite3.Connection, root: Path) -> None:
        self._connection = connection
        self._root = root
        self._in_use = threading.Lock()
        self._may_wait: Callable[[], bool] | None = None
        self._last_turn = 0.0
        """When the last one began, by `time.monotonic`."""
        self._turn: anyio.Event | None = None
        """Set when the turn that somebody has is over; nobody has it if `None`."""
        self._queue: deque[_Change[Any]] = deque()
        self._heavy: deque[_Change[Any]] = deque()
        """Changes that wait with bytes in memory; a turn takes some, so that others get theirs."""
        self._held_bytes = 0
        self._pool = ThreadPoolExecutor(MORE_THREADS, "nanobatch writer")
        self._is_closed = False
        self._end: sqlite3.Error | None = None
        """What the connection was closed for."""

    @property
    def is_behind(self) -> bool:
        """Whether more bytes wait in memory for the disk than it takes in a few turns."""
        return self._held_bytes > BEHIND_BYTES

    async def commit(
        self,
        change: Callable[[sqlite3.Connection], T],
        *,
        before: Callable[[], Path | None] | None = None,
        after: Callable[[], object] | None = None,
        held_bytes: int = 0,
    ) -> T:
        """Run a change in a transaction and return its result once it is durable.

        Not interrupted by cancellation: it is brief, and money was spent on what it records.
        Even a task that asyncio cancels by force leaves its change in the queue: the next commit,
        or closing, writes it.

        Args:
            change: What to write.
            before: Writes the files that the change speaks of, in a worker thread; it returns
                their folder, which is synced before the transaction begins. If it raises, the
                change is not made.
            after: Runs in that thread once the change is durable.
            held_bytes: What `before` holds in memory until it has run.

        Raises:
            CheckpointError: The disk or the database refused. The change is not stored; only after
                a failing disk may it turn out to be when the checkpoint is opened again.
            Exception: What the change, or `before` or `after`, itself raised; if it was not
                `after`, nothing of the change is stored.
        """
        entry = self._enqueue(_Change(change, before=before, after=after, held_bytes=held_bytes))
        self._held_bytes += held_bytes
        try:
            with anyio.CancelScope(shield=True):
                while not entry.is_done:
                    if self._turn is not None:
                        await self._turn.wait()
                        continue
                    self._turn = turn = anyio.Event()
                    try:
                        await self._gather()
                        await anyio.to_thread.run_sync(self._take_turn)
                    finally:
                        self._turn = None
                        turn.set()
        finally:
            self._held_bytes -= held_bytes
        return entry.outcome(self._root)

    @contextmanager
    def patient(self, may_wait: Callable[[], bool]) -> Generator[None]:
        """Let changes gather for a moment and share a turn whenever `may_wait()`."""
        self._may_wait = may_wait
        try:
            yield
        finally:
            self._may_wait = None

    async def _gather(self) -> None:
        """Wait before a turn if nobody is in a hurry."""
        if self._may_wait is not None and self._may_wait():
            seconds = self._last_turn + PATIENCE_SECONDS - time.monotonic()
            await anyio.sleep(max(0.0, seconds))
        self._last_turn = time.monotonic()

    def commit_now(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Do the same from sync code, after everything that is queued.

        Raises:
            CheckpointError: As `commit`.
            Exception: As `commit`.
        """
        entry = self._enqueue(_Change(change))
        self._flush()
        return entry.outcome(self._root)

    def close(self) -> None:
        """Write what is still queued and close the connection."""
        self._flush()
        with self._in_use:
            self._is_closed = True
            self._pool.shutdown()
            self._close_connection()

    def _enqueue(self, entry: _Change[T]) -> _Change[T]:
        if self._is_closed:
            raise CheckpointError(
                f"The checkpoint {self._root} is closed: use it inside its `async with` block.",
                path=self._root,
            )
        if self._end is not None:
            raise _refusal(self._root, self._end)
        (self._heavy if entry.held_bytes else self._queue).append(entry)
        return entry

    def _flush(self) -> None:
        """Commit everything that is queued."""
        while self._queue or self._heavy:
            self._take_turn()

    def _take_turn(self) -> None:
        """Commit what is queued; what goes wrong is told to whoever asked for it."""
        with self._in_use:
            changes = self._next_changes()
            if not changes:
                return
            ready = self._with_files(changes)
            try:
                if ready:
                    if self._end is not None:
                        raise self._end
                    RESERVE.patiently(lambda: self._transact(ready))
            except BaseException as error:  # noqa: BLE001 - raised by `outcome`
                for change in ready:
                    change.fail(error)
            for change in changes:
                change.finish()

    def _next_changes(self) -> list[_Change[Any]]:
        """Take all light changes, and heavy ones up to `TURN_BYTES`, at least one.

        An image that is staged is soon judged and accepted, in a later turn: with short turns few
        images are in memory between the two.
        """
        changes: list[_Change[Any]] = []
        while self._queue:
            changes.append(self._queue.popleft())
        size_bytes = 0
        while self._heavy and size_bytes < TURN_BYTES:
            change = self._heavy.popleft()
            size_bytes += change.held_bytes
            changes.append(change)
        return changes

    def _with_files(self, changes: list[_Change[Any]]) -> list[_Change[Any]]:
        """Write the files that changes speak of; return the changes whose files are safe."""
        folders: dict[Path, list[_Change[Any]]] = {}
        for change, folder in self._prepared(changes).items():
            if folder is not None:
                folders.setdefault(folder, []).append(change)
        for folder, waiting in folders.items():
            try:
                with disk_errors(folder, self._root):
                    sync_folder(folder)
            except CheckpointError as error:
                for change in waiting:
                    change.fail(error)
        return [change for change in changes if not change.has_failed]

    def _prepared(self, changes: list[_Change[Any]]) -> dict[_Change[Any], Path | None]:
        """Have all changes write their files, some side by side; return the folders of each.

        Hashing an image takes the processor as long as writing another one takes the disk, and
        neither holds up the interpreter.
        """
        folders: dict[_Change[Any], Path | None] = {}
        line = deque(changes)

        def write() -> None:
            with suppress(IndexError):  # the line is empty
                while True:
                    change = line.popleft()
                    folders[change] = change.prepare()

        if sum(bool(change.held_bytes) for change in changes) > 1:
            others = [self._pool.submit(write) for _ in range(MORE_THREADS)]
            write()
            for other in others:
                other.result()
        else:
            write()
        return folders

    def _transact(self, changes: list[_Change[Any]]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for change in changes:
                change.apply(self._connection)
            self._connection.execute("COMMIT")
        except BaseException as error:
            if isinstance(error, sqlite3.Error) and trouble_of(error).is_fatal:
                self._end = error
                self._close_connection()
            elif self._connection.in_transaction:
                with suppress(sqlite3.Error):  # the first error says more
                    self._connection.execute("ROLLBACK")
            raise

    def _close_connection(self) -> None:
        with suppress(sqlite3.Error):  # whatever it could not write is rolled back on opening
            self._connection.close()


def _refusal(root: Path, error: sqlite3.Error | UnicodeDecodeError) -> CheckpointError:
    return CheckpointError(
        f"The checkpoint {root} could not be written: {one_line(str(error))}. "
        f"{advice(error, root)}",
        path=root,
    )


class _Change(Generic[T]):
    """One change and what became of it."""

    def __init__(
        self,
        change: Callable[[sqlite3.Connection], T],
        *,
        before: Callable[[], Path | None] | None = None,
        after: Callable[[], object] | None = None,
        held_bytes: int = 0,
    ) -> None:
        self.held_bytes = held_bytes
        self._change = change
        self._before = before
        self._after = after
        self._result: T | None = None
        self._error: BaseException | None = None
        self.is_done = False
        """Whether it is durable, or has failed for good."""

    @property
    def has_failed(self) -> bool:
        """Whether it will not be stored."""
        return self._error is not None

    def prepare(self) -> Path | None:
        """Write its files; return the folder that is to be synced."""
        try:
            return None if self._before is None else self._before()
        except BaseException as error:  # noqa: BLE001 - raised by `outcome`
            self._error = error
            return None

    def finish(self) -> None:
        """Do what comes after it if it is durable, and let go of everything it held."""
        try:
            if self._after is not None and self._error is None:
                self._after()
        except BaseException as error:  # noqa: BLE001 - raised by `outcome`
            self._error = error
        self._before = self._after = None
        self.is_done = True

    def apply(self, connection: sqlite3.Connection) -> None:
        """Apply it alone: an error of its own undoes this change and no other.

        Raises:
            sqlite3.Error: Nothing of the whole transaction can be stored, for instance on a full
                disk.
        """
        connection.execute("SAVEPOINT change")
        try:
            self._result = self._change(connection)
            self._error = None
        except Exception as error:
            is_everybodys = (
                isinstance(error, sqlite3.Error) and trouble_of(error).concerns_transaction
            )
            if is_everybodys or not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO change")
            self._error = error
        connection.execute("RELEASE change")

    def fail(self, error: BaseException) -> None:
        """Take note that the whole transaction failed."""
        self._error = error

    def outcome(self, root: Path) -> T:
        """Return its result, or raise what went wrong."""
        # A damaged name may stand in SQLite's message, which then is no Unicode.
        if isinstance(self._error, sqlite3.Error | UnicodeDecodeError):
            raise _refusal(root, self._error) from self._error
        if self._error is not None:
            raise self._error
        return cast("T", self._result)
