"""Rows whose parents were lost get new ones, so that every other figure of theirs is kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nanobatch.checkpoint.changes import now_micros
from nanobatch.checkpoint.files import stem_key
from nanobatch.checkpoint.recover import described
from nanobatch.checkpoint.wording import few, runs

if TYPE_CHECKING:
    import sqlite3

    from nanobatch.checkpoint.files import ImageFiles

__all__ = ["adopt_orphans", "lost_call"]

_REASON = "Its row was lost from the checkpoint; its images and its costs are kept."
_LOST = {
    "jobs": "SELECT job FROM slots UNION SELECT job FROM ledger UNION SELECT job FROM failures "
    "UNION SELECT job FROM images",
    "slots": "SELECT slot FROM calls UNION SELECT slot FROM ledger UNION SELECT slot FROM "
    "candidates UNION SELECT slot FROM images UNION SELECT parent FROM slots",
    "calls": "SELECT call FROM ledger UNION SELECT call FROM candidates",
    "candidates": "SELECT candidate FROM images",
}


def adopt_orphans(db: sqlite3.Connection, files: ImageFiles) -> list[str]:
    """Give rows whose job, slot, call or candidate is gone a new one, and say so.

    Args:
        db: Inside a transaction.
        files: Where the image of a lost candidate is looked at.
    """
    said: list[str] = []
    jobs = _lost(db, "jobs")
    for job in jobs:
        _add_job(db, job)
    if jobs:
        said.append(f"The rows of jobs {runs(jobs)} are lost; each is 'lost-job-NUMBER' now.")
    slots = _lost(db, "slots")
    for slot in slots:
        _add_slot(db, slot, job=_job_of(db, slot))
        # Which stage and tier it was is lost, so nothing of it is delivered that was not yet.
        db.execute(
            "UPDATE candidates SET state = 'spare' WHERE slot = ? "
            "AND state IN ('staged', 'passed', 'picked', 'unpicked', 'spent')",
            (slot,),
        )
    if slots:
        said.append(f"The rows of slots {runs(slots)} are lost; calls and images of them are kept.")
    calls = _lost(db, "calls")
    for call in calls:
        slot, kind = db.execute(
            "SELECT slot, kind FROM ledger WHERE call = :call UNION ALL "
            "SELECT slot, 'call' FROM candidates WHERE call = :call LIMIT 1",
            {"call": call},
        ).fetchone()
        _add_call(db, call, slot=slot, kind=kind)
    if calls:
        said.append(f"The rows of calls {runs(calls)} are lost; money and images of them are kept.")
    said += few([_add_candidate(db, candidate, files) for candidate in _lost(db, "candidates")])
    unlinked = db.execute(
        "DELETE FROM batch_calls WHERE number NOT IN (SELECT number FROM calls) "
        "OR batch NOT IN (SELECT number FROM batches) OR slot NOT IN (SELECT number FROM slots)"
    ).rowcount
    if unlinked:
        said.append(f"{unlinked} calls do not know their batch job any more.")
    db.execute("UPDATE failures SET slot = NULL WHERE slot NOT IN (SELECT number FROM slots)")
    return said


def lost_call(db: sqlite3.Connection) -> tuple[int, int, int, int]:
    """Add a call nothing is known of; return it, its slot, its job and its worst case."""
    row = db.execute("SELECT number FROM jobs WHERE spec = '' ORDER BY number LIMIT 1").fetchone()
    job = row[0] if row else _new_job(db)
    slot = _next(db, "slots")
    _add_slot(db, slot, job=job)
    call = _next(db, "calls")
    return call, slot, job, _add_call(db, call, slot=slot, kind="call")


def _lost(db: sqlite3.Connection, table: str) -> list[int]:
    query = f"SELECT * FROM ({_LOST[table]}) EXCEPT SELECT number FROM {table}"  # noqa: S608
    return [row[0] for row in db.execute(query) if row[0] is not None]


def _next(db: sqlite3.Connection, table: str) -> int:
    query = f"SELECT coalesce(max(number), 0) + 1 FROM {table}"  # noqa: S608 - our own words
    return int(db.execute(query).fetchone()[0])


def _new_job(db: sqlite3.Connection) -> int:
    number = _next(db, "jobs")
    _add_job(db, number)
    return number


def _add_job(db: sqlite3.Connection, number: int) -> None:
    """Add a job that stands for a lost one; no hash of a real job is empty."""
    job_id = f"lost-job-{number}"
    while db.execute(
        "SELECT 1 FROM jobs WHERE id = ? OR stem_key = ?", (job_id, stem_key(job_id))
    ).fetchone():
        job_id += "-again"
    body = json.dumps({"id": job_id, "prompt": "(lost)"})
    db.execute(
        "INSERT INTO jobs (number, id, stem, stem_key, spec, body, tag, want, allowance_key, run, "
        "status, is_final, reason) VALUES (?, ?, ?, ?, '', ?, '', "
        "(SELECT coalesce(sum(want), 0) FROM ledger WHERE job = ?), '', 0, 'failed', 1, ?)",
        (number, job_id, job_id, stem_key(job_id), body, number, _REASON),
    )


def _job_of(db: sqlite3.Connection, slot: int) -> int:
    row = db.execute(
        "SELECT job FROM ledger WHERE slot = :slot UNION ALL SELECT job FROM images WHERE slot = "
        ":slot UNION ALL SELECT job FROM slots WHERE parent = :slot LIMIT 1",
        {"slot": slot},
    ).fetchone()
    return int(row[0]) if row else _new_job(db)


def _add_slot(db: sqlite3.Connection, number: int, *, job: int) -> None:
    """Add a slot as it may have been: on the tier and model of another slot, of its job if any."""
    row = db.execute(
        "SELECT tier, model_id FROM slots ORDER BY job = ? DESC, number DESC LIMIT 1", (job,)
    ).fetchone()
    db.execute(
        "INSERT INTO slots (number, job, attempt, allowance, stage, tier, model_id, state) "
        "SELECT ?, number, attempt, allowance, 'candidate', ?, ?, 'void' FROM jobs "
        "WHERE number = ?",
        (number, *(row or ("lite", "unknown")), job),
    )


def _add_call(db: sqlite3.Connection, number: int, *, slot: int, kind: str) -> int:
    """Add a closed call; return its worst case, that of the dearest call there is."""
    worst_nano = int(db.execute("SELECT coalesce(max(worst_nano), 0) FROM calls").fetchone()[0])
    db.execute(
        "INSERT INTO calls (number, slot, kind, at, worst_nano, is_open) VALUES (?, ?, ?, ?, ?, 0)",
        (number, slot, kind, now_micros(), worst_nano),
    )
    return worst_nano


def _add_candidate(db: sqlite3.Connection, number: int, files: ImageFiles) -> str:
    """Make the row of an accepted image's candidate again, from the file; without it, none."""
    slot, file = db.execute(
        "SELECT slot, file FROM images WHERE candidate = ?", (number,)
    ).fetchone()
    path = files.images / file
    if not path.is_file():
        db.execute("DELETE FROM images WHERE candidate = ?", (number,))
        return f"images/{file} is lost, and so is what was known of it."
    row = db.execute(
        "SELECT max(number) FROM calls WHERE slot = ? AND kind = 'call'", (slot,)
    ).fetchone()
    call = row[0]
    if call is None:
        call = _next(db, "calls")
        _add_call(db, call, slot=slot, kind="call")
    image = described(path.read_bytes(), number=number, file=file)
    db.execute(
        "INSERT INTO candidates (number, slot, call, at, sha256, mime_type, width_px, height_px, "
        "state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'accepted')",
        (
            number,
            slot,
            call,
            now_micros(),
            image.sha256,
            image.mime_type,
            image.width_px,
            image.height_px,
        ),
    )
    return f"What was known of images/{file} is lost; its row describes the file as it is now."
