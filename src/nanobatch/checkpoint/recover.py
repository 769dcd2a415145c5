"""After a killed run: every intent gets a line, every file on the disk a row."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from nanobatch.checkpoint.batches import (
    AWAITED,
    awaited_calls,
    batches_on_their_way,
    drop_planned,
)
from nanobatch.checkpoint.changes import NewCandidate, Settlement, set_slot, settle
from nanobatch.checkpoint.disk import disk_errors, sync_file, sync_folder
from nanobatch.checkpoint.files import REQUESTS, RESULTS
from nanobatch.checkpoint.records import SlotState
from nanobatch.checkpoint.trouble import row_errors
from nanobatch.cost import LineKind, Outcome
from nanobatch.filters.container import sniff

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping

    from nanobatch.checkpoint.files import ImageFiles

__all__ = ["close_run", "described", "is_tidy", "recover"]

_DEAD = "the run ended before the answer was settled"

# A candidate's `file` lies in `rejected/` once it is judged bad, and in `staging/` until then.
_STAGED = "SELECT 1 FROM candidates WHERE file = ? AND state NOT IN ('rejected', 'broken')"
_REJECTED = "SELECT 1 FROM candidates WHERE file = ? AND state IN ('rejected', 'broken')"
_ACCEPTED = "SELECT 1 FROM images WHERE file = ?"


def is_tidy(db: sqlite3.Connection, files: ImageFiles) -> bool:
    """Return whether a run that is over needs no recovery: all settled, all files where due."""
    in_flight = f"SELECT 1 FROM calls WHERE is_open = 1 AND number NOT IN {AWAITED} LIMIT 1"  # noqa: S608
    if db.execute(in_flight).fetchone():
        return False
    with disk_errors(files.staging, files.root):
        return all(
            _is_known(db, _STAGED, entry) and entry.stat().st_nlink == 1
            for entry in _entries(files.staging)
        )


def recover(db: sqlite3.Connection, files: ImageFiles) -> list[str]:
    """Bring rows and files together again; run in one transaction, with the lock held.

    Returns the paths, inside the checkpoint's folder, of what it moved to `lost+found/`.

    An answer whose images reached `staging/` but whose settlement did not is adopted: its images
    are judged like any others, its cost stays unknown. Everything else that was in flight is
    unknown money, but for the calls of batch jobs: their answers may still come. Files no row knows
    go to `lost+found/`, they are never deleted, unless their bytes are to be read from a results
    file again. Requests to batch jobs are deleted: no file of them is sent twice. It can be
    interrupted at any point and run again.

    Raises:
        CheckpointError: The disk refuses.
    """
    with disk_errors(files.root, files.root), row_errors(files.root):
        coming = _coming_again(db, files)
        close_run(db, adopted=_staged_by_call(db, files, but=coming))
        moved = _sort_files(db, files, coming=coming)
        _clear_batches(db, files)
        return [path.relative_to(files.root).as_posix() for path in moved]


def close_run(db: sqlite3.Connection, *, adopted: Mapping[int, list[Path]] | None = None) -> None:
    """Close what a run left open: intents become ledger lines, slots without an image end.

    What waits for a batch job goes on waiting.

    Args:
        db: Inside a transaction.
        adopted: Staged files of calls that may never have been settled, by call.
    """
    drop_planned(db)
    _close_intents(db, adopted or {})
    for slot, billed in db.execute(
        "SELECT number, billed FROM slots s WHERE state = 'open' AND NOT EXISTS "
        "(SELECT 1 FROM candidates c WHERE c.slot = s.number AND c.state = 'staged') "
        "AND number NOT IN (SELECT slot FROM calls WHERE is_open = 1)"
    ).fetchall():
        set_slot(db, slot, SlotState.REJECTED if billed else SlotState.VOID)


def _close_intents(db: sqlite3.Connection, adopted: Mapping[int, list[Path]]) -> None:
    number = int(db.execute("SELECT coalesce(max(number), 0) FROM candidates").fetchone()[0])
    for call, slot, job, kind, worst, is_awaited in db.execute(
        f"SELECT c.number, c.slot, s.job, c.kind, c.worst_nano, c.number IN {AWAITED} FROM calls c "  # noqa: S608
        "JOIN slots s ON s.number = c.slot WHERE c.is_open = 1 ORDER BY c.number"
    ).fetchall():
        if is_awaited and call not in adopted:
            continue
        candidates: list[NewCandidate] = []
        for path in adopted.get(call, []):
            number += 1
            candidates.append(described(path.read_bytes(), number=number, file=path.name))
        settle(
            db,
            Settlement(
                call=call,
                slot=slot,
                job=job,
                kind=LineKind(kind),
                outcome=Outcome.BILLED if candidates else Outcome.UNKNOWN,
                unknown_nano=worst,
                note=_DEAD,
            ),
            candidates,
        )


def described(image: bytes, *, number: int, file: str) -> NewCandidate:
    """Return the row of an image, from its bytes."""
    header = sniff(image)
    return NewCandidate(
        number=number,
        file=file,
        sha256=hashlib.sha256(image).hexdigest(),
        mime_type=header.mime_type,
        width_px=header.width_px,
        height_px=header.height_px,
    )


def _coming_again(db: sqlite3.Connection, files: ImageFiles) -> set[int]:
    """Return the calls whose answers lie in a results file: they are read from there once more."""
    return {
        one.call
        for batch in batches_on_their_way(db)
        if files.results_of(batch.name).is_file()
        for one in awaited_calls(db, batch.number)
    }


def _staged_by_call(
    db: sqlite3.Connection, files: ImageFiles, *, but: set[int]
) -> dict[int, list[Path]]:
    """Return the whole files in `staging/` of calls in flight, by the call their name begins with.

    They are on the disk for good before any row speaks of them: whoever wrote them may have been
    killed before its fsync.
    """
    in_flight = {row[0] for row in db.execute("SELECT number FROM calls WHERE is_open = 1")} - but
    staged: dict[int, list[Path]] = {}
    for entry in sorted(_entries(files.staging), key=lambda entry: entry.name):
        call = _call_of(entry)
        is_whole = entry.is_file(follow_symlinks=False) and not _is_half_written(entry)
        if is_whole and call in in_flight:
            path = Path(entry.path)
            sync_file(path)
            staged.setdefault(call, []).append(path)
    if staged:
        sync_folder(files.staging)
    return staged


def _call_of(entry: os.DirEntry[str]) -> int:
    """Return the call that the name of a staged file begins with; -1 if it is no such name."""
    call, _, rest = entry.name.partition("-")
    return int(call) if call.isascii() and call.isdigit() and rest else -1


def _sort_files(db: sqlite3.Connection, files: ImageFiles, *, coming: set[int]) -> list[Path]:
    """Leave one name to every file that has a row, and move all others to `lost+found/`.

    A file has two names while its verdict becomes durable. If its row is there, the name in
    `staging/` goes, otherwise the new one does. Returns what it moved, by the old paths.
    """
    staged: set[int] = set()
    strangers: dict[int, os.DirEntry[str]] = {}
    for entry in _entries(files.staging):
        if _is_known(db, _STAGED, entry):
            staged.add(entry.inode())
        else:
            strangers[entry.inode()] = entry
    lost: list[os.DirEntry[str]] = []
    for folder, query in ((files.images, _ACCEPTED), (files.rejected, _REJECTED)):
        for entry in _entries(folder):
            inode = entry.inode()
            if _is_known(db, query, entry):
                if inode in strangers:
                    Path(strangers.pop(inode).path).unlink()
            elif inode in staged:
                Path(entry.path).unlink()
            else:
                lost.append(entry)
    again = [entry for entry in strangers.values() if _call_of(entry) in coming]
    for entry in again:
        Path(entry.path).unlink()
    rest = [entry for entry in strangers.values() if entry not in again]
    return [path for entry in (*lost, *rest) if (path := _clear_away(entry, files))]


def _clear_batches(db: sqlite3.Connection, files: ImageFiles) -> None:
    """Remove requests, which nobody sends a second time, and results that are settled."""
    awaited = {batch.name for batch in batches_on_their_way(db)}
    for entry in _entries(files.batches):
        name, _, ending = entry.name.partition(".")
        is_settled = name not in awaited and ending in (RESULTS, f"{RESULTS}.part")
        if name.startswith("nb-") and (ending == REQUESTS or is_settled):
            Path(entry.path).unlink()


def _clear_away(entry: os.DirEntry[str], files: ImageFiles) -> Path | None:
    """Move what no row knows to `lost+found/`, or remove half a file; return what was moved."""
    path = Path(entry.path)
    if _is_half_written(entry):
        path.unlink()
        return None
    files.lose(path)
    return path


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a folder; nothing if the folder is not there."""
    if folder.is_dir():
        with os.scandir(folder) as entries:
            yield from list(entries)


def _is_half_written(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(".part") and entry.is_file(follow_symlinks=False)


def _is_known(db: sqlite3.Connection, query: str, entry: os.DirEntry[str]) -> bool:
    return db.execute(query, (entry.name,)).fetchone() is not None
