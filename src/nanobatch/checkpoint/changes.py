"""The changes a run makes to its checkpoint, each durable before the call returns."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanobatch.checkpoint.records import CandidateState, SlotState
from nanobatch.cost import LineKind, Outcome

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from nanobatch.checkpoint.records import JobStatus
    from nanobatch.cost import Stage
    from nanobatch.models import Tier, TokenUsage

__all__ = [
    "NewCandidate",
    "NewFailure",
    "NewSlot",
    "Settlement",
    "accept",
    "begin",
    "close_pending",
    "common_rejection",
    "end_if_full",
    "end_job",
    "fail",
    "judge",
    "move_on",
    "next_number",
    "note_memos",
    "now_micros",
    "set_slot",
    "settle",
    "usd_of_candidate",
]


def now_micros() -> int:
    """Return the time as the database stores it: microseconds since 1970 UTC."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSlot:
    """A slot as it is first written, together with its first call."""

    number: int
    job: int
    attempt: int
    allowance: int
    stage: Stage
    tier: Tier
    model_id: str
    parent: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCandidate:
    """An image whose file is in `staging/` already."""

    number: int
    file: str
    sha256: str
    mime_type: str
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFailure:
    """A failure of a job, perhaps of one of its slots."""

    job: int
    slot: int | None
    kind: str
    message: str
    model_id: str
    usd_nano: int = 0
    is_final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What one call turned out to be."""

    call: int
    slot: int
    job: int
    kind: LineKind = LineKind.CALL
    outcome: Outcome
    usd_nano: int = 0
    unknown_nano: int = 0
    usage: TokenUsage | None = None
    note: str = ""

    @property
    def cost_nano(self) -> int:
        """What it counts for, nano-dollars: unknown money is in it."""
        return self.usd_nano + self.unknown_nano


def begin(
    db: sqlite3.Connection,
    *,
    call: int,
    slot: int,
    worst_nano: int,
    kind: LineKind,
    new: NewSlot | None,
) -> None:
    """Write the intent of a call, and its slot if it is the slot's first."""
    if new is not None:
        db.execute(
            "INSERT INTO slots (number, job, attempt, allowance, stage, tier, model_id, parent) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                new.number,
                new.job,
                new.attempt,
                new.allowance,
                new.stage,
                new.tier,
                new.model_id,
                new.parent,
            ),
        )
    db.execute(
        "INSERT INTO calls (number, slot, kind, at, worst_nano) VALUES (?, ?, ?, ?, ?)",
        (call, slot, kind, now_micros(), worst_nano),
    )


def settle(
    db: sqlite3.Connection,
    settlement: Settlement,
    candidates: Sequence[NewCandidate] = (),
    failure: NewFailure | None = None,
) -> None:
    """Close an intent: its ledger line, and the images its answer held."""
    usage = settlement.usage
    at = now_micros()
    db.execute(
        "INSERT INTO ledger (at, kind, job, slot, call, outcome, usd_nano, unknown_nano, "
        "prompt_tokens, image_tokens, text_tokens, thought_tokens, note) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            at,
            settlement.kind,
            settlement.job,
            settlement.slot,
            settlement.call,
            settlement.outcome,
            settlement.usd_nano,
            settlement.unknown_nano,
            usage and usage.prompt_tokens,
            usage and usage.image_tokens,
            usage and usage.text_tokens,
            usage and usage.thought_tokens,
            settlement.note,
        ),
    )
    db.execute("UPDATE calls SET is_open = 0 WHERE number = ?", (settlement.call,))
    if settlement.kind is LineKind.CALL and settlement.outcome is Outcome.BILLED:
        db.execute("UPDATE slots SET billed = billed + 1 WHERE number = ?", (settlement.slot,))
    db.executemany(
        "INSERT INTO candidates (number, slot, call, at, file, sha256, mime_type, width_px, "
        "height_px) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                image.number,
                settlement.slot,
                settlement.call,
                at,
                image.file,
                image.sha256,
                image.mime_type,
                image.width_px,
                image.height_px,
            )
            for image in candidates
        ],
    )
    if failure is not None:
        fail(db, failure)


def judge(
    db: sqlite3.Connection,
    *,
    candidate: int,
    state: CandidateState,
    filter_name: str = "",
    reason: str = "",
    score: float | None = None,
    memos: str = "{}",
    thumbnail: bytes | None = None,
    file: str | None = None,
) -> None:
    """Write the verdict on one candidate; `file` is where its bytes are from now on."""
    db.execute(
        "UPDATE candidates SET state = ?, filter_name = ?, reason = ?, score = ?, memos = ?, "
        "thumbnail = ?, file = ? WHERE number = ?",
        (state, filter_name, reason, score, memos, thumbnail, file, candidate),
    )


def note_memos(db: sqlite3.Connection, candidate: int, memos: str) -> None:
    """Write what filters want to remember of a candidate that was judged before."""
    db.execute("UPDATE candidates SET memos = ? WHERE number = ?", (memos, candidate))


def set_slot(db: sqlite3.Connection, slot: int, state: SlotState) -> None:
    """Write what became of a slot; images of it that were never judged become spares."""
    db.execute("UPDATE slots SET state = ? WHERE number = ?", (state, slot))
    if state is not SlotState.OPEN:
        db.execute(
            "UPDATE candidates SET state = 'spare' WHERE slot = ? AND state = 'staged'", (slot,)
        )


def move_on(db: sqlite3.Connection, slot: int, state: SlotState) -> None:
    """Write what a passed candidate became with its slot: picked, unpicked or spent."""
    for query in (
        "UPDATE candidates SET state = ? WHERE slot = ? AND state IN ('passed', 'picked')",
        "UPDATE slots SET state = ? WHERE number = ? AND state IN ('passed', 'picked')",
    ):
        db.execute(query, (state, slot))


def accept(db: sqlite3.Connection, *, job: int, nth: int, candidate: int, file: str) -> int:
    """Write an accepted image whose file is in `images/`; return the number of its row.

    If the job has an `nth` image already, this one becomes the next that is free: an image that
    was paid for is not lost to a number.
    """
    if db.execute("SELECT 1 FROM images WHERE job = ? AND nth = ?", (job, nth)).fetchone():
        nth = next_number(db, job)
    slot, parent = db.execute(
        "SELECT s.number, s.parent FROM candidates c JOIN slots s ON s.number = c.slot "
        "WHERE c.number = ?",
        (candidate,),
    ).fetchone()
    number = db.execute(
        "INSERT INTO images (job, nth, slot, candidate, file) VALUES (?, ?, ?, ?, ?)",
        (job, nth, slot, candidate, file),
    ).lastrowid
    db.execute(
        "UPDATE candidates SET state = 'accepted', file = NULL WHERE number = ?", (candidate,)
    )
    set_slot(db, slot, SlotState.ACCEPTED)
    if parent is not None:
        move_on(db, parent, SlotState.SPENT)
    db.execute(
        "INSERT INTO ledger (at, kind, job, slot) VALUES (?, ?, ?, ?)",
        (now_micros(), LineKind.ACCEPTED, job, slot),
    )
    return number or 0


def next_number(db: sqlite3.Connection, job: int) -> int:
    """Return the number of a job's next accepted image."""
    query = "SELECT coalesce(max(nth), 0) + 1 FROM images WHERE job = ?"
    return int(db.execute(query, (job,)).fetchone()[0])


def usd_of_candidate(db: sqlite3.Connection, candidate: int) -> int:
    """Return what the call cost that a candidate came from, confirmed, in nano-dollars."""
    row = db.execute(
        "SELECT coalesce(sum(l.usd_nano), 0) FROM candidates c JOIN ledger l "
        "ON l.slot = c.slot AND l.call = c.call WHERE c.number = ?",
        (candidate,),
    ).fetchone()
    return int(row[0])


def common_rejection(db: sqlite3.Connection, job: int) -> str:
    """Return the reason most candidates of a job were rejected for; empty if there is none.

    An answer that was billed and holds no image counts as well. Figures in brackets at the end of
    a reason differ from image to image and do not count.
    """
    row = db.execute(
        "SELECT CASE instr(reason, ' (') WHEN 0 THEN reason "
        "ELSE substr(reason, 1, instr(reason, ' (') - 1) END AS short FROM ("
        "SELECT reason FROM candidates c JOIN slots s ON s.number = c.slot "
        "WHERE s.job = :job AND c.state IN ('rejected', 'broken') AND reason != '' "
        "UNION ALL SELECT message FROM failures "
        "WHERE job = :job AND usd_nano > 0 AND kind NOT IN ('broken', 'filter_error')"
        ") GROUP BY short ORDER BY count(*) DESC, short LIMIT 1",
        {"job": job},
    ).fetchone()
    return str(row[0]).rstrip(".") if row else ""


def end_job(
    db: sqlite3.Connection, job: int, status: JobStatus, *, reason: str, is_final: bool
) -> None:
    """Write how a job stands."""
    db.execute(
        "UPDATE jobs SET status = ?, reason = ?, is_final = ? WHERE number = ?",
        (status, reason, int(is_final), job),
    )


def end_if_full(db: sqlite3.Connection, job: int, *, want: int) -> bool:
    """Write that a job is done if it has all its images by now; return whether it has."""
    changed = db.execute(
        "UPDATE jobs SET status = 'done', reason = '', is_final = 0 WHERE number = ? "
        "AND ? <= (SELECT count(*) FROM images WHERE job = ?)",
        (job, want, job),
    )
    return changed.rowcount > 0


def close_pending(db: sqlite3.Connection, run: int, ended: str) -> None:
    """Give the jobs that a run leaves pending a reason."""
    db.execute(
        "UPDATE jobs SET reason = ? WHERE run = ? AND status = 'pending' AND reason = ''",
        (f"The run ended first ({ended}); the next one goes on with it.", run),
    )


def fail(db: sqlite3.Connection, failure: NewFailure) -> None:
    """Write one failure."""
    db.execute(
        "INSERT INTO failures (at, job, slot, kind, message, model_id, usd_nano, is_final) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            now_micros(),
            failure.job,
            failure.slot,
            failure.kind,
            failure.message,
            failure.model_id,
            failure.usd_nano,
            int(failure.is_final),
        ),
    )
