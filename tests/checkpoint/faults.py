"""Lets the n-th step to the disk fail, or kills the process there.

The hook is the `os` module itself: the checkpoint's files are written by `os.open`, `os.write`,
`os.fsync`, `os.replace`, `os.link`, `os.unlink` and `os.mkdir`, and its database by a connection
whose `COMMIT` is one step. So nothing in the library knows of it, nothing can be written past it
(pathlib calls the same functions), and the faults are those a disk has. It is installed in a
process of its own (`children.run`) and never taken away.

What SQLite itself writes inside of a COMMIT is out of its reach: see `test_disk_from_outside.py`.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from enum import Enum
from typing import TYPE_CHECKING, Any

from tests.checkpoint.children import SIGKILL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STRIDE = 1 if os.environ.get("NANOBATCH_FAULTS") == "all" else 5
"""Sweeps try every step with `NANOBATCH_FAULTS=all`, and otherwise every fifth."""

STEPS = ("open", "write", "fsync", "link", "replace", "unlink", "mkdir")


class Fault(Enum):
    """What happens at a step; the value is what the system and what SQLite call it."""

    KILL = (0, 0, "killed")
    EIO = (errno.EIO, sqlite3.SQLITE_IOERR_FSYNC, "disk I/O error")
    ENOSPC = (errno.ENOSPC, sqlite3.SQLITE_FULL, "database or disk is full")
    EROFS = (errno.EROFS, sqlite3.SQLITE_READONLY, "attempt to write a readonly database")
    EMFILE = (errno.EMFILE, sqlite3.SQLITE_CANTOPEN, "unable to open database file")


class Injected:
    """The hook, and what it saw."""

    def __init__(self, fault: Fault, *, at: int, root: Path, for_good: bool) -> None:
        self._fault = fault
        self._at = at
        self._root = os.fspath(root)
        self._for_good = for_good
        self._steps = 0
        self._ours: dict[int, str] = {}
        self._failed_syncs: set[int] = set()
        self.fired = ""
        """The step that failed first."""
        self.synced_again = ""
        """The file that was synced once more after its fsync had failed."""

    def install(self) -> None:
        """Count every step of this process from now on."""
        self._close = os.close
        for name in STEPS:
            setattr(os, name, self._hooked(name, getattr(os, name)))
        setattr(os, "close", self._closed)  # noqa: B010 - its parameter has another name
        connect = sqlite3.connect

        def hooked(*arguments: Any, **options: Any) -> sqlite3.Connection:
            return connect(*arguments, factory=_connection_class(self), **options)

        sqlite3.connect = hooked  # type: ignore[assignment] # this process's own copy

    def step(self, name: str, target: str) -> None:
        """Count a step that can fail; kill the process or raise if it is the one."""
        if not self._applies(name, target):
            return
        self._steps += 1
        if self._steps < self._at or (self._steps > self._at and not self._for_good):
            return
        self.fired = self.fired or f"{name} {target}"
        if self._fault is Fault.KILL:
            os.kill(os.getpid(), SIGKILL)
        number, code, words = self._fault.value
        if name == "COMMIT":
            error = sqlite3.OperationalError(words)
            error.sqlite_errorcode = code
            raise error
        raise OSError(number, os.strerror(number), target)

    def _applies(self, name: str, target: str) -> bool:
        """Return whether a step can fail like that: a full disk still opens, syncs and removes."""
        is_new_file = name == "open" and target.endswith(".part")
        if self._fault is Fault.EMFILE:
            return name in ("open", "COMMIT")
        if self._fault is Fault.ENOSPC:
            return is_new_file or name not in ("open", "fsync", "unlink")
        if self._fault is Fault.EROFS:
            return is_new_file or name not in ("open", "fsync")
        return True

    def _hooked(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: Any, *arguments: Any, **options: Any) -> Any:
            is_descriptor = isinstance(first, int)
            target = self._ours.get(first, "") if is_descriptor else os.fspath(first)
            if not target.startswith(self._root):
                return real(first, *arguments, **options)
            if name == "fsync" and first in self._failed_syncs:
                self.synced_again = target
            try:
                self.step(name, target)
            except OSError:
                if name == "fsync":
                    self._failed_syncs.add(first)
                raise
            result = real(first, *arguments, **options)
            if name == "open":
                self._ours[result] = target
            return result

        return call

    def _closed(self, descriptor: int) -> None:
        self._ours.pop(descriptor, None)
        self._failed_syncs.discard(descriptor)
        self._close(descriptor)


def inject(fault: Fault, *, at: int, root: Path, for_good: bool = False) -> Injected:
    """Let the `at`-th step below `root` fail in this process, and all later ones if `for_good`."""
    injected = Injected(fault, at=at, root=root, for_good=for_good)
    injected.install()
    return injected


def _connection_class(injected: Injected) -> type[sqlite3.Connection]:
    class Hooked(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            if sql == "COMMIT":
                injected.step("COMMIT", "ledger.sqlite")
            return super().execute(sql, *arguments)

    return Hooked
