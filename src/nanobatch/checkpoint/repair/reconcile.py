"""Rows that contradict each other agree again: the ledger decides, and it only ever grows.

A row that was lost is taken at its worst for the money and at its least for the images: a call
whose line is gone is unknown money, an image nobody can vouch for is not accepted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanobatch.checkpoint.audit import audit, lines_lost
from nanobatch.checkpoint.changes import next_number, now_micros
from nanobatch.checkpoint.disk import sha256_of
from nanobatch.checkpoint.judged import edited_notes, forget_notes
from nanobatch.checkpoint.repair.derive import derive, follow_candidates, name_plainly, suffix_of
from nanobatch.checkpoint.repair.orphans import adopt_orphans, lost_call
from nanobatch.checkpoint.rows import CALL_MONEY
from nanobatch.checkpoint.wording import few, runs
from nanobatch.cost import LineKind, Outcome
from nanobatch.models.money import usd_of_nano

if TYPE_CHECKING:
    import sqlite3

    from nanobatch.checkpoint.files import ImageFiles

__all__ = ["reconcile"]

_NOTE = "its line in the ledger was lost"


def reconcile(db: sqlite3.Connection, files: ImageFiles, *, is_salvaged: bool = False) -> list[str]:
    """Make the rows agree and say what was done; run in one transaction, with the lock held.

    Args:
        db: Inside a transaction.
        files: The images, to which lost rows can be matched.
        is_salvaged: Whether rows of any table may be missing, not only those somebody removed.
    """
    before = [] if is_salvaged else list(audit(db))
    forget_notes(db, edited_notes(db))
    done = adopt_orphans(db, files) + few(name_plainly(db))
    missing, known = lines_lost(db)
    if not (before or done or missing != known or is_salvaged):
        return []
    follow_candidates(db)
    last = _last_line(db)
    done += _settle_lost(db)
    done += few(_want_again(db, lines_are_missing=missing > known))
    done += few(_vouch(db, files))
    unexplained = max(missing - known - (_last_line(db) - last), 0)
    done += _presume_calls(db, unexplained + (_calls_missing(db) if is_salvaged else 0))
    if missing != known:
        db.execute("INSERT OR REPLACE INTO meta VALUES ('lines_lost', ?)", (str(missing),))
    derive(db)
    if is_salvaged:  # what was read of it is nothing a person has ever seen
        return done
    after = set(audit(db))
    return done + [f"Put right: {finding}" for finding in before if finding not in after]


_UNSETTLED = f"""
SELECT c.number, c.slot, s.job, c.kind, c.worst_nano,
    c.kind = 'call' AND EXISTS (SELECT 1 FROM candidates WHERE call = c.number)
FROM calls c JOIN slots s ON s.number = c.slot LEFT JOIN ({CALL_MONEY}) m ON m.call = c.number
WHERE c.is_open = 0 AND coalesce(m.settlements, 0) = 0 ORDER BY c.number
"""  # noqa: S608 - our own words


def _settle_lost(db: sqlite3.Connection) -> list[str]:
    """Give every closed call without a settling line one, at its worst case."""
    rows = db.execute(_UNSETTLED).fetchall()
    for call, slot, job, kind, worst_nano, was_answered in rows:
        outcome = Outcome.BILLED if was_answered else Outcome.UNKNOWN
        _add_line(db, kind=kind, job=job, slot=slot, call=call, outcome=outcome, unknown=worst_nano)
    if not rows:
        return []
    worst = usd_of_nano(sum(row[4] for row in rows))
    calls = runs(row[0] for row in rows)
    return [f"What calls {calls} cost was lost: unknown money, at worst {worst:.4f} USD."]


def _want_again(db: sqlite3.Connection, *, lines_are_missing: bool) -> list[str]:
    """Write wants anew whose lines are missing; otherwise the ledger is right."""
    rows = db.execute(
        "SELECT j.number, j.id, j.want, j.want - coalesce(sum(l.want), 0) AS change FROM jobs j "
        "LEFT JOIN ledger l ON l.job = j.number AND l.kind = 'want' GROUP BY j.number "
        "HAVING change != 0 AND (? OR coalesce(sum(l.want), 0) < 1) AND j.want >= 0",
        (lines_are_missing,),
    ).fetchall()
    for job, _, _, change in rows:
        _add_line(db, kind=LineKind.WANT, job=job, want=change)
    return [
        f"Job {job_id!r} wants {want}; the ledger says so again." for _, job_id, want, _ in rows
    ]


_TIMES_ACCEPTED = """
SELECT slot, sum(CASE kind WHEN 'accepted' THEN 1 ELSE -1 END) AS times FROM ledger
WHERE kind IN ('accepted', 'lost') GROUP BY slot
"""
_NOT_VOUCHED = f"""
SELECT i.job, i.slot, i.file FROM images i LEFT JOIN ({_TIMES_ACCEPTED}) a ON a.slot = i.slot
WHERE coalesce(a.times, 0) = 0
"""  # noqa: S608 - our own words
_NOT_THERE = f"""
SELECT s.number, s.job, j.stem, c.number, c.sha256, c.mime_type FROM slots s
JOIN jobs j ON j.number = s.job JOIN ({_TIMES_ACCEPTED}) a ON a.slot = s.number
LEFT JOIN candidates c ON c.number = (SELECT min(number) FROM candidates
    WHERE slot = s.number AND state = 'accepted'
    AND number NOT IN (SELECT candidate FROM images))
WHERE a.times = 1 AND s.number NOT IN (SELECT slot FROM images)
"""  # noqa: S608 - our own words


def _vouch(db: sqlite3.Connection, files: ImageFiles) -> list[str]:
    """Let images and the lines that accepted them be one to one again."""
    said: list[str] = []
    for job, slot, file in db.execute(_NOT_VOUCHED).fetchall():
        _add_line(db, kind=LineKind.ACCEPTED, job=job, slot=slot)
        said.append(f"images/{file} is in the ledger again as accepted.")
    for slot, job, stem, candidate, sha256, mime_type in db.execute(_NOT_THERE).fetchall():
        if candidate is None:
            _add_line(db, kind=LineKind.LOST, job=job, slot=slot)
            said.append(f"The accepted image of slot {slot} is lost; the ledger says so.")
            continue
        file = _file_of(db, files, sha256, stem) or f"{stem}~{slot}.{suffix_of(mime_type)}"
        db.execute(
            "INSERT INTO images (job, nth, slot, candidate, file) VALUES (?, ?, ?, ?, ?)",
            (job, next_number(db, job), slot, candidate, file),
        )
        said.append(f"The row of an accepted image was lost; images/{file} has one again.")
    return said


def _file_of(db: sqlite3.Connection, files: ImageFiles, sha256: str, stem: str) -> str | None:
    """Return the name in `images/` that begins like its job, has no row and these bytes."""
    for path in sorted(files.images.iterdir()):
        is_free = not db.execute("SELECT 1 FROM images WHERE file = ?", (path.name,)).fetchone()
        if path.name.startswith(stem) and is_free and path.is_file() and sha256_of(path) == sha256:
            return path.name
    return None


def _calls_missing(db: sqlite3.Connection) -> int:
    query = "SELECT coalesce(max(number), 0) - count(*) FROM calls"
    return int(db.execute(query).fetchone()[0])


def _presume_calls(db: sqlite3.Connection, count: int) -> list[str]:
    """Count each line nothing else speaks of as a call of unknown outcome."""
    calls: list[int] = []
    total_nano = 0
    for _ in range(count):
        call, slot, job, worst_nano = lost_call(db)
        _add_line(
            db,
            kind=LineKind.CALL,
            job=job,
            slot=slot,
            call=call,
            outcome=Outcome.UNKNOWN,
            unknown=worst_nano,
        )
        calls.append(call)
        total_nano += worst_nano
    if not calls:
        return []
    total_usd = usd_of_nano(total_nano)
    what = (
        f"{count:,} lines or calls are lost without a trace of what they were. They are calls "
        f"{runs(calls)} now: unknown money, at worst {total_usd:.4f} USD."
    )
    return [what]


def _last_line(db: sqlite3.Connection) -> int:
    query = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'ledger'), 0)"
    return int(db.execute(query).fetchone()[0])


def _add_line(
    db: sqlite3.Connection,
    *,
    kind: str,
    job: int,
    slot: int | None = None,
    call: int | None = None,
    outcome: Outcome | None = None,
    unknown: int = 0,
    want: int = 0,
) -> None:
    db.execute(
        "INSERT INTO ledger (at, kind, job, slot, call, outcome, unknown_nano, want, note) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (now_micros(), kind, job, slot, call, outcome, unknown, want, _NOTE),
    )
