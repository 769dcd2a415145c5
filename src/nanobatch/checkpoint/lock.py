"""One writing process at a time; a killed one frees the checkpoint at once."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import filelock

from nanobatch.checkpoint.schema import connect_reading
from nanobatch.checkpoint.trouble import advice
from nanobatch.errors import CheckpointError, CheckpointLockedError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["acquire_lock", "record_owner"]

# The lock is a file of its own: opening and closing the database file outside SQLite would drop
# the locks SQLite holds on it.
LOCK_FILE = "lock"


def acquire_lock(folder: Path) -> filelock.BaseFileLock:
    """Take the folder's lock, or say who has it.

    Raises:
        CheckpointLockedError: Another process, or another part of this one, is writing.
        CheckpointError: The folder cannot be written.
    """
    lock = filelock.FileLock(folder / LOCK_FILE, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        pid = _owner(folder)
        who = "this same process" if pid == os.getpid() else f"process {pid or 'unknown'}"
        raise CheckpointLockedError(
            f"The checkpoint {folder} is being written by {who}: wait for it, stop it, or use "
            "another folder. To look at it meanwhile use Checkpoint.read().",
            path=folder,
            pid=pid,
        ) from None
    except (OSError, NotImplementedError) as error:
        raise CheckpointError(
            f"The folder {folder} cannot be locked: {error}. {advice(error, folder)}", path=folder
        ) from error
    return lock


def record_owner(connection: sqlite3.Connection) -> None:
    """Write down who has the lock, for the message of whoever is refused."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('owner_pid', ?)", (str(os.getpid()),))


def _owner(folder: Path) -> int | None:
    with suppress(CheckpointError, sqlite3.Error), closing(connect_reading(folder)) as connection:
        row = connection.execute("SELECT value FROM meta WHERE key = 'owner_pid'").fetchone()
        return int(row[0]) if row else None
    return None
