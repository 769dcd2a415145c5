"""Everything that can be put right in a checkpoint, in an order that may be interrupted anywhere.

First the database itself, then its rows, then the files: what comes later relies on what came
before, and each step is on the disk before the next begins.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from nanobatch.checkpoint.batches import AWAITED
from nanobatch.checkpoint.disk import disk_errors
from nanobatch.checkpoint.files import ImageFiles
from nanobatch.checkpoint.lock import acquire_lock, record_owner
from nanobatch.checkpoint.records import RepairReport
from nanobatch.checkpoint.recover import recover
from nanobatch.checkpoint.repair.reconcile import reconcile
from nanobatch.checkpoint.repair.restore import forget_missing, restore
from nanobatch.checkpoint.repair.salvage import salvage
from nanobatch.checkpoint.schema import DATABASE, connect_writing, definitions, missing_tables
from nanobatch.checkpoint.trouble import Trouble, database_errors, trouble_of
from nanobatch.checkpoint.verify import verify
from nanobatch.checkpoint.wording import few, runs
from nanobatch.checkpoint.writer import Writer
from nanobatch.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["repair"]


def repair(root: Path, *, gives_up_missing: bool) -> RepairReport:
    """Repair a checkpoint and verify it.

    Raises:
        CheckpointLockedError: A run is writing to it.
        CheckpointError: There is none, it is another program's or version's, or the disk refuses.
    """
    database = root / DATABASE
    with disk_errors(root, root):
        if not (database.is_file() and database.stat().st_size):
            raise CheckpointError(
                f"No checkpoint in {root}: its {DATABASE} is missing or empty. Put a copy of it "
                "back; images alone do not say what they are and what they cost.",
                path=root,
            )
    lock = acquire_lock(root)
    try:
        files = ImageFiles(root)
        files.create()
        done = _mend(files)
        writer = Writer(connect_writing(root), root)
        try:
            done += _set_right(writer, files, gives_up_missing=gives_up_missing)
        finally:
            writer.close()
    finally:
        lock.release()
    return RepairReport(done=tuple(done), after=verify(root))


def _mend(files: ImageFiles) -> list[str]:
    """Leave a database that SQLite finds sound: as it is, with new indexes, or a new one."""
    try:
        with closing(connect_writing(files.root)) as db:
            if _is_sound(db):
                return []
            said = _index_again(db)
            if said is not None:
                return said
    except CheckpointError as error:
        if error.__cause__ is None or trouble_of(error.__cause__) is not Trouble.DAMAGED:
            raise
    except sqlite3.Error as error:
        if trouble_of(error) is not Trouble.DAMAGED:
            with database_errors(files.root, f"The database in {files.root} cannot be checked"):
                raise
    return salvage(files)


def _is_sound(db: sqlite3.Connection) -> bool:
    return db.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok" and not missing_tables(db)


def _index_again(db: sqlite3.Connection) -> list[str] | None:
    """Make indexes and triggers again; `None` if that was not what is wrong."""
    missing = missing_tables(db)
    if any(name.startswith("table") for name in missing):
        return None
    db.execute("BEGIN IMMEDIATE")
    try:
        for name in missing:
            kind, _, own_name = name.partition(" ")
            db.execute(f"DROP {kind} IF EXISTS {own_name}")
            db.execute(definitions()[name])
        db.execute("REINDEX")
        if _is_sound(db):
            db.execute("COMMIT")
            return ["The indexes of the database were damaged or missing; they are made again."]
    except sqlite3.DatabaseError as error:
        if trouble_of(error) not in (Trouble.DAMAGED, Trouble.DISAGREES):
            raise
    if db.in_transaction:
        db.execute("ROLLBACK")
    return None


def _set_right(writer: Writer, files: ImageFiles, *, gives_up_missing: bool) -> list[str]:
    """Let rows and files agree; mark the checkpoint as closed when they do."""
    writer.commit_now(record_owner)
    done = writer.commit_now(lambda db: _reconcile(db, files))
    in_flight = writer.commit_now(_in_flight)
    if in_flight:
        done.append(f"Calls {runs(in_flight)} were in flight at the end: unknown money.")
    moved = writer.commit_now(lambda db: recover(db, files))
    done += few([f"{name} is in no row of the ledger; it is in lost+found/ now." for name in moved])
    with disk_errors(files.root, files.root):
        done += writer.commit_now(lambda db: restore(db, files))
        if gives_up_missing:
            done += writer.commit_now(lambda db: forget_missing(db, files))
    writer.commit_now(lambda db: _mark(db, is_clean=True))
    return done


def _reconcile(db: sqlite3.Connection, files: ImageFiles) -> list[str]:
    done = reconcile(db, files)
    _mark(db, is_clean=False)  # from here on opening it recovers, should this be interrupted
    return done


def _in_flight(db: sqlite3.Connection) -> list[int]:
    query = f"SELECT number FROM calls WHERE is_open != 0 AND number NOT IN {AWAITED}"  # noqa: S608
    return [row[0] for row in db.execute(query)]


def _mark(db: sqlite3.Connection, *, is_clean: bool) -> None:
    db.execute("INSERT OR REPLACE INTO meta VALUES ('is_clean', ?)", (str(int(is_clean)),))
