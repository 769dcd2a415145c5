"""Columns that follow from others are computed again: from the ledger, the images, the states."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nanobatch.checkpoint.audit import is_body_of, is_memos
from nanobatch.checkpoint.batches import BatchPhase
from nanobatch.checkpoint.files import is_plain
from nanobatch.checkpoint.records import CandidateState, JobStatus
from nanobatch.checkpoint.rows import STATE_BY_CANDIDATES

if TYPE_CHECKING:
    import sqlite3
    from enum import StrEnum

__all__ = ["derive", "follow_candidates", "name_plainly", "suffix_of"]


def _listed(words: type[StrEnum]) -> str:
    return ", ".join(f"'{word}'" for word in words)


_IMAGES_BY_CANDIDATES = """
UPDATE OR IGNORE images SET slot = (SELECT slot FROM candidates WHERE number = candidate),
    job = (SELECT s.job FROM slots s JOIN candidates c ON c.slot = s.number
    WHERE c.number = candidate)
WHERE candidate NOT IN (SELECT c.number FROM candidates c JOIN slots s ON s.number = c.slot
    WHERE c.slot = images.slot AND s.job = images.job)
"""
_NAMES = {
    ("candidates", "number"): """
SELECT number, file, mime_type FROM candidates WHERE file IS NOT NULL""",
    ("images", "candidate"): """
SELECT c.number, i.file, c.mime_type FROM images i JOIN candidates c ON c.number = i.candidate""",
}

# In this order: calls and wants by the ledger, candidates by the images, slots by their candidates.
_STATEMENTS = (
    """
UPDATE calls SET is_open = 0 WHERE is_open != 0 AND number IN (SELECT call FROM ledger)""",
    f"""
UPDATE batches SET phase = 'lost' WHERE phase NOT IN ({_listed(BatchPhase)})""",  # noqa: S608
    """
UPDATE batches SET phase = 'creating' WHERE phase = 'running' AND job = ''""",
    """
UPDATE jobs SET want = coalesce((SELECT sum(want) FROM ledger WHERE job = jobs.number), want)""",
    """
UPDATE candidates SET state = 'accepted', file = NULL
WHERE number IN (SELECT candidate FROM images) AND (state != 'accepted' OR file IS NOT NULL)""",
    """
UPDATE candidates SET state = 'broken', reason = 'its image was lost'
WHERE state = 'accepted' AND number NOT IN (SELECT candidate FROM images)""",
    f"""
UPDATE candidates SET state = CASE WHEN file IS NULL THEN 'broken' ELSE 'spare' END
WHERE state NOT IN ({_listed(CandidateState)})""",  # noqa: S608 - our own words, as below
    """
UPDATE candidates SET state = 'broken', reason = 'its file was lost'
WHERE file IS NULL AND state NOT IN ('accepted', 'rejected', 'broken')""",
    """
UPDATE candidates SET state = 'spare' WHERE state IN ('passed', 'picked', 'unpicked', 'spent')
AND (slot IN (SELECT slot FROM images) OR number > (SELECT min(o.number) FROM candidates o
    WHERE o.slot = candidates.slot AND o.state IN ('passed', 'picked', 'unpicked', 'spent')))""",
    """
UPDATE slots SET billed = (SELECT count(*) FROM (SELECT outcome, max(number) FROM ledger
    WHERE kind = 'call' AND slot = slots.number GROUP BY call) WHERE outcome = 'billed')""",
    f"""
UPDATE slots SET state = x.state FROM ({STATE_BY_CANDIDATES}) x
WHERE x.slot = slots.number AND x.state NOT IN ('none', slots.state)
AND NOT (x.state = 'open' AND slots.state IN ('rejected', 'void'))""",  # noqa: S608
    f"""
UPDATE slots SET state = CASE WHEN billed THEN 'rejected' ELSE 'void' END
FROM ({STATE_BY_CANDIDATES}) x WHERE x.slot = slots.number AND x.state = 'none'
AND slots.state NOT IN ('open', 'void', 'rejected')""",  # noqa: S608
    """
UPDATE candidates SET state = 'spare' WHERE state = 'staged'
AND slot IN (SELECT number FROM slots WHERE state != 'open')""",
    """
UPDATE slots SET state = CASE WHEN billed THEN 'rejected' ELSE 'void' END WHERE state = 'open'
AND number NOT IN (SELECT slot FROM candidates WHERE state = 'staged')
AND number NOT IN (SELECT slot FROM calls WHERE is_open != 0)""",
    """
UPDATE candidates SET state = s.state FROM slots s WHERE s.number = candidates.slot
AND candidates.state IN ('passed', 'picked', 'unpicked', 'spent') AND candidates.state != s.state
AND s.state IN ('passed', 'picked', 'unpicked', 'spent')""",
    f"""
UPDATE jobs SET status = 'pending', is_final = 0, reason = ''
WHERE status NOT IN ({_listed(JobStatus)}) OR status = 'done'
AND want > (SELECT count(*) FROM images WHERE job = jobs.number)""",  # noqa: S608
)


def follow_candidates(db: sqlite3.Connection) -> None:
    """Let every accepted image have the slot and the job of its candidate."""
    db.execute(_IMAGES_BY_CANDIDATES)


def name_plainly(db: sqlite3.Connection) -> list[str]:
    """Give files new names in their rows whose names lead out of the folder; say which."""
    said: list[str] = []
    for (table, key), query in _NAMES.items():
        for number, file, mime_type in db.execute(query).fetchall():
            if not is_plain(file):
                name = f"restored-{number}.{suffix_of(mime_type)}"
                db.execute(f"UPDATE {table} SET file = ? WHERE {key} = ?", (name, number))  # noqa: S608
                said.append(f"{file!r} is no name of a file in that folder; it is {name} now.")
    return said


def suffix_of(mime_type: str) -> str:
    """Return the end of the name of a file of that type."""
    return {"image/jpeg": "jpg"}.get(mime_type, mime_type.rpartition("/")[2])


def derive(db: sqlite3.Connection) -> None:
    """Compute again whatever follows from other rows; run in one transaction."""
    for statement in _STATEMENTS:
        db.execute(statement)
    _replace_unreadable(db)


def _replace_unreadable(db: sqlite3.Connection) -> None:
    """Replace texts that are no JSON any more: everything else of their rows can be read again.

    The next run that has the job in its input writes its description anew.
    """
    jobs = db.execute("SELECT number, id, body, want FROM jobs").fetchall()
    for number, job_id, body, want in jobs:
        if not is_body_of(body, job_id):
            text = json.dumps({"id": job_id, "prompt": "(lost)", "want": max(want, 1)})
            db.execute("UPDATE jobs SET body = ? WHERE number = ?", (text, number))
    memos = db.execute("SELECT number, memos FROM candidates WHERE memos != '{}'").fetchall()
    for number, text in memos:
        if not is_memos(text):
            db.execute("UPDATE candidates SET memos = '{}' WHERE number = ?", (number,))
