"""Gives every step of a run its name, and kills the run at the n-th step of a name.

How often a run asks for its batch jobs depends on the clock, so the number of a step says little
about what it is. A step is a change in the database, a sync, rename or removal of a file, or a
request about batch jobs; each is one before it is done and one after.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanobatch import Gemini

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from nanobatch import ImageRequest, Reply
    from nanobatch.backend import BatchJob

__all__ = ["NamedBackend", "Steps"]

_PHASE = re.compile(r"UPDATE batches SET phase")
_CHANGE = re.compile(r"(?:INSERT(?: OR REPLACE)? INTO|UPDATE) (\w+)")


class Steps:
    """Counts steps by name; the process it is made in dies at the chosen one.

    It changes `os` and `sqlite3` for good: for a process of its own only.
    """

    def __init__(self, *, kill_at: tuple[str, int] | None, folder: Path) -> None:
        """Begin to count.

        Args:
            kill_at: A name, and at which of its steps the process is killed, from 1.
            folder: The checkpoint's; nothing else is counted.
        """
        self.seen: list[str] = []
        """The names of all steps so far, in their order."""
        self._kill_at = None if kill_at is None else (kill_at[0], kill_at[1])
        self._count = Counter[str]()
        self._folder = str(folder)
        for name in ("fsync", "link", "replace", "unlink"):
            setattr(os, name, self._around(name, getattr(os, name)))
        connect = sqlite3.connect

        def counted(*arguments: Any, **options: Any) -> sqlite3.Connection:
            return connect(*arguments, **options, factory=_connection(self))

        sqlite3.connect = counted  # type: ignore[assignment] # this process is going to be killed

    def step(self, *names: str) -> None:
        """Take a step, or die; a commit has as many names as it changes tables."""
        self.seen += names
        self._count.update(names)
        if any((name, self._count[name]) == self._kill_at for name in names):
            os.kill(os.getpid(), signal.SIGKILL)

    def _around(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            target = arguments[0]
            is_open = name == "fsync"
            path = str(Path(f"/proc/self/fd/{target}").readlink() if is_open else Path(target))
            if not path.startswith(f"{self._folder}/"):
                return real(*arguments, **options)
            what = f"{name} {_kind(path.removeprefix(f'{self._folder}/'))}"
            self.step(f"before {what}")
            result = real(*arguments, **options)
            self.step(f"after {what}")
            return result

        return call


def _kind(path: str) -> str:
    """Return the folder and the ending of a file: `staging/*.png`."""
    folder, _, name = path.rpartition("/")
    ending = name.partition(".")[2]
    return f"{folder}/*.{ending}" if ending else path


def _connection(steps: Steps) -> type[sqlite3.Connection]:
    class Connection(sqlite3.Connection):
        """Notes what a transaction changes: the names of its commit."""

        changed: dict[str, None]

        def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
            if sql.startswith("BEGIN"):
                self.changed = {}
            if sql == "COMMIT" and self.changed:
                steps.step(*(f"before commit of {name}" for name in self.changed))
                done = super().execute(sql)
                steps.step(*(f"after commit of {name}" for name in self.changed))
                return done
            if _PHASE.match(sql):
                self.changed[f"{parameters[0]} batch"] = None
            elif found := _CHANGE.match(sql):
                self.changed[found[1]] = None
            return super().execute(sql, parameters)

    return Connection


class NamedBackend(Gemini):
    """Takes a step before each request leaves and one after its answer is here, or its fault."""

    def __init__(self, steps: Steps, **options: Any) -> None:
        super().__init__(**options)
        self._steps = steps

    async def generate(self, request: ImageRequest) -> Reply:
        with _around(self._steps, "generate"):
            return await super().generate(request)

    async def upload_requests(self, path: Path, *, display_name: str) -> str:
        with _around(self._steps, "upload"):
            return await super().upload_requests(path, display_name=display_name)

    async def create_batch(self, *, model: str, file: str, display_name: str) -> BatchJob:
        with _around(self._steps, "create"):
            return await super().create_batch(model=model, file=file, display_name=display_name)

    async def get_batch(self, name: str) -> BatchJob:
        with _around(self._steps, "get"):
            return await super().get_batch(name)

    async def list_batches(self) -> AsyncIterator[BatchJob]:
        with _around(self._steps, "list"):
            async for job in super().list_batches():
                yield job

    async def delete_file(self, name: str) -> None:
        with _around(self._steps, f"delete {'results' if 'batch-' in name else 'upload'}"):
            await super().delete_file(name)

    async def download_results(self, file: str, path: Path) -> None:
        with _around(self._steps, "download"):
            await super().download_results(file, path)


class _around:  # noqa: N801 - reads like a function
    def __init__(self, steps: Steps, name: str) -> None:
        self._steps, self._name = steps, name

    def __enter__(self) -> None:
        self._steps.step(f"before {self._name}")

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._steps.step(f"after {self._name}" if kind is None else f"after failed {self._name}")
