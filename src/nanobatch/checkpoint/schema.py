"""The tables of a checkpoint, and the one way to connect to them."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from nanobatch.checkpoint.trouble import Trouble, database_errors
from nanobatch.errors import CheckpointError, one_line

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager
    from pathlib import Path

__all__ = [
    "APPLICATION_ID",
    "DATABASE",
    "SCHEMA_VERSION",
    "check_integrity",
    "connect_reading",
    "connect_writing",
    "create_tables",
    "definitions",
    "missing_tables",
]

DATABASE = "ledger.sqlite"
APPLICATION_ID = 0x6E616E6F  # "nano": tells our databases from everybody else's
SCHEMA_VERSION = 2
BUSY_TIMEOUT_SECONDS = 30.0

# Money is whole nano-dollars, time is microseconds since 1970 UTC.
# `slots.state`: open, void (nothing billed), rejected, passed and picked (in
# hand; a picked draft won its group and waits for its finish), accepted, unpicked (lost
# a best-of), spent (a draft that was finished).
# `candidates.state`: staged (not judged), spare, broken, then the states of its slot.
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    stem TEXT NOT NULL,
    stem_key TEXT NOT NULL UNIQUE,
    spec TEXT NOT NULL,
    body TEXT NOT NULL,
    tag TEXT NOT NULL,
    want INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 1,
    allowance INTEGER NOT NULL DEFAULT 1,
    allowance_key TEXT NOT NULL,
    run INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending',
    is_final INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX jobs_by_run ON jobs (run);
CREATE TABLE slots (
    number INTEGER PRIMARY KEY,
    job INTEGER NOT NULL REFERENCES jobs (number),
    attempt INTEGER NOT NULL,
    allowance INTEGER NOT NULL,
    stage TEXT NOT NULL,
    tier TEXT NOT NULL,
    model_id TEXT NOT NULL,
    parent INTEGER REFERENCES slots (number),
    billed INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'open'
) STRICT;
CREATE INDEX slots_by_job ON slots (job);
CREATE INDEX slots_open ON slots (number) WHERE state = 'open';
CREATE TABLE calls (
    number INTEGER PRIMARY KEY,
    slot INTEGER NOT NULL REFERENCES slots (number),
    kind TEXT NOT NULL,
    at INTEGER NOT NULL,
    worst_nano INTEGER NOT NULL,
    is_open INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX calls_open ON calls (number) WHERE is_open = 1;
CREATE TABLE ledger (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    job INTEGER NOT NULL REFERENCES jobs (number),
    slot INTEGER REFERENCES slots (number),
    call INTEGER REFERENCES calls (number),
    outcome TEXT,
    usd_nano INTEGER NOT NULL DEFAULT 0,
    unknown_nano INTEGER NOT NULL DEFAULT 0,
    want INTEGER NOT NULL DEFAULT 0,
    prompt_tokens INTEGER,
    image_tokens INTEGER,
    text_tokens INTEGER,
    thought_tokens INTEGER,
    note TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX ledger_by_job ON ledger (job);
CREATE TRIGGER ledger_is_never_edited BEFORE UPDATE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_is_never_shortened BEFORE DELETE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_is_never_replaced BEFORE INSERT ON ledger
    WHEN EXISTS (SELECT 1 FROM ledger WHERE number = NEW.number)
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TABLE candidates (
    number INTEGER PRIMARY KEY,
    slot INTEGER NOT NULL REFERENCES slots (number),
    call INTEGER NOT NULL REFERENCES calls (number),
    at INTEGER NOT NULL,
    file TEXT,
    sha256 TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    width_px INTEGER NOT NULL,
    height_px INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'staged',
    filter_name TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    score REAL,
    memos TEXT NOT NULL DEFAULT '{}',
    thumbnail BLOB
) STRICT;
CREATE INDEX candidates_by_slot ON candidates (slot);
CREATE INDEX candidates_by_file ON candidates (file) WHERE file IS NOT NULL;
CREATE TABLE images (
    number INTEGER PRIMARY KEY,
    job INTEGER NOT NULL REFERENCES jobs (number),
    nth INTEGER NOT NULL,
    slot INTEGER NOT NULL UNIQUE REFERENCES slots (number),
    candidate INTEGER NOT NULL UNIQUE REFERENCES candidates (number),
    file TEXT NOT NULL UNIQUE,
    UNIQUE (job, nth)
) STRICT;
CREATE TABLE failures (
    number INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    job INTEGER NOT NULL REFERENCES jobs (number),
    slot INTEGER REFERENCES slots (number),
    kind TEXT NOT NULL,
    message TEXT NOT NULL,
    model_id TEXT NOT NULL,
    usd_nano INTEGER NOT NULL,
    is_final INTEGER NOT NULL
) STRICT;
CREATE INDEX failures_by_job ON failures (job);
"""

# Since layout 2. `batches.phase`: planned (its request was not sent), creating (it may have been),
# running, collected (every call has its line), ended (its files are deleted too), dropped (never
# sent), lost (nobody knows whether it was). `name` is ours, `job` and `told` the provider's name of
# it and its last word on how it stands.
#
# The index holds all that adds up to the cost of slots: a million are summed in three quarters of
# the time that it takes to look up every line as well.
_SINCE_LAYOUT_2 = """
CREATE INDEX ledger_by_slot ON ledger (slot, kind, usd_nano, unknown_nano);
CREATE TABLE batches (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    model_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    phase TEXT NOT NULL DEFAULT 'planned',
    input_file TEXT NOT NULL DEFAULT '',
    job TEXT NOT NULL DEFAULT '',
    told TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX batches_on_their_way ON batches (number)
    WHERE phase IN ('planned', 'creating', 'running', 'collected');
CREATE TABLE batch_calls (
    number INTEGER PRIMARY KEY REFERENCES calls (number),
    batch INTEGER NOT NULL REFERENCES batches (number),
    slot INTEGER NOT NULL REFERENCES slots (number),
    round INTEGER NOT NULL
) STRICT;
CREATE INDEX batch_calls_by_batch ON batch_calls (batch);
CREATE INDEX batch_calls_by_slot ON batch_calls (slot);
"""


def connect_writing(folder: Path) -> sqlite3.Connection:
    """Open the database for the one writer, creating it if needed.

    The caller holds the folder's lock. The journal is a rollback journal: several SQLite versions
    in use (3.7.0 to 3.51.2) can corrupt a WAL database that has a second connection.

    Raises:
        CheckpointError: It is no checkpoint of this version, or the disk refuses.
    """
    path = folder / DATABASE
    with _sentences(folder), _open(path, mode="rwc") as connection:
        is_new = _is_empty(connection)
        is_of_before = not is_new and _is_of_before(connection)
        if not (is_new or is_of_before):
            _check_identity(connection, path)
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        if is_new:
            create_tables(connection)
        elif is_of_before:
            _execute(
                connection,
                f"DROP INDEX ledger_by_slot; {_SINCE_LAYOUT_2} "
                f"PRAGMA user_version = {SCHEMA_VERSION};",
            )
        return connection


def create_tables(connection: sqlite3.Connection) -> None:
    """Make an empty database one of ours, durably."""
    _execute(
        connection,
        f"{_SCHEMA} {_SINCE_LAYOUT_2} PRAGMA application_id = {APPLICATION_ID}; "
        f"PRAGMA user_version = {SCHEMA_VERSION};",
    )


def connect_reading(folder: Path) -> sqlite3.Connection:
    """Open the database for reading, also while a run writes.

    Raises:
        CheckpointError: There is none, it is not readable, or its medium is read-only: SQLite may
            have to roll back what a killed run left before anything can be read.
    """
    path = folder / DATABASE
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises where nobody may look
        raise CheckpointError(f"No checkpoint in {folder}: there is no {DATABASE}.", path=folder)
    if not (os.access(path, os.W_OK) and os.access(folder, os.W_OK)):
        raise CheckpointError(
            f"The checkpoint {folder} is on a read-only medium or not writable for this user: "
            "copy the folder and read the copy.",
            path=folder,
        )
    with _sentences(folder), _open(path, mode="rw") as connection:
        connection.execute("PRAGMA query_only = ON")
        if _is_empty(connection):
            raise CheckpointError(f"No checkpoint in {folder}: {DATABASE} is empty.", path=folder)
        _check_identity(connection, path)
        return connection


def definitions() -> dict[str, str]:
    """Return the statement behind every table, index and trigger of ours, by its name."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        create_tables(connection)
        return _definitions(connection)


def missing_tables(connection: sqlite3.Connection) -> list[str]:
    """Return the tables, indexes and triggers that are missing or not as we made them."""
    there = _definitions(connection)
    return [name for name, statement in definitions().items() if there.get(name) != statement]


def _definitions(connection: sqlite3.Connection) -> dict[str, str]:
    query = "SELECT type || ' ' || name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    return {
        name: statement
        for name, statement in connection.execute(query)
        if not name.startswith("table sqlite_")
    }


def check_integrity(connection: sqlite3.Connection, folder: Path) -> None:
    """Have SQLite check the whole database, as is due after an unclean close.

    Raises:
        CheckpointError: It is damaged.
    """
    with _sentences(folder):
        fault = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if fault != "ok":
        raise CheckpointError(
            f"The checkpoint {folder / DATABASE} is damaged: {one_line(fault)}. "
            f"{Trouble.DAMAGED.value.format(root=folder)}",
            path=folder,
        )


@contextmanager
def _open(path: Path, *, mode: str) -> Generator[sqlite3.Connection]:
    """Connect, and close again if what follows fails."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA cell_size_check = ON")  # find damage before it spreads
        connection.execute("PRAGMA trusted_schema = OFF")  # the folder may come from elsewhere
        yield connection
    except BaseException:
        connection.close()
        raise


def _execute(connection: sqlite3.Connection, script: str) -> None:
    connection.executescript(f"BEGIN IMMEDIATE; {script} COMMIT;")


def _is_of_before(connection: sqlite3.Connection) -> bool:
    """Return whether it has layout 1: no tables of batch jobs, and a smaller index."""
    return (
        _pragma(connection, "application_id") == APPLICATION_ID
        and _pragma(connection, "user_version") == 1
    )


def _is_empty(connection: sqlite3.Connection) -> bool:
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return bool(tables == 0) and _pragma(connection, "application_id") == 0


def _check_identity(connection: sqlite3.Connection, path: Path) -> None:
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise CheckpointError(
            f"{path} is no checkpoint but the database of another program: use another folder.",
            path=path.parent,
        )
    version = _pragma(connection, "user_version")
    if version != SCHEMA_VERSION:
        raise CheckpointError(
            f"{path} has layout {version}; this nanobatch reads layout {SCHEMA_VERSION}. "
            f"Nothing was changed: {_other_version(version)}, or start a new checkpoint.",
            path=path.parent,
        )


def _other_version(version: int) -> str:
    if version > SCHEMA_VERSION:
        return "a newer nanobatch wrote it, so use that one"
    if version == 1:
        return "open it once for a run, which brings it up to date"
    return "an older nanobatch wrote it, so go on with that one"


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _sentences(folder: Path) -> AbstractContextManager[None]:
    """Turn what SQLite refuses into a sentence."""
    return database_errors(folder, f"The checkpoint {folder / DATABASE} cannot be used")
