"""After a killed run: every intent gets a line, every file on the disk a row."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from nanobatch.checkpoint.records import SlotState
from nanobatch.checkpoint.changes import NewCandidate, Settlement, set_slot, settle
from nanobatch.cost import LineKind, Outcome
from nanobatch.filters.container import sniff

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from pathlib import Path

    from nanobatch.checkpoint.files import ImageFiles

__all__ = ["close_run", "described", "recover"]

_DEAD = "the run ended before the answer was settled"


def recover(db: sqlite3.Connection, files: ImageFiles) -> None:
    """Bring rows and files together again; run in one transaction, with the lock held.

    An answer whose images reached `staging/` but whose settlement did not is adopted: its images
    are judged like any others, its cost stays unknown. Everything else that was in flight is
    unknown money. Files no row knows go to `lost+found/`, they are never deleted.
    """
    close_run(db, adopted=_staged_by_call(files))
    _lose_unknown_files(db, files)


def close_run(db: sqlite3.Connection, *, adopted: Mapping[int, list[Path]] | None = None) -> None:
    """Close what a run left open: intents become ledger lines, slots without an image end.

    Args:
        db: Inside a transaction.
        adopted: Staged files of calls that may never have been settled, by call.
    """
    _close_intents(db, adopted or {})
    for slot, billed in db.execute(
        "SELECT number, billed FROM slots s WHERE state = 'open' AND NOT EXISTS "
        "(SELECT 1 FROM candidates c WHERE c.slot = s.number AND c.state = 'staged')"
    ).fetchall():
        set_slot(db, slot, SlotState.REJECTED if billed else SlotState.VOID)


def _close_intents(db: sqlite3.Connection, adopted: Mapping[int, list[Path]]) -> None:
    number = int(db.execute("SELECT coalesce(max(number), 0) FROM candidates").fetchone()[0])
    for call, slot, job, kind, worst in db.execute(
        "SELECT c.number, c.slot, s.job, c.kind, c.worst_nano FROM calls c "
        "JOIN slots s ON s.number = c.slot WHERE c.is_open = 1 ORDER BY c.number"
    ).fetchall():
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


def _staged_by_call(files: ImageFiles) -> dict[int, list[Path]]:
    """Return the whole files in `staging/`, by the call their name begins with."""
    staged: dict[int, list[Path]] = {}
    for path in sorted(files.staging.iterdir()):
        call, _, rest = path.name.partition("-")
        if call.isdigit() and rest and path.suffix != ".part":
            staged.setdefault(int(call), []).append(path)
    return staged


def _lose_unknown_files(db: sqlite3.Connection, files: ImageFiles) -> None:
    inodes: set[int] = set()
    for path in sorted(files.staging.iterdir()):
        inodes.add(path.stat().st_ino)
        known = db.execute("SELECT 1 FROM candidates WHERE file = ?", (path.name,)).fetchone()
        if known is None:
            if path.suffix == ".part" or path.stat().st_nlink > 1:
                path.unlink()  # half a write, or the second name of an accepted image
            else:
                files.lose(path)
    for path in sorted(files.images.iterdir()):
        if db.execute("SELECT 1 FROM images WHERE file = ?", (path.name,)).fetchone() is None:
            if path.stat().st_ino in inodes:
                path.unlink()  # linked, and killed before its row: the staged name is the one
            else:
                files.lose(path)
