"""Which files the rows of a checkpoint speak of, and which lie there that no row knows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanobatch.checkpoint.audit import is_closed_well
from nanobatch.checkpoint.disk import sha256_of
from nanobatch.checkpoint.files import is_plain

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from nanobatch.checkpoint.files import ImageFiles

__all__ = ["KeptFile", "fault_of", "kept_files", "settled_fault", "strangers"]

_KEPT = """
SELECT c.number, 'images', i.file, c.sha256 FROM images i JOIN candidates c
ON c.number = i.candidate WHERE {where}
UNION ALL
SELECT c.number, CASE WHEN c.state IN ('rejected', 'broken') THEN 'rejected' ELSE 'staging' END,
    c.file, c.sha256 FROM candidates c WHERE c.file IS NOT NULL AND {where}
ORDER BY 2, 1
"""
_IMAGE = "SELECT 1 FROM images WHERE file = ?"
_STAGED = "SELECT 1 FROM candidates WHERE file = ? AND state NOT IN ('rejected', 'broken')"
_CALL = "SELECT 1 FROM calls WHERE number = ?"
_DIGEST = "SELECT 1 FROM candidates WHERE sha256 = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFile:
    """A file that a row promises."""

    candidate: int
    folder: str
    """`images`, `staging` or `rejected`."""
    name: str
    sha256: str

    @property
    def path(self) -> str:
        """Path inside the checkpoint's folder."""
        return f"{self.folder}/{self.name}"


def kept_files(db: sqlite3.Connection, *, candidate: int | None = None) -> list[KeptFile]:
    """Return the files of all candidates, or of one: accepted ones first, then by number."""
    query = _KEPT.format(where="true" if candidate is None else "c.number = :candidate")
    return [
        KeptFile(candidate=number, folder=folder, name=name, sha256=sha256)
        for number, folder, name, sha256 in db.execute(query, {"candidate": candidate})
    ]


def fault_of(files: ImageFiles, kept: KeptFile) -> str | None:
    """Return what is wrong with a file, as the end of a sentence; `None` if it is what it was."""
    if not is_plain(kept.name):
        return "is no name of a file in that folder"
    try:
        digest = sha256_of(files.root / kept.folder / kept.name)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if digest == kept.sha256 else "is not the file it was: its hash differs"


def settled_fault(db: sqlite3.Connection, files: ImageFiles, kept: KeptFile) -> str | None:
    """Return what is wrong with a file although its row has not changed, as a sentence.

    A run moves files while it is looked at. A file is there as long as its row says so; so if the
    row is another one by now, that one counts.
    """
    fault = fault_of(files, kept)
    while fault is not None:
        now = kept_files(db, candidate=kept.candidate)
        if kept in now:
            return f"{kept.path} {fault}."
        if not now:
            return None  # it was rejected, and nothing was to be kept of it
        kept = now[0]
        fault = fault_of(files, kept)
    return None


def strangers(
    db: sqlite3.Connection, files: ImageFiles, known: Iterable[KeptFile]
) -> Iterator[Path]:
    """Yield what lies in `images/` and `staging/` and belongs to nothing, not even to a run."""
    paths = {kept.path for kept in known}
    for folder, query in ((files.images, _IMAGE), (files.staging, _STAGED)):
        if not folder.is_dir():
            continue
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            if f"{folder.name}/{name}" in paths or db.execute(query, (name,)).fetchone():
                continue
            path = folder / name
            if not _is_in_motion(db, files, path) and os.path.lexists(path):
                yield path


def _is_in_motion(db: sqlite3.Connection, files: ImageFiles, path: Path) -> bool:
    """Return whether a run is at work on a file, or the next opening puts it in its place."""
    if is_closed_well(db):
        return False
    if path.name.endswith(".part"):
        return True
    if path.parent == files.staging:
        call = path.name.partition("-")[0]
        return call.isascii() and call.isdigit() and _has(db, _CALL, int(call))
    try:
        return _has(db, _DIGEST, sha256_of(path))
    except OSError:
        return False


def _has(db: sqlite3.Connection, query: str, value: object) -> bool:
    return db.execute(query, (value,)).fetchone() is not None
