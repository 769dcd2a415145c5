"""Files that are missing or were edited are put back from wherever else their bytes lie."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING

from nanobatch.checkpoint.changes import NewFailure, fail, now_micros
from nanobatch.checkpoint.disk import create_folder, sha256_of, sync_folder, write_durably
from nanobatch.checkpoint.inventory import KeptFile, fault_of, kept_files
from nanobatch.checkpoint.recover import close_run
from nanobatch.checkpoint.repair.derive import derive
from nanobatch.checkpoint.schema import DATABASE
from nanobatch.cost import LineKind

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from nanobatch.checkpoint.files import ImageFiles

__all__ = ["forget_missing", "restore"]


def restore(db: sqlite3.Connection, files: ImageFiles) -> list[str]:
    """Put files back and say what was done; nothing is deleted and no row is changed.

    An edited file goes to `lost+found/` first. Interrupted at any point, it can be done again:
    then its bytes are missing, and are looked for.
    """
    kept = kept_files(db)
    faulty = [one for one in kept if fault_of(files, one) is not None]
    said: list[str] = []
    for one in faulty:
        path = files.root / one.path
        if _is_another(path, one.sha256):
            moved = files.lose(path)
            said.append(f"{one.path} is not the file it was; it is in lost+found/{moved.name} now.")
    if not faulty:
        return said
    in_place = {one.path: one for one in kept}
    for one in faulty:
        in_place.pop(one.path)
    free = _by_digest(files.root, {one.sha256 for one in faulty}, without=set(in_place))
    taken = {one.sha256: one for one in in_place.values()}
    for one in faulty:
        path = files.root / one.path
        if os.path.lexists(path):
            continue  # it is there and cannot be read: nothing to do about it from here
        if free[one.sha256]:
            source = free[one.sha256].pop(0)
            create_folder(path.parent)
            source.replace(path)
            sync_folder(path.parent)
            sync_folder(source.parent)
            origin = source.relative_to(files.root).as_posix()
            said.append(f"{one.path} is back; its bytes were in {origin}.")
        elif one.sha256 in taken:
            other = taken[one.sha256].path
            create_folder(path.parent)
            write_durably(path, (files.root / other).read_bytes())
            sync_folder(path.parent)
            said.append(f"{one.path} is back; {other} has the same bytes.")
    return said


def forget_missing(db: sqlite3.Connection, files: ImageFiles) -> list[str]:
    """Give up the files that are nowhere, so that their jobs get new ones; say which.

    The ledger keeps every line: what the image cost stays, and for an accepted one a line says
    that it is lost, so that A counts the images there are.

    Args:
        db: Inside a transaction.
        files: The images.
    """
    missing = [one for one in kept_files(db) if not os.path.lexists(files.root / one.path)]
    for one in missing:
        _forget(db, one)
    if missing:
        derive(db)
        close_run(db)
    return [f"{one.path} is given up." for one in missing]


def _forget(db: sqlite3.Connection, one: KeptFile) -> None:
    if one.folder == "rejected":  # kept for a person to look at; nothing depends on it
        db.execute("UPDATE candidates SET file = NULL WHERE number = ?", (one.candidate,))
        return
    job, slot, model_id = db.execute(
        "SELECT s.job, s.number, s.model_id FROM candidates c JOIN slots s ON s.number = c.slot "
        "WHERE c.number = ?",
        (one.candidate,),
    ).fetchone()
    if one.folder == "images":
        db.execute("DELETE FROM images WHERE candidate = ?", (one.candidate,))
        db.execute(
            "INSERT INTO ledger (at, kind, job, slot, note) VALUES (?, ?, ?, ?, ?)",
            (now_micros(), LineKind.LOST, job, slot, f"{one.path} was lost"),
        )
    db.execute(
        "UPDATE candidates SET state = 'broken', file = NULL, reason = 'its file was lost' "
        "WHERE number = ?",
        (one.candidate,),
    )
    fail(
        db,
        NewFailure(
            job=job,
            slot=slot,
            kind="lost",
            message=f"{one.path} was lost from the disk and given up by a repair.",
            model_id=model_id,
        ),
    )


def _is_another(path: Path, sha256: str) -> bool:
    """Return whether something else lies in the place of a file; not if it cannot be read."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        return True
    try:
        return sha256_of(path) != sha256
    except OSError:
        return False


def _by_digest(root: Path, digests: set[str], *, without: set[str]) -> defaultdict[str, list[Path]]:
    """Return the files of a checkpoint that have the bytes in question and no row of their own."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for folder, _, names in os.walk(root):
        for name in sorted(names):
            path = root.joinpath(folder, name)
            is_ours = folder == os.fspath(root) and name.startswith((DATABASE, "lock"))
            if is_ours or path.relative_to(root).as_posix() in without or path.is_symlink():
                continue
            try:
                digest = sha256_of(path)
            except OSError:
                continue
            if digest in digests:
                found[digest].append(path)
    return found
