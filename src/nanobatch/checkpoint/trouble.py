"""What an error of the disk or of SQLite means to a person: what is wrong, safe, and to be done."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from nanobatch.errors import CheckpointError, NanobatchError, one_line

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Trouble", "advice", "database_errors", "folder_of", "row_errors", "trouble_of"]


class Trouble(Enum):
    """What kind of trouble an error is; the value says what is safe and what to do."""

    FULL = "Nothing that was saved before is lost; make room on the disk and run again."
    FAILING = (
        "Nothing that was saved before is lost, but the disk fails: nothing more is written until "
        "the checkpoint is opened again. Look at the disk and the system's log, copy the folder "
        "{root} to a sound disk, and run `nanobatch verify` on the copy."
    )
    DAMAGED = (
        "The image files beside it are untouched, and nothing more is written to it. Copy the "
        "folder {root}, then run `nanobatch verify --repair {root}`."
    )
    DISAGREES = (
        "Nothing that was saved before is lost, but rows or tables are not as nanobatch wrote "
        "them. `nanobatch verify {root}` says which, and with `--repair` puts right what can be."
    )
    READ_ONLY = (
        "Nothing that was saved before is lost; make the folder {root} writable for this user and "
        "run again. To look at it, copy the folder and read the copy."
    )
    NO_DESCRIPTORS = (
        "Nothing that was saved before is lost; too many files are open: raise the limit "
        "(`ulimit -n`) or lower the concurrency, and run again."
    )
    BUSY = (
        "Nothing that was saved before is lost; another program holds the database: close it (a "
        "SQLite shell, a backup) and run again."
    )
    MISSING = (
        "Everything else is safe; something in the folder {root} was moved or removed: put it "
        "back, or see what is missing with `nanobatch verify {root}`."
    )
    OTHER = (
        "Nothing that was saved before is lost; repair the folder {root} and run again. "
        "`nanobatch verify {root}` says whether all is well."
    )

    @property
    def is_fatal(self) -> bool:
        """Whether a connection that met it must not be used again.

        After a failed write or fsync the system may have dropped the pages and call the next
        fsync a success (fsyncgate); and a damaged database only gets worse.
        """
        return self in (Trouble.FAILING, Trouble.DAMAGED)

    @property
    def concerns_transaction(self) -> bool:
        """Whether nothing else in the same transaction can succeed either."""
        return self not in (Trouble.DISAGREES, Trouble.OTHER)


_SYSTEM = {
    errno.ENOSPC: Trouble.FULL,
    errno.EDQUOT: Trouble.FULL,
    errno.EFBIG: Trouble.FULL,
    errno.EIO: Trouble.FAILING,
    errno.EROFS: Trouble.READ_ONLY,
    errno.EACCES: Trouble.READ_ONLY,
    errno.EPERM: Trouble.READ_ONLY,
    errno.EMFILE: Trouble.NO_DESCRIPTORS,
    errno.ENFILE: Trouble.NO_DESCRIPTORS,
    errno.ENOENT: Trouble.MISSING,
    errno.ENOTDIR: Trouble.MISSING,
}
_SQLITE = {
    sqlite3.SQLITE_FULL: Trouble.FULL,
    sqlite3.SQLITE_IOERR: Trouble.FAILING,
    sqlite3.SQLITE_CORRUPT: Trouble.DAMAGED,
    sqlite3.SQLITE_NOTADB: Trouble.DAMAGED,
    sqlite3.SQLITE_READONLY: Trouble.READ_ONLY,
    sqlite3.SQLITE_PERM: Trouble.READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: Trouble.MISSING,
    sqlite3.SQLITE_BUSY: Trouble.BUSY,
    sqlite3.SQLITE_LOCKED: Trouble.BUSY,
    sqlite3.SQLITE_ERROR: Trouble.DISAGREES,
    sqlite3.SQLITE_CONSTRAINT: Trouble.DISAGREES,
    sqlite3.SQLITE_MISMATCH: Trouble.DISAGREES,
    sqlite3.SQLITE_SCHEMA: Trouble.DISAGREES,
}
_PRIMARY = 0xFF  # SQLite keeps the detail of an error code in its higher bits


def trouble_of(error: BaseException) -> Trouble:
    """Return what kind of trouble an error is."""
    if isinstance(error, OSError):
        return _SYSTEM.get(error.errno or 0, Trouble.OTHER)
    if isinstance(error, UnicodeDecodeError):
        return Trouble.DAMAGED
    code = getattr(error, "sqlite_errorcode", None)  # errors of the module itself have none
    if code is None:
        return Trouble.OTHER
    if code == sqlite3.SQLITE_READONLY_DBMOVED:
        return Trouble.MISSING
    trouble = _SQLITE.get(code & _PRIMARY, Trouble.OTHER)
    if code & _PRIMARY == sqlite3.SQLITE_CANTOPEN and not _is_descriptor_free():
        return Trouble.NO_DESCRIPTORS
    return trouble


def _is_descriptor_free() -> bool:
    """Return whether a file could be opened now: SQLite does not say why it could not."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    return True


def advice(error: BaseException, root: Path) -> str:
    """Return what is safe after an error, and what to do about it."""
    return trouble_of(error).value.format(root=root)


@contextmanager
def database_errors(root: Path, what: str) -> Generator[None]:
    """Turn what SQLite refuses into a sentence.

    Args:
        root: The checkpoint's folder.
        what: The beginning of the sentence: what could not be done.

    Raises:
        CheckpointError: Instead of a `sqlite3.Error`.
    """
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # a damaged name may be in its message
        why = one_line(str(error))
        raise CheckpointError(f"{what}: {why}. {advice(error, root)}", path=root) from error


def folder_of(db: sqlite3.Connection) -> Path:
    """Return the folder of the checkpoint that a connection writes to."""
    return Path(db.execute("PRAGMA database_list").fetchone()[2]).parent


@contextmanager
def row_errors(root: Path) -> Generator[None]:
    """Turn a row that cannot be understood, because somebody edited it, into a sentence.

    Raises:
        CheckpointError: Instead of what Python says of its values.
    """
    try:
        yield
    except NanobatchError:
        raise
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        safe = Trouble.DISAGREES.value.format(root=root)
        raise CheckpointError(
            f"A row of the checkpoint {root} cannot be understood: {one_line(str(error))}. {safe}",
            path=root,
        ) from error
