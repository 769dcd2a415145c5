"""A full check: the database by SQLite itself, its rows by each other, every file by its hash."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

from nanobatch.checkpoint.audit import audit
from nanobatch.checkpoint.disk import disk_errors
from nanobatch.checkpoint.files import ImageFiles
from nanobatch.checkpoint.inventory import kept_files, settled_fault, strangers
from nanobatch.checkpoint.records import VerifyReport
from nanobatch.checkpoint.schema import connect_reading, missing_tables
from nanobatch.checkpoint.wording import MAX_SENTENCES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["database_faults", "verify"]

_DANGLING = "PRAGMA foreign_key_check"


def verify(root: Path) -> VerifyReport:
    """Check everything and report; nothing is repaired.

    The rows are compared in a private copy of the database as it was at one moment, so that a run
    which writes meanwhile waits for the copy only, not for the checks.

    Raises:
        CheckpointError: There is no checkpoint, or nothing of it can be read.
    """
    files = ImageFiles(root)
    with (
        closing(connect_reading(root)) as db,
        closing(sqlite3.connect("", isolation_level=None)) as copy,
        disk_errors(root, root),
    ):
        faults: list[str] = []
        try:
            db.backup(copy)
            faults += database_faults(copy)
            faults += audit(copy)
            kept = kept_files(copy)
            for one in kept:
                fault = settled_fault(db, files, one)
                if fault:
                    faults.append(fault)
            faults += [
                f"{path.relative_to(root)} is in no row of the ledger."
                for path in strangers(db, files, kept)
            ]
        except sqlite3.Error as error:
            return VerifyReport(images=0, staged=0, faults=(*faults, f"Database: {error}."))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            fault = f"Database: a row cannot be understood: {error}."
            return VerifyReport(images=0, staged=0, faults=(*faults, fault))
    read = Counter(one.folder for one in kept)
    return VerifyReport(
        images=read["images"], staged=read["staging"], faults=tuple(dict.fromkeys(faults))
    )


def database_faults(db: sqlite3.Connection) -> Iterator[str]:
    """Yield what SQLite itself finds wrong, and tables that are not ours any more."""
    try:
        for (fault,) in db.execute(f"PRAGMA integrity_check({MAX_SENTENCES})"):
            if fault != "ok":
                yield f"Database: {fault}."
        for name in missing_tables(db):
            yield f"Database: {name} is missing or was changed."
        dangling = Counter((table, parent) for table, _, parent, _ in db.execute(_DANGLING))
        for (table, parent), count in sorted(dangling.items()):
            times = "" if count == 1 else f" ({count:,} times)"
            yield f"Database: {table} names a row of {parent} that is missing{times}."
    except (sqlite3.Error, UnicodeDecodeError) as error:
        yield f"Database: {error}."
