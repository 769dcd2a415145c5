"""What a job is when a run takes it up: new, or as earlier runs left it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanobatch.checkpoint.batches import AwaitedCall, awaited_of_job
from nanobatch.checkpoint.changes import NewCandidate, next_number, now_micros
from nanobatch.checkpoint.files import distinct_stem, file_stem, stem_key
from nanobatch.checkpoint.lessons import PASSED
from nanobatch.checkpoint.records import JobStatus, SlotState
from nanobatch.checkpoint.trouble import folder_of, row_errors
from nanobatch.cost import LineKind, Stage
from nanobatch.errors import DuplicateJobError, JobChangedError
from nanobatch.models import Tier
from nanobatch.policy import Tally

if TYPE_CHECKING:
    import sqlite3

    from nanobatch.job import Job

__all__ = ["InHand", "JobEntry", "Leftover", "TakenJob", "take"]


_SLOTS_BY_TIER = f"""
SELECT stage, tier, sum(billed > 0 AND state != 'open'), sum(state IN {PASSED}),
    sum(billed > 0 AND state IN {PASSED})
FROM slots WHERE job = ? AND attempt = ? AND allowance = ? GROUP BY stage, tier
"""  # noqa: S608 - our own words

_ROUNDS = """
SELECT s.stage, max(b.round) FROM slots s JOIN batch_calls b ON b.slot = s.number
JOIN batches j ON j.number = b.batch
WHERE s.job = ? AND s.attempt = ? AND s.allowance = ? AND j.phase != 'dropped' AND j.at >= (
    SELECT coalesce(max(l.at), 0) FROM ledger l
    WHERE l.job = s.job AND l.kind = 'want' AND l.want > 0)
GROUP BY s.stage
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEntry:
    """A job of the input with what decides whether it is still the same job."""

    job: Job
    spec_sha256: str
    """Hash of prompt, references, ratio and size: fixed once an image is accepted."""
    allowance_key: str
    """Route, models and filters: a change starts a new allowance of slots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InHand:
    """A passed candidate that waits for its best-of group or its finish."""

    candidate: int
    slot: int
    stage: Stage
    file: str
    """Path inside the checkpoint's folder."""
    sha256: str
    """Hex digest of the file; nothing else is accepted or finished in its place."""
    score: float | None
    is_picked: bool = False
    """Whether it is the draft its group chose to finish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A paid image that an earlier run could not judge; in the order they are to be judged."""

    slot: int
    stage: Stage
    tier: Tier
    model_id: str
    parent: int | None
    row: NewCandidate
    usd_nano: int = 0
    """What the slot has cost so far, nano-dollars."""
    unknown_nano: int = 0
    """What it may have cost beside that."""
    by_batch: bool = False
    """Whether a batch job drew it, at the batch price."""


@dataclass(slots=True, kw_only=True)
class TakenJob:
    """One job of this run with its history."""

    job: Job
    number: int
    stem: str
    attempt: int
    allowance: int
    status: JobStatus
    """`done`, `refused` and `failed` are closed; everything else is `pending`."""
    reason: str
    delivered: int
    """Accepted images."""
    next_number: int = 1
    """Number of the next accepted image: not always `delivered + 1`, a killed run leaves gaps."""
    slots_used: dict[Stage, int] = field(default_factory=dict[Stage, int])
    """Slots of this allowance with a billed call, by stage."""
    passed: dict[Stage, int] = field(default_factory=dict[Stage, int])
    """Candidates of this allowance that passed, in hand or used, by stage."""
    tallies: dict[Tier, Tally] = field(default_factory=dict[Tier, Tally])
    """What the billed candidate slots of this allowance came to, by tier."""
    in_hand: list[InHand] = field(default_factory=list[InHand])
    leftovers: list[Leftover] = field(default_factory=list[Leftover])
    awaited: list[AwaitedCall] = field(default_factory=list[AwaitedCall])
    """Calls of this attempt that a batch job has still to answer."""
    rounds: dict[Stage, int] = field(default_factory=dict[Stage, int])
    """Orders that this allowance has placed with batch jobs since more was wanted, by stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    number: int
    stem: str
    spec: str
    want: int
    attempt: int
    allowance: int
    allowance_key: str
    run: int
    status: JobStatus
    is_final: bool
    reason: str


def take(db: sqlite3.Connection, entries: list[JobEntry], *, run: int) -> list[TakenJob]:
    """Write the jobs down as jobs of this run and return them with their history.

    Raises:
        DuplicateJobError: This run has read a job of that id already.
        JobChangedError: Images of the job were accepted, and its picture would be another now.
        CheckpointError: Somebody edited its rows, and they make no sense.
    """
    with row_errors(folder_of(db)):
        return [_take(db, entry, run=run) for entry in entries]


def _take(db: sqlite3.Connection, entry: JobEntry, *, run: int) -> TakenJob:
    job = entry.job
    known = _known(db, job.id)
    if known is None:
        known = _insert(db, entry, run=run)
        _want(db, known.number, job.want)
        return TakenJob(
            job=job,
            number=known.number,
            stem=known.stem,
            attempt=1,
            allowance=1,
            status=JobStatus.PENDING,
            reason="",
            delivered=0,
        )
    if known.run == run:
        raise DuplicateJobError(
            f"Job id {job.id!r} occurs twice in this run: every job needs an id of its own.",
            job_id=job.id,
        )
    delivered = _count(db, "SELECT count(*) FROM images WHERE job = ?", known.number)
    is_changed = known.spec != entry.spec_sha256
    if is_changed and delivered:
        raise JobChangedError(
            f"Job {job.id!r} changed its prompt, references, aspect_ratio or size although "
            f"{delivered} image(s) of it are accepted: give the changed job a new id.",
            job_id=job.id,
        )
    is_closed = known.status is JobStatus.REFUSED or (
        known.status is JobStatus.FAILED and known.is_final
    )
    status = known.status if is_closed and not is_changed else JobStatus.PENDING
    if delivered >= job.want:
        status = JobStatus.DONE
    is_final = status in (JobStatus.REFUSED, JobStatus.FAILED)
    taken = TakenJob(
        job=job,
        number=known.number,
        stem=known.stem,
        attempt=known.attempt + is_changed,
        allowance=known.allowance + (known.allowance_key != entry.allowance_key),
        status=status,
        reason=known.reason if is_final else "",
        delivered=delivered,
        next_number=next_number(db, known.number),
    )
    db.execute(
        "UPDATE jobs SET spec = ?, body = ?, tag = ?, want = ?, attempt = ?, allowance = ?, "
        "allowance_key = ?, run = ?, status = ?, is_final = ?, reason = ? WHERE number = ?",
        (
            entry.spec_sha256,
            job.model_dump_json(),
            job.tag,
            job.want,
            taken.attempt,
            taken.allowance,
            entry.allowance_key,
            run,
            taken.status,
            int(is_final),
            taken.reason,
            taken.number,
        ),
    )
    if job.want != known.want:
        _want(db, taken.number, job.want - known.want)
    _load_history(db, taken)
    return taken


def _known(db: sqlite3.Connection, job_id: str) -> _Known | None:
    row = db.execute(
        "SELECT number, stem, spec, want, attempt, allowance, allowance_key, run, status, "
        "is_final, reason FROM jobs WHERE id = ?",
        (job_id,),
    ).fetchone()
    if row is None:
        return None
    number, stem, spec, want, attempt, allowance, key, run, status, is_final, reason = row
    return _Known(
        number=number,
        stem=stem,
        spec=spec,
        want=want,
        attempt=attempt,
        allowance=allowance,
        allowance_key=key,
        run=run,
        status=JobStatus(status),
        is_final=bool(is_final),
        reason=reason,
    )


def _insert(db: sqlite3.Connection, entry: JobEntry, *, run: int) -> _Known:
    job = entry.job
    stem = file_stem(job.id)
    if _count(db, "SELECT count(*) FROM jobs WHERE stem_key = ?", stem_key(stem)):
        stem = distinct_stem(job.id)
    cursor = db.execute(
        "INSERT INTO jobs (id, stem, stem_key, spec, body, tag, want, allowance_key, run) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            job.id,
            stem,
            stem_key(stem),
            entry.spec_sha256,
            job.model_dump_json(),
            job.tag,
            job.want,
            entry.allowance_key,
            run,
        ),
    )
    number = cursor.lastrowid or 0
    return _Known(
        number=number,
        stem=stem,
        spec=entry.spec_sha256,
        want=job.want,
        attempt=1,
        allowance=1,
        allowance_key=entry.allowance_key,
        run=run,
        status=JobStatus.PENDING,
        is_final=False,
        reason="",
    )


def _want(db: sqlite3.Connection, job: int, change: int) -> None:
    db.execute(
        "INSERT INTO ledger (at, kind, job, want) VALUES (?, ?, ?, ?)",
        (now_micros(), LineKind.WANT, job, change),
    )


def _count(db: sqlite3.Connection, query: str, value: object) -> int:
    return int(db.execute(query, (value,)).fetchone()[0])


def _load_history(db: sqlite3.Connection, taken: TakenJob) -> None:
    key = (taken.number, taken.attempt, taken.allowance)
    for stage, tier, slots, passed, billed_and_passed in db.execute(_SLOTS_BY_TIER, key):
        for counts, count in ((taken.slots_used, slots), (taken.passed, passed)):
            if count:
                counts[Stage(stage)] = counts.get(Stage(stage), 0) + count
        if stage == Stage.CANDIDATE and slots:
            taken.tallies[Tier(tier)] = Tally(slots=slots, passed=billed_and_passed)
    taken.in_hand = [
        InHand(
            candidate=candidate,
            slot=slot,
            stage=Stage(stage),
            file=f"staging/{file}",
            sha256=sha256,
            score=score,
            is_picked=state == SlotState.PICKED,
        )
        for candidate, slot, stage, file, sha256, score, state in db.execute(
            "SELECT c.number, s.number, s.stage, c.file, c.sha256, c.score, s.state "
            "FROM candidates c JOIN slots s ON s.number = c.slot WHERE s.job = ? AND s.attempt = ? "
            "AND s.state IN ('passed', 'picked') AND c.state = s.state ORDER BY c.number",
            (taken.number, taken.attempt),
        )
    ]
    taken.leftovers = [
        Leftover(
            slot=row[0],
            stage=Stage(row[1]),
            tier=Tier(row[2]),
            model_id=row[3],
            parent=row[4],
            row=NewCandidate(
                number=row[5],
                file=row[6],
                sha256=row[7],
                mime_type=row[8],
                width_px=row[9],
                height_px=row[10],
            ),
            usd_nano=row[11],
            unknown_nano=row[12],
            by_batch=bool(row[13]),
        )
        for row in db.execute(
            "SELECT s.number, s.stage, s.tier, s.model_id, s.parent, c.number, c.file, "
            "c.sha256, c.mime_type, c.width_px, c.height_px, "
            "(SELECT coalesce(sum(usd_nano), 0) FROM ledger l WHERE l.slot = s.number), "
            "(SELECT coalesce(sum(unknown_nano), 0) FROM ledger l WHERE l.slot = s.number), "
            "EXISTS (SELECT 1 FROM batch_calls b WHERE b.slot = s.number) "
            "FROM candidates c "
            "JOIN slots s ON s.number = c.slot WHERE s.job = ? AND s.attempt = ? "
            "AND s.state = 'open' AND c.state = 'staged' ORDER BY c.number",
            (taken.number, taken.attempt),
        )
    ]
    taken.awaited = awaited_of_job(db, taken.number, attempt=taken.attempt)
    taken.rounds = {Stage(stage): rounds for stage, rounds in db.execute(_ROUNDS, key)}
