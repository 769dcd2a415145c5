"""Out of a damaged database into a new one: every row that can still be read, one by one."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

from nanobatch.checkpoint.disk import disk_errors, link, sync_file, sync_folder, write_durably
from nanobatch.checkpoint.repair.graft import graft
from nanobatch.checkpoint.repair.reconcile import reconcile
from nanobatch.checkpoint.schema import DATABASE, create_tables, missing_tables
from nanobatch.checkpoint.trouble import Trouble, database_errors
from nanobatch.checkpoint.wording import runs
from nanobatch.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nanobatch.checkpoint.files import ImageFiles

__all__ = ["salvage"]

PROBES = 500
"""Single look-ups behind the last number any other row speaks of."""

_TABLES = (
    "meta",
    "jobs",
    "slots",
    "calls",
    "ledger",
    "candidates",
    "images",
    "failures",
    "batches",
    "batch_calls",
)
_LAST_NAMED = {
    "meta": "SELECT 0",
    "jobs": "SELECT max(job) FROM (SELECT job FROM slots UNION ALL SELECT job FROM ledger)",
    "slots": "SELECT max(slot) FROM (SELECT slot FROM calls UNION ALL SELECT slot FROM ledger)",
    "calls": "SELECT max(call) FROM (SELECT call FROM ledger UNION SELECT call FROM candidates)",
    "ledger": "SELECT max(seq) FROM sqlite_sequence",
    "candidates": "SELECT max(candidate) FROM images",
    "images": "SELECT max(number) FROM candidates",
    "failures": "SELECT max(number) FROM calls",
    "batches": "SELECT max(batch) FROM batch_calls",
    "batch_calls": "SELECT max(number) FROM calls",
}

_Row: TypeAlias = "tuple[Any, ...]"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gap:
    """Numbers between which a table could not be read from either end."""

    table: str
    after: int
    before: int | None
    """`None` if its end could not be read at all."""


def salvage(files: ImageFiles) -> list[str]:
    """Put a new database in the place of a damaged one and say what was brought over.

    The new one is complete and on the disk before it gets the name; the damaged one is kept as
    `ledger.sqlite.damaged-1` (or -2, ...). Interrupted at any point, it can be done again.

    Raises:
        CheckpointError: Nothing can be read, or the disk refuses; nothing was changed.
    """
    root = files.root
    new, copy = root / f"{DATABASE}.salvaged", root / f"{DATABASE}.grafted"
    with disk_errors(root, root), database_errors(root, f"The database in {root} resists repair"):
        for left_over in (new, copy):
            left_over.unlink(missing_ok=True)
        try:
            done = _fill(new, _readable(root / DATABASE, copy), files)
            sync_file(new)
            kept = _put_in_place(new, root / DATABASE)
        finally:
            for left_over in (new, copy):
                with suppress(OSError):
                    left_over.unlink(missing_ok=True)
    what = (
        "The database was damaged. All rows of it that could be read are in a new one; the "
        f"damaged one is kept as {kept.name}."
    )
    return [what, *done]


def _readable(database: Path, copy: Path) -> Path:
    """Return the database, or a copy with its own list of tables if that cannot be read."""
    with suppress(sqlite3.Error), closing(_connect(database)) as source:
        if not any(name.startswith("table") for name in missing_tables(source)):
            return database
    # No connection to it is open here: closing the file would drop SQLite's locks on it.
    write_durably(copy, graft(database.read_bytes()))
    return copy


def _connect(path: Path) -> sqlite3.Connection:
    """Connect without any of the checks that would refuse a damaged page before it is needed."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _fill(new: Path, source_path: Path, files: ImageFiles) -> list[str]:
    """Bring everything over that can be read, and make it agree with itself."""
    with (
        closing(_connect(source_path)) as source,
        closing(sqlite3.connect(new, isolation_level=None)) as target,
    ):
        target.execute("PRAGMA journal_mode = MEMORY")  # it is thrown away if this is interrupted
        create_tables(target)
        target.execute("BEGIN IMMEDIATE")
        done = _Salvage(source=source, target=target, root=files.root).bring_over()
        if not any(_last(target, table) for table in _TABLES if table != "meta"):
            raise CheckpointError(
                f"Not one row of {files.root / DATABASE} can be read any more. Nothing was "
                "changed: put a copy of it in its place, or start a new checkpoint.",
                path=files.root,
            )
        target.execute("INSERT OR IGNORE INTO meta SELECT 'run', coalesce(max(run), 0) FROM jobs")
        target.execute("INSERT OR REPLACE INTO meta VALUES ('is_clean', '0')")
        done += reconcile(target, files, is_salvaged=True)
        target.execute("COMMIT")
        fault = target.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if fault != "ok" or target.execute("PRAGMA foreign_key_check").fetchone():
            raise CheckpointError(
                f"What can be read of {files.root / DATABASE} makes no whole. Nothing was changed. "
                f"{Trouble.OTHER.value.format(root=files.root)}",
                path=files.root,
            )
    return done


@dataclass(frozen=True, slots=True, kw_only=True)
class _Salvage:
    """Brings rows from one database to another; only errors of the first one are expected."""

    source: sqlite3.Connection
    target: sqlite3.Connection
    root: Path

    def bring_over(self) -> list[str]:
        """Bring over what can be read; say which rows could not."""
        gaps = [gap for table in _TABLES for gap in self._bring_ends(table)]
        self._continue_sequence()
        return [sentence for gap in gaps if (sentence := self._look_into(gap))]

    def _bring_ends(self, table: str) -> Iterator[_Gap]:
        """Bring over a table from its beginning and, where that ends too early, from its end."""
        after = 0
        try:
            for row in self._rows(table, "rowid > 0 ORDER BY rowid"):
                self._insert(table, row)
                after = max(after, row[0])
        except sqlite3.DatabaseError:
            before: int | None = None
            with suppress(sqlite3.DatabaseError):
                for row in self._rows(table, f"rowid > {after} ORDER BY rowid DESC"):
                    self._insert(table, row)
                    before = row[0] if before is None else min(before, row[0])
            yield _Gap(table=table, after=after, before=before)

    def _look_into(self, gap: _Gap) -> str:
        """Look every number of a gap up by itself; say which of them remain unknown."""
        end = gap.before
        if end is None:
            named = self.target.execute(_LAST_NAMED[gap.table]).fetchone()[0] or 0
            end = max(named, gap.after) + PROBES
        lost: list[int] = []
        for number in range(gap.after + 1, end):
            try:
                for row in self._rows(gap.table, f"rowid = {number}"):
                    self._insert(gap.table, row)
            except sqlite3.DatabaseError:
                lost.append(number)
        if not lost:
            return ""
        which = f"{lost[0]} and later" if gap.before is None else runs(lost)
        return f"Rows {which} of {gap.table} lie on damaged pages and are lost."

    def _rows(self, table: str, where: str) -> Iterator[_Row]:
        """Yield rows behind their numbers, without the help of any index: it may be damaged."""
        query = f"SELECT rowid, * FROM {table} NOT INDEXED WHERE {where}"  # noqa: S608 - our own words
        yield from self.source.execute(query)

    def _insert(self, table: str, row: _Row) -> None:
        """Insert a row; one that cannot be one of ours is damaged as well and left out."""
        places = ", ".join("?" * (len(row) - 1))
        with database_errors(self.root, f"No new database can be written in {self.root}"):
            try:
                self.target.execute(f"INSERT INTO {table} VALUES ({places})", row[1:])  # noqa: S608
            except sqlite3.IntegrityError:
                return

    def _continue_sequence(self) -> None:
        """Let new ledger lines get numbers that no lost line has had."""
        query = "SELECT max(seq) FROM sqlite_sequence WHERE name = 'ledger'"
        last = 0
        with suppress(sqlite3.DatabaseError):
            last = self.source.execute(query).fetchone()[0] or 0
        if last > _last(self.target, "ledger"):
            self.target.execute("DELETE FROM sqlite_sequence WHERE name = 'ledger'")
            self.target.execute("INSERT INTO sqlite_sequence VALUES ('ledger', ?)", (last,))


def _last(db: sqlite3.Connection, table: str) -> int:
    return int(db.execute(f"SELECT coalesce(max(rowid), 0) FROM {table}").fetchone()[0])  # noqa: S608


def _put_in_place(new: Path, database: Path) -> Path:
    """Give the new database the name; return where the damaged one is now.

    A journal that could not be rolled back goes with the damaged one: SQLite would take it for
    the new one's.
    """
    kept = next(
        path
        for path in (database.with_name(f"{DATABASE}.damaged-{n}") for n in count(1))
        if not os.path.lexists(path)
    )
    journal = database.with_name(f"{DATABASE}-journal")
    link(database, kept)
    if journal.exists() and journal.stat().st_size:
        journal.replace(kept.with_name(f"{kept.name}-journal"))
    sync_folder(database.parent)
    new.replace(database)
    sync_folder(database.parent)
    return kept
