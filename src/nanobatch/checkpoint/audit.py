"""Whether the rows of a checkpoint agree with each other: each finding names the row at fault."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanobatch.checkpoint.batches import AWAITED, BatchPhase
from nanobatch.checkpoint.judged import edited_notes
from nanobatch.checkpoint.records import CandidateState, JobStatus, SlotState
from nanobatch.checkpoint.rows import CALL_MONEY, STATE_BY_CANDIDATES
from nanobatch.checkpoint.wording import few
from nanobatch.cost import LineKind, Outcome, Stage
from nanobatch.models import Tier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import StrEnum

__all__ = ["audit", "is_body_of", "is_closed_well", "is_memos", "lines_lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """A query that yields a row per fault, and the sentence each row fills."""

    query: str
    sentence: str


_CHECKS = (
    _Check(
        query="""
SELECT s.number, j.id, s.billed, coalesce(b.calls, 0) FROM slots s JOIN jobs j ON j.number = s.job
LEFT JOIN (SELECT slot, count(*) AS calls FROM (SELECT slot, outcome, max(number) FROM ledger
    WHERE kind = 'call' GROUP BY call) WHERE outcome = 'billed' GROUP BY slot) b
ON b.slot = s.number WHERE s.billed != coalesce(b.calls, 0)""",
        sentence="Slot {0} of job {1!r} counts {2} billed calls; the ledger says {3}.",
    ),
    _Check(
        query=f"""
SELECT c.number, j.id, coalesce(m.settlements, 0) FROM calls c JOIN slots s ON s.number = c.slot
JOIN jobs j ON j.number = s.job LEFT JOIN ({CALL_MONEY}) m ON m.call = c.number
WHERE c.is_open = 0 AND coalesce(m.settlements, 0) != 1""",  # noqa: S608 - our own words, as below
        sentence="Call {0} of job {1!r} is closed with {2} settling lines in the ledger, not one.",
    ),
    _Check(
        query="""
SELECT c.number, j.id FROM calls c JOIN slots s ON s.number = c.slot JOIN jobs j ON j.number = s.job
WHERE c.is_open != 0 AND c.number IN (SELECT call FROM ledger WHERE call IS NOT NULL)""",
        sentence="Call {0} of job {1!r} has its settling line and is still open.",
    ),
    _Check(
        query=f"""
SELECT c.number, j.id FROM calls c JOIN slots s ON s.number = c.slot JOIN jobs j ON j.number = s.job
WHERE c.is_open != 0 AND (SELECT value FROM meta WHERE key = 'is_clean') = '1'
AND c.number NOT IN {AWAITED}""",  # noqa: S608
        sentence="Call {0} of job {1!r} is in flight although no run is.",
    ),
    _Check(
        query="""
SELECT l.number, l.call FROM ledger l JOIN calls c ON c.number = l.call
JOIN slots s ON s.number = c.slot
WHERE l.kind != c.kind OR l.slot IS NOT c.slot OR l.job != s.job OR l.outcome IS NULL""",
        sentence="Ledger line {0} names call {1}, but not its kind, slot, job or outcome.",
    ),
    _Check(
        query="SELECT number, kind FROM ledger WHERE kind IN ('call', 'judge') AND call IS NULL "
        "OR kind NOT IN ('call', 'judge') AND (usd_nano != 0 OR unknown_nano != 0) "
        "OR kind != 'want' AND (want != 0 OR slot IS NULL)",
        sentence="Ledger line {0} of kind {1!r} says what no line of its kind says.",
    ),
    _Check(
        query=f"""
SELECT m.call, j.id FROM ({CALL_MONEY}) m JOIN calls c ON c.number = m.call
JOIN slots s ON s.number = c.slot JOIN jobs j ON j.number = s.job
WHERE m.unknown_nano < 0 OR m.usd_nano < 0
UNION SELECT c.number, j.id FROM calls c JOIN slots s ON s.number = c.slot
JOIN jobs j ON j.number = s.job WHERE c.worst_nano < 0""",  # noqa: S608
        sentence="Call {0} of job {1!r} adds up to less than nothing.",
    ),
    _Check(
        query="""
SELECT j.id, j.want, coalesce(w.want, 0) FROM jobs j LEFT JOIN
(SELECT job, sum(want) AS want FROM ledger WHERE kind = 'want' GROUP BY job) w ON w.job = j.number
WHERE j.want != coalesce(w.want, 0)""",
        sentence="Job {0!r} wants {1}; the ledger says {2}.",
    ),
    _Check(
        query="""
SELECT i.file, coalesce(a.times, 0) FROM images i LEFT JOIN (SELECT slot, sum(CASE kind
WHEN 'accepted' THEN 1 ELSE -1 END) AS times FROM ledger WHERE kind IN ('accepted', 'lost')
GROUP BY slot) a ON a.slot = i.slot WHERE coalesce(a.times, 0) != 1""",
        sentence="images/{0} is in {1} accepting lines of the ledger, not in one.",
    ),
    _Check(
        query="""
SELECT a.slot, j.id, a.times FROM (SELECT slot, job, sum(CASE kind WHEN 'accepted' THEN 1 ELSE -1
END) AS times FROM ledger WHERE kind IN ('accepted', 'lost') GROUP BY slot) a
JOIN jobs j ON j.number = a.job
WHERE a.times != 0 AND a.slot NOT IN (SELECT slot FROM images)""",
        sentence="Slot {0} of job {1!r} yielded {2} accepted images by the ledger; none is known.",
    ),
    _Check(
        query="""
SELECT i.file FROM images i JOIN slots s ON s.number = i.slot
JOIN candidates c ON c.number = i.candidate WHERE s.job != i.job OR c.slot != i.slot""",
        sentence="images/{0} names a job, a slot and a candidate that do not belong together.",
    ),
    _Check(
        query="""
SELECT c.number, j.id, c.state, i.number IS NOT NULL FROM candidates c
JOIN slots s ON s.number = c.slot JOIN jobs j ON j.number = s.job
LEFT JOIN images i ON i.candidate = c.number
WHERE (c.state = 'accepted') != (i.number IS NOT NULL)""",
        sentence="Candidate {0} of job {1!r} is {2!r} with {3} rows in images.",
    ),
    _Check(
        query="""
SELECT c.number, j.id, c.state, s.number, s.state FROM candidates c
JOIN slots s ON s.number = c.slot JOIN jobs j ON j.number = s.job
WHERE c.state IN ('passed', 'picked', 'unpicked', 'spent') AND c.state != s.state
    OR c.state = 'staged' AND s.state != 'open'""",
        sentence="Candidate {0} of job {1!r} is {2!r} in slot {3}, which is {4!r}.",
    ),
    _Check(
        query=f"""
SELECT s.number, j.id, s.state, x.state FROM slots s JOIN jobs j ON j.number = s.job
JOIN ({STATE_BY_CANDIDATES}) x ON x.slot = s.number
WHERE x.state != s.state AND (x.state != 'none' OR s.state NOT IN ('open', 'void', 'rejected'))""",  # noqa: S608
        sentence="Slot {0} of job {1!r} is {2!r}; its candidates say {3!r}.",
    ),
    _Check(
        query="""
SELECT c.slot, j.id, count(*) FROM candidates c JOIN slots s ON s.number = c.slot
JOIN jobs j ON j.number = s.job
WHERE c.state IN ('passed', 'picked', 'accepted', 'unpicked', 'spent') GROUP BY c.slot
HAVING count(*) > 1""",
        sentence="Slot {0} of job {1!r} has {2} candidates that passed; it can have one.",
    ),
    _Check(
        query="""
SELECT s.number, j.id FROM slots s JOIN jobs j ON j.number = s.job WHERE s.state = 'open'
AND (SELECT value FROM meta WHERE key = 'is_clean') = '1'
AND s.number NOT IN (SELECT slot FROM candidates WHERE state = 'staged')
AND s.number NOT IN (SELECT slot FROM calls WHERE is_open != 0)""",
        sentence="Slot {0} of job {1!r} is open although nothing of it waits and no run is.",
    ),
    _Check(
        query="""
SELECT c.number, b.name, b.phase FROM batch_calls x JOIN calls c ON c.number = x.number
JOIN batches b ON b.number = x.batch
WHERE c.is_open != 0 AND b.phase IN ('collected', 'ended', 'dropped', 'lost')""",
        sentence="Call {0} waits for batch job {1}, which is {2!r}: no answer will come.",
    ),
    _Check(
        query="SELECT name FROM batches WHERE phase = 'running' AND job = ''",
        sentence="Batch job {0} is running, but its row does not say under which name.",
    ),
    _Check(
        query="""
SELECT c.number, j.id, c.state FROM candidates c JOIN slots s ON s.number = c.slot
JOIN jobs j ON j.number = s.job
WHERE c.file IS NULL AND c.state NOT IN ('accepted', 'rejected', 'broken')""",
        sentence="Candidate {0} of job {1!r} is {2!r}, but its row names no file.",
    ),
    _Check(
        query="""
SELECT j.id, j.want, count(i.number) FROM jobs j LEFT JOIN images i ON i.job = j.number
WHERE j.status = 'done' GROUP BY j.number HAVING count(i.number) < j.want""",
        sentence="Job {0!r} is done, wants {1} and has {2}.",
    ),
)

_WORDS: tuple[tuple[str, str, type[StrEnum]], ...] = (
    ("jobs", "status", JobStatus),
    ("slots", "state", SlotState),
    ("slots", "stage", Stage),
    ("slots", "tier", Tier),
    ("calls", "kind", LineKind),
    ("candidates", "state", CandidateState),
    ("batches", "phase", BatchPhase),
    ("ledger", "kind", LineKind),
    ("ledger", "outcome", Outcome),
)

_LINES = "SELECT kind, slot, call, outcome, usd_nano, unknown_nano FROM ledger ORDER BY number"
_SHOWN = """
SELECT coalesce(sum(usd_nano), 0), coalesce(sum(unknown_nano), 0),
    (SELECT count(*) FROM slots WHERE billed > 0), (SELECT coalesce(sum(billed), 0) FROM slots),
    (SELECT count(*) FROM images) FROM ledger
"""


def audit(db: sqlite3.Connection) -> Iterator[str]:
    """Yield a sentence for everything in which rows contradict each other.

    Args:
        db: A copy, or inside a transaction, so that all rows are of one moment.
    """
    for table, column, words in _WORDS:
        known = ", ".join(f"'{word}'" for word in words)
        yield from _run(
            db,
            _Check(
                query=f"SELECT number, {column} FROM {table} WHERE {column} NOT IN ({known})",  # noqa: S608
                sentence=f"Row {{0}} of {table}: its {column} {{1!r}} is no word of this version.",
            ),
        )
    for check in _CHECKS:
        yield from _run(db, check)
    for part in (_texts, _notes, _missing_lines, _totals):
        try:
            yield from part(db)
        except sqlite3.Error as error:
            yield f"Database: {error}."


def _notes(db: sqlite3.Connection) -> Iterator[str]:
    for key in edited_notes(db):
        yield (
            f"What the table meta holds as {key} makes no sense: what filters and prices were "
            "before is not known, so figures that rest on it begin anew with the next run."
        )


def is_closed_well(db: sqlite3.Connection) -> bool:
    """Return whether no run is on and the last one was not killed."""
    row = db.execute("SELECT value FROM meta WHERE key = 'is_clean'").fetchone()
    return row is None or row[0] == "1"


def lines_lost(db: sqlite3.Connection) -> tuple[int, int]:
    """Return how many ledger lines are missing now, and how many a repair has accounted for."""
    missing = db.execute(
        "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'ledger'), 0), "
        "coalesce(max(number), 0)) - count(*) FROM ledger"
    ).fetchone()[0]
    row = db.execute("SELECT value FROM meta WHERE key = 'lines_lost'").fetchone()
    return int(missing), int(row[0]) if row else 0


def _run(db: sqlite3.Connection, check: _Check) -> Iterator[str]:
    try:
        sentences = [check.sentence.format(*row) for row in db.execute(check.query)]
    except sqlite3.Error as error:
        sentences = [f"Database: {error}."]
    yield from few(sentences)


def is_body_of(body: str, job_id: str) -> bool:
    """Return whether a text describes the job of that id."""
    try:
        job = json.loads(body)
        return bool(job["id"] == job_id and job["prompt"])
    except (ValueError, TypeError, KeyError):
        return False


def is_memos(memos: str) -> bool:
    """Return whether a text holds what filters want to remember."""
    try:
        for memo in json.loads(memos).values():
            bytes.fromhex(memo)
    except (ValueError, TypeError, AttributeError):
        return False
    return True


def _texts(db: sqlite3.Connection) -> Iterator[str]:
    """Find jobs and memos that are no JSON any more: results are made from them."""
    jobs = db.execute("SELECT id, body FROM jobs")
    yield from few(
        [
            f"Job {job_id!r}: its description cannot be read."
            for job_id, body in jobs
            if not is_body_of(body, job_id)
        ]
    )
    candidates = db.execute("SELECT number, memos FROM candidates WHERE memos != '{}'")
    yield from few(
        [
            f"Candidate {number}: what filters remember of it cannot be read."
            for number, memos in candidates
            if not is_memos(memos)
        ]
    )


def _missing_lines(db: sqlite3.Connection) -> Iterator[str]:
    missing, known = lines_lost(db)
    if missing != known:
        yield f"The ledger lacks {missing - known:,} of its lines: it was shortened by hand."


def _totals(db: sqlite3.Connection) -> Iterator[str]:
    """Add up the ledger line by line and compare with what the checkpoint shows."""
    confirmed = unknown = 0
    slot_of_billed_call: dict[int, int] = {}
    accepted: set[int] = set()
    for kind, slot, call, outcome, usd_nano, unknown_nano in db.execute(_LINES):
        confirmed += usd_nano
        unknown += unknown_nano
        if kind == LineKind.ACCEPTED:
            accepted.add(slot)
        elif kind == LineKind.LOST:
            accepted.discard(slot)
        elif kind == LineKind.CALL and outcome == Outcome.BILLED:
            slot_of_billed_call[call] = slot
        elif kind == LineKind.CALL:
            slot_of_billed_call.pop(call, None)
    added = (
        confirmed,
        unknown,
        len(set(slot_of_billed_call.values())),
        len(slot_of_billed_call),
        len(accepted),
    )
    names = ("nano-dollars confirmed", "nano-dollars unknown", "slots", "billed calls", "images")
    for name, shown, sum_of_lines in zip(names, db.execute(_SHOWN).fetchone(), added, strict=True):
        if shown != sum_of_lines:
            yield f"The checkpoint shows {shown:,} {name}; the ledger adds up to {sum_of_lines:,}."
