"""Batch jobs in a checkpoint: which calls wait for which, and how far each has come.

The rows of a job are there before anything is uploaded, and the word that its one request may have
been sent before it is. So whenever a run dies, the next one knows what to look for.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from nanobatch.checkpoint.changes import NewSlot, Settlement, begin, now_micros, set_slot, settle
from nanobatch.checkpoint.records import SlotState
from nanobatch.checkpoint.rows import time_of
from nanobatch.cost import LineKind, Outcome, Stage
from nanobatch.models import Tier

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from datetime import datetime

    from nanobatch.checkpoint.rows import Row

__all__ = [
    "AWAITED",
    "BATCH_JOBS",
    "AwaitedCall",
    "BatchJobRecord",
    "BatchPhase",
    "BatchRow",
    "NewBatchCall",
    "answered_calls",
    "awaited_call",
    "awaited_calls",
    "awaited_of_job",
    "batch_job_of",
    "batches_on_their_way",
    "close_unbilled",
    "count_awaited",
    "drop_planned",
    "give_up",
    "mark_batch",
    "plan_batch",
]


class BatchPhase(StrEnum):
    """How far a batch job has come, as far as this side knows."""

    PLANNED = "planned"
    """Its request was not sent."""
    CREATING = "creating"
    """Its request may have been sent, and no answer came yet."""
    RUNNING = "running"
    """It has a name, so its results can be asked for."""
    COLLECTED = "collected"
    """Every call of it has its line in the ledger."""
    ENDED = "ended"
    """Its files are deleted too."""
    DROPPED = "dropped"
    """It was never sent."""
    LOST = "lost"
    """Its request may have been sent, and it was never seen again."""


AWAITED = """(SELECT b.number FROM batch_calls b JOIN batches j ON j.number = b.batch
WHERE j.phase IN ('creating', 'running', 'collected'))"""
"""The calls whose answer may still come although no run is on, for SQL; see that they are open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatchCall:
    """A call that a batch job is to make, and its slot if that has no row yet."""

    call: int
    slot: int
    worst_nano: int
    round: int
    """Which order of its job's it belongs to, from 1."""
    new: NewSlot | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """A batch job that is on its way."""

    number: int
    name: str
    """Ours, and unique: how it is found again if the provider's answer is lost."""
    model_id: str
    phase: BatchPhase
    at: int
    """When its rows were written, microseconds since 1970 UTC."""
    input_file: str
    """Where its requests are at the provider, `files/...`; empty until they are uploaded."""
    job: str
    """The provider's name of it, `batches/...`; empty until it has one."""
    told: str
    """The provider's last word on how it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitedCall:
    """A call whose answer is to come out of a batch job."""

    call: int
    batch: int
    round: int
    worst_nano: int
    row: NewSlot
    billed: int
    """Billed calls its slot has already."""
    is_first: bool
    """Whether it is the first that its slot got from a batch job."""
    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchJobRecord:
    """A batch job that a checkpoint has ordered from, whatever became of it."""

    name: str
    """The provider's name of it, `batches/...`; empty until it has one."""
    display_name: str
    """The unique name under which it was created, and is found in the provider's console."""
    model_id: str
    state: str
    """As the provider said last (`pending`, `running`, `succeeded`, `failed`, `cancelled`,
    `expired`), or `planned` and `creating` before it said anything; `collected` and `ended` once
    every slot has what it gets, `dropped` if it was never sent, `lost` if nobody knows."""
    slots: int
    """Slots that were ordered from it."""
    waiting: int
    """Those of them that still wait for an answer."""
    at: datetime
    """When it was planned, UTC."""


BATCH_JOBS = """
SELECT b.number, b.job, b.name, b.model_id,
    CASE WHEN b.phase = 'running' AND b.told != '' THEN b.told ELSE b.phase END,
    (SELECT count(*) FROM batch_calls x WHERE x.batch = b.number),
    (SELECT count(*) FROM batch_calls x JOIN calls c ON c.number = x.number
        WHERE x.batch = b.number AND c.is_open = 1), b.at
FROM batches b WHERE b.number > ? AND {where} ORDER BY b.number LIMIT ?
"""


def batch_job_of(row: Row) -> BatchJobRecord:
    """Return a row of `BATCH_JOBS` as a value."""
    return BatchJobRecord(
        name=row[1],
        display_name=row[2],
        model_id=row[3],
        state=row[4],
        slots=row[5],
        waiting=row[6],
        at=time_of(row[7]),
    )


def plan_batch(
    db: sqlite3.Connection, *, name: str, model_id: str, calls: Iterable[NewBatchCall]
) -> int:
    """Write the intent of a batch job and of all its calls; return its number."""
    number = (
        db.execute(
            "INSERT INTO batches (name, model_id, at) VALUES (?, ?, ?)",
            (name, model_id, now_micros()),
        ).lastrowid
        or 0
    )
    for one in calls:
        begin(
            db,
            call=one.call,
            slot=one.slot,
            worst_nano=one.worst_nano,
            kind=LineKind.CALL,
            new=one.new,
        )
        db.execute(
            "INSERT INTO batch_calls (number, batch, slot, round) VALUES (?, ?, ?, ?)",
            (one.call, number, one.slot, one.round),
        )
    return number


def mark_batch(
    db: sqlite3.Connection,
    number: int,
    phase: BatchPhase,
    *,
    input_file: str | None = None,
    job: str | None = None,
    told: str | None = None,
) -> None:
    """Write how far a batch job has come; what is not given stays as it is."""
    db.execute(
        "UPDATE batches SET phase = ?, input_file = coalesce(?, input_file), "
        "job = coalesce(?, job), told = coalesce(?, told) WHERE number = ?",
        (phase, input_file, job, told, number),
    )


def batches_on_their_way(db: sqlite3.Connection) -> list[BatchRow]:
    """Return the batch jobs that something is still to be done for, the oldest first."""
    return [
        BatchRow(
            number=row[0],
            name=row[1],
            model_id=row[2],
            phase=BatchPhase(row[3]),
            at=row[4],
            input_file=row[5],
            job=row[6],
            told=row[7],
        )
        for row in db.execute(
            "SELECT number, name, model_id, phase, at, input_file, job, told FROM batches "
            "WHERE phase IN ('planned', 'creating', 'running', 'collected') ORDER BY number"
        )
    ]


_AWAITED_CALLS = """
SELECT c.number, b.batch, b.round, c.worst_nano, s.number, s.job, s.attempt, s.allowance, s.stage,
    s.tier, s.model_id, s.parent, s.billed, j.id,
    NOT EXISTS (SELECT 1 FROM batch_calls o WHERE o.slot = b.slot AND o.number < b.number)
FROM batch_calls b JOIN calls c ON c.number = b.number JOIN slots s ON s.number = b.slot
JOIN jobs j ON j.number = s.job WHERE c.is_open = 1 AND {where} ORDER BY c.number
"""


def awaited_calls(db: sqlite3.Connection, batch: int) -> list[AwaitedCall]:
    """Return the calls of a batch job that have no answer yet."""
    return _awaited(db, "b.batch = ?", (batch,))


def count_awaited(db: sqlite3.Connection, batch: int) -> int:
    """Return how many calls of a batch job have no answer yet."""
    query = (
        "SELECT count(*) FROM batch_calls b JOIN calls c ON c.number = b.number "
        "WHERE b.batch = ? AND c.is_open = 1"
    )
    return int(db.execute(query, (batch,)).fetchone()[0])


def awaited_call(db: sqlite3.Connection, call: int, *, batch: int) -> AwaitedCall | None:
    """Return a call of a batch job; `None` if it is none, or has its answer."""
    found = _awaited(db, "b.number = ? AND b.batch = ?", (call, batch))
    return found[0] if found else None


def awaited_of_job(db: sqlite3.Connection, job: int, *, attempt: int) -> list[AwaitedCall]:
    """Return the calls that an attempt of a job has on their way."""
    return _awaited(db, "s.job = ? AND s.attempt = ? AND s.state = 'open'", (job, attempt))


def _awaited(db: sqlite3.Connection, where: str, values: tuple[object, ...]) -> list[AwaitedCall]:
    return [
        AwaitedCall(
            call=row[0],
            batch=row[1],
            round=row[2],
            worst_nano=row[3],
            row=NewSlot(
                number=row[4],
                job=row[5],
                attempt=row[6],
                allowance=row[7],
                stage=Stage(row[8]),
                tier=Tier(row[9]),
                model_id=row[10],
                parent=row[11],
            ),
            billed=row[12],
            job_id=row[13],
            is_first=bool(row[14]),
        )
        for row in db.execute(_AWAITED_CALLS.format(where=where), values).fetchall()
    ]


def answered_calls(db: sqlite3.Connection, batch: int) -> int:
    """Return how many calls of a batch job were billed, or may have been."""
    query = (
        "SELECT count(DISTINCT b.number) FROM batch_calls b JOIN ledger l ON l.slot = b.slot "
        "AND l.call = b.number WHERE b.batch = ? AND l.outcome != 'unbilled'"
    )
    return int(db.execute(query, (batch,)).fetchone()[0])


def drop_planned(db: sqlite3.Connection) -> list[AwaitedCall]:
    """Take back the batch jobs that were never sent, and return the calls that cost nothing."""
    dropped: list[AwaitedCall] = []
    for batch in batches_on_their_way(db):
        if batch.phase is not BatchPhase.PLANNED:
            continue
        calls = awaited_calls(db, batch.number)
        for one in calls:
            close_unbilled(db, one, note="not sent: the run ended first")
        mark_batch(db, batch.number, BatchPhase.DROPPED)
        dropped += calls
    return dropped


def give_up(db: sqlite3.Connection, name: str, *, reason: str) -> int | None:
    """Wait no longer for a batch job; return how many calls did, `None` if it is not on its way.

    Args:
        db: Inside a transaction, while no run is on.
        name: The provider's name of it, or ours.
        reason: Goes into the ledger.
    """
    row = next((row for row in batches_on_their_way(db) if name in (row.job, row.name)), None)
    if row is None:
        return None
    calls = awaited_calls(db, row.number)
    for one in calls:
        settlement = Settlement(
            call=one.call,
            slot=one.row.number,
            job=one.row.job,
            outcome=Outcome.UNKNOWN,
            unknown_nano=one.worst_nano,
            note=f"given up: {reason}",
        )
        settle(db, settlement)
        set_slot(db, one.row.number, SlotState.REJECTED if one.billed else SlotState.VOID)
    mark_batch(db, row.number, BatchPhase.LOST)
    return len(calls)


def close_unbilled(db: sqlite3.Connection, one: AwaitedCall, *, note: str) -> None:
    """Write that a call cost nothing and brought nothing; its slot is over."""
    settle(
        db,
        Settlement(
            call=one.call,
            slot=one.row.number,
            job=one.row.job,
            outcome=Outcome.UNBILLED,
            note=note,
        ),
    )
    set_slot(db, one.row.number, SlotState.REJECTED if one.billed else SlotState.VOID)
