"""A full check: the database by SQLite itself, every file against the hash in its row."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import TYPE_CHECKING

from nanobatch.checkpoint.records import VerifyReport

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.checkpoint.files import ImageFiles

__all__ = ["verify"]

_DANGLING = "PRAGMA foreign_key_check"


def verify(db: sqlite3.Connection, files: ImageFiles) -> VerifyReport:
    """Check everything and report; nothing is repaired."""
    faults: list[str] = []
    try:
        found = [str(row[0]) for row in db.execute("PRAGMA integrity_check")]
        faults += [f"Database: {fault}." for fault in found if fault != "ok"]
        dangling = {(table, parent) for table, _, parent, _ in db.execute(_DANGLING)}
        faults += [
            f"Database: {table} names a row of {parent} that is missing."
            for table, parent in sorted(dangling)
        ]
        accepted = db.execute(
            "SELECT i.file, c.sha256 FROM images i JOIN candidates c ON c.number = i.candidate "
            "ORDER BY i.number"
        ).fetchall()
        staged = db.execute(
            "SELECT file, sha256 FROM candidates WHERE file IS NOT NULL "
            "AND state NOT IN ('rejected', 'broken') ORDER BY number"
        ).fetchall()
    except sqlite3.DatabaseError as error:
        return VerifyReport(images=0, staged=0, faults=(*faults, f"Database: {error}."))
    for folder, rows in ((files.images, accepted), (files.staging, staged)):
        for name, digest in rows:
            fault = _fault(folder / name, digest)
            if fault:
                faults.append(f"{folder.name}/{name} {fault}.")
    return VerifyReport(images=len(accepted), staged=len(staged), faults=tuple(faults))


def _fault(path: Path, digest: str) -> str | None:
    try:
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if actual == digest else "is not the file it was: its hash differs"
