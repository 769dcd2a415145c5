"""The queries behind a checkpoint's values, and how a row becomes one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from nanobatch.candidate import AcceptedImage
from nanobatch.checkpoint.lessons import OF_ERA, PASSED
from nanobatch.checkpoint.records import (
    CandidateRecord,
    CandidateState,
    Failure,
    JobResult,
    JobStatus,
    KeptCandidate,
    Spend,
)
from nanobatch.cost import LedgerLine, LineKind, Outcome, Stage
from nanobatch.job import Job
from nanobatch.models import Tier, TokenUsage
from nanobatch.models.money import usd_of_nano

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from nanobatch.checkpoint.files import ImageFiles

__all__ = [
    "CALL_MONEY",
    "CANDIDATES",
    "FAILURES",
    "IMAGES",
    "IN_FLIGHT",
    "JOBS",
    "KEPT",
    "LEDGER",
    "SETTLED_LINE",
    "STAGE_MONEY",
    "STAGE_SLOTS",
    "STATE_BY_CANDIDATES",
    "THUMBNAIL",
    "Row",
    "candidate_of",
    "failure_of",
    "image_of",
    "job_of",
    "kept_of",
    "line_of",
    "memos_of",
    "refuse_blobs",
    "spend_of",
]

Row: TypeAlias = tuple[Any, ...]

_BAD = (CandidateState.REJECTED, CandidateState.BROKEN)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Every query but `IN_FLIGHT` gives a page: `{where}` is a condition, the first column the number
# to go on after.

IMAGES = """
SELECT i.number, j.id, i.nth, i.file, c.sha256, c.mime_type, c.width_px, c.height_px, s.model_id,
    s.tier, (SELECT coalesce(sum(usd_nano), 0) FROM ledger l WHERE l.slot IN (s.number, s.parent)),
    c.score, j.body, s.number, c.memos
FROM images i JOIN jobs j ON j.number = i.job JOIN candidates c ON c.number = i.candidate
JOIN slots s ON s.number = i.slot
WHERE i.number > ? AND {where} ORDER BY i.number LIMIT ?
"""

FAILURES = """
SELECT f.number, j.id, f.slot, f.kind, f.message, f.model_id, f.at, f.usd_nano, f.is_final
FROM failures f JOIN jobs j ON j.number = f.job
WHERE f.number > ? AND {where} ORDER BY f.number LIMIT ?
"""

CANDIDATES = """
SELECT c.number, j.id, c.slot, s.stage, s.tier, s.model_id, c.state, c.filter_name, c.reason,
    c.score, c.file, i.file, c.thumbnail, c.sha256, c.mime_type, c.width_px, c.height_px, c.at
FROM candidates c JOIN slots s ON s.number = c.slot JOIN jobs j ON j.number = s.job
LEFT JOIN images i ON i.candidate = c.number
WHERE c.number > ? AND {where} ORDER BY c.number LIMIT ?
"""

SETTLED_LINE = (
    "(SELECT coalesce(min(l.number), 0) FROM ledger l WHERE l.slot = c.slot AND l.call = c.call)"
)
"""In `KEPT`: the number of the ledger line that came with a candidate."""

# As `CANDIDATES`, without the thumbnail and with what judging it again needs.
KEPT = """
SELECT c.number, j.id, c.slot, s.stage, s.tier, s.model_id, c.state, c.filter_name, c.reason,
    c.score, c.file, i.file, NULL, c.sha256, c.mime_type, c.width_px, c.height_px, c.at,
    j.body, s.attempt, s.parent, c.memos, i.nth,
    (SELECT coalesce(sum(usd_nano), 0) FROM ledger l WHERE l.slot IN (s.number, s.parent)),
    {settled_line},
    (SELECT max(l.number) FROM ledger l WHERE l.slot = c.slot AND l.kind = 'accepted'),
    u.prompt_tokens, u.image_tokens, u.text_tokens, u.thought_tokens
FROM candidates c JOIN slots s ON s.number = c.slot JOIN jobs j ON j.number = s.job
LEFT JOIN images i ON i.candidate = c.number
LEFT JOIN ledger u ON u.number = (SELECT max(l.number) FROM ledger l
    WHERE l.slot = c.slot AND l.call = c.call AND l.prompt_tokens IS NOT NULL)
WHERE c.number > ? AND {where} ORDER BY c.number LIMIT ?
""".replace("{settled_line}", SETTLED_LINE)

LEDGER = """
SELECT l.number, l.at, l.kind, j.id, j.tag, l.slot, s.stage, s.tier, s.model_id, l.call, l.outcome,
    l.usd_nano, l.unknown_nano, l.want, l.prompt_tokens, l.image_tokens, l.text_tokens,
    l.thought_tokens, l.note
FROM ledger l JOIN jobs j ON j.number = l.job LEFT JOIN slots s ON s.number = l.slot
WHERE l.number > ? AND {where} ORDER BY l.number LIMIT ?
"""

# One statement, so one moment: the last line there is, and the calls that have none yet.
IN_FLIGHT = """
SELECT m.last, c.at, c.kind, j.id, j.tag, c.slot, s.stage, s.tier, s.model_id, c.number, 'unknown',
    0, c.worst_nano, 0, NULL, NULL, NULL, NULL, 'in flight'
FROM (SELECT coalesce(max(number), 0) AS last FROM ledger) m
LEFT JOIN (calls c JOIN slots s ON s.number = c.slot JOIN jobs j ON j.number = s.job)
ON c.is_open = 1 ORDER BY c.number
"""

JOBS = """
SELECT number, id, status, want, reason,
    (SELECT count(*) FROM slots s WHERE s.job = j.number AND s.billed > 0),
    (SELECT coalesce(sum(billed), 0) FROM slots s WHERE s.job = j.number),
    (SELECT coalesce(sum(usd_nano), 0) FROM ledger l WHERE l.job = j.number),
    (SELECT coalesce(sum(unknown_nano), 0) FROM ledger l WHERE l.job = j.number)
    + (SELECT coalesce(sum(worst_nano), 0) FROM calls c JOIN slots s ON s.number = c.slot
       WHERE s.job = j.number AND c.is_open = 1)
FROM jobs j WHERE number > ? AND {where} ORDER BY number LIMIT ?
"""

# By stage and tier: judged slots of an era, their billed calls, and how many of them passed.
STAGE_SLOTS = f"""
SELECT stage, tier, count(*), sum(billed), sum(state IN {PASSED}) FROM slots s
WHERE billed > 0 AND state NOT IN ('open', 'void') AND {OF_ERA} GROUP BY stage, tier
"""  # noqa: S608 - our own words

# By stage and tier: calls whose text tokens are known, the tokens, and what judging cost.
STAGE_MONEY = f"""
SELECT s.stage, s.tier, count(l.text_tokens), coalesce(sum(l.text_tokens), 0),
    coalesce(sum(l.usd_nano) FILTER (WHERE l.kind = 'judge'), 0)
FROM ledger l JOIN slots s ON s.number = l.slot WHERE {OF_ERA} GROUP BY s.stage, s.tier
"""  # noqa: S608 - our own words

# Per call: its settling lines (a settlement by hand takes unknown money away), and its money.
CALL_MONEY = """
SELECT call, sum(unknown_nano >= 0) AS settlements, sum(usd_nano) AS usd_nano,
    sum(unknown_nano) AS unknown_nano FROM ledger WHERE call IS NOT NULL GROUP BY call
"""

# Per slot: the state its candidates give it; 'none' if they leave open whether it ended.
STATE_BY_CANDIDATES = """
SELECT s.number AS slot, CASE
    WHEN s.number IN (SELECT slot FROM images) THEN 'accepted'
    WHEN sum(c.state = 'picked') THEN 'picked'
    WHEN sum(c.state = 'passed') THEN 'passed'
    WHEN sum(c.state = 'spent') THEN 'spent'
    WHEN sum(c.state = 'unpicked') THEN 'unpicked'
    WHEN sum(c.state = 'staged') THEN 'open'
    ELSE 'none' END AS state
FROM slots s LEFT JOIN candidates c ON c.slot = s.number GROUP BY s.number
"""


def refuse_blobs(row: Row, *, but: int | None = None) -> None:
    """Refuse bytes where text or a number belongs: SQLite checks types only when it writes.

    Args:
        row: A row that was read.
        but: The column that may hold bytes.

    Raises:
        TypeError: Another column does.
    """
    for column, value in enumerate(row):
        if isinstance(value, bytes) and column != but:
            raise TypeError("it holds bytes where text or a number belongs")


def _plain(name: str) -> str:
    """Return the name of a file; one that leads elsewhere is nothing we wrote."""
    if name in {"", ".", ".."} or "/" in name:
        raise ValueError(f"{name!r} is no name of a file")
    return name


def image_of(row: Row, files: ImageFiles) -> AcceptedImage:
    """Return an accepted image from a row of `IMAGES`."""
    return AcceptedImage(
        job_id=row[1],
        number=row[2],
        path=files.images / _plain(row[3]),
        sha256=row[4],
        mime_type=row[5],
        width_px=row[6],
        height_px=row[7],
        model_id=row[8],
        tier=Tier(row[9]),
        usd=usd_of_nano(row[10]),
        score=row[11],
        prompt=json.loads(row[12])["prompt"],  # SQLite's json_extract ends at a NUL
        slot=row[13],
    )


def failure_of(row: Row) -> Failure:
    """Return a failure from a row of `FAILURES`."""
    return Failure(
        job_id=row[1],
        slot=row[2],
        kind=row[3],
        message=row[4],
        model_id=row[5],
        at=_time(row[6]),
        usd=usd_of_nano(row[7]),
        is_final=bool(row[8]),
    )


THUMBNAIL = 12
"""The column of `CANDIDATES` that holds bytes."""


def candidate_of(row: Row, files: ImageFiles) -> CandidateRecord:
    """Return a candidate from a row of `CANDIDATES`."""
    state = CandidateState(row[6])
    path: Path | None = None
    if row[11]:
        path = files.images / _plain(row[11])
    elif row[10]:
        path = files.folder_of(is_judged_bad=state in _BAD) / _plain(row[10])
    return CandidateRecord(
        number=row[0],
        job_id=row[1],
        slot=row[2],
        stage=Stage(row[3]),
        tier=Tier(row[4]),
        model_id=row[5],
        state=state,
        filter_name=row[7],
        reason=row[8],
        score=row[9],
        path=path,
        thumbnail=row[THUMBNAIL],
        sha256=row[13],
        mime_type=row[14],
        width_px=row[15],
        height_px=row[16],
        at=_time(row[17]),
    )


def kept_of(row: Row, files: ImageFiles) -> KeptCandidate:
    """Return a candidate with its history from a row of `KEPT`."""
    return KeptCandidate(
        record=candidate_of(row, files),
        job=Job.model_validate_json(row[18]),
        attempt=row[19],
        parent=row[20],
        usage=_usage(*row[26:30]),
        memos=memos_of(row[21]),
        image_number=row[22],
        usd=usd_of_nano(row[23]),
        settled_line=row[24],
        accepted_line=row[25],
    )


def memos_of(stored: str) -> dict[str, bytes]:
    """Return what filters want to remember of an image, by filter name."""
    return {name: bytes.fromhex(memo) for name, memo in json.loads(stored).items()}


def job_of(row: Row, images: Iterable[AcceptedImage]) -> JobResult:
    """Return a job from a row of `JOBS` and its accepted images."""
    _, job_id, status, want, reason, slots, calls, confirmed_nano, unknown_nano = row
    return JobResult(
        id=job_id,
        status=JobStatus(status),
        want=want,
        images=tuple(images),
        slots=slots,
        calls=calls,
        spend=spend_of(confirmed_nano, unknown_nano),
        reason=reason,
    )


def line_of(row: Row) -> LedgerLine:
    """Return a ledger line from a row of `LEDGER` or `IN_FLIGHT`."""
    return LedgerLine(
        number=row[0],
        at=_time(row[1]),
        kind=LineKind(row[2]),
        job_id=row[3],
        tag=row[4],
        slot=row[5],
        stage=None if row[6] is None else Stage(row[6]),
        tier=None if row[7] is None else Tier(row[7]),
        model_id=row[8] or "",
        call=row[9],
        outcome=None if row[10] is None else Outcome(row[10]),
        usd=usd_of_nano(row[11]),
        unknown_usd=usd_of_nano(row[12]),
        want=row[13],
        usage=_usage(*row[14:18]),
        note=row[18],
    )


def spend_of(confirmed_nano: int, unknown_nano: int) -> Spend:
    """Return money from its stored form."""
    return Spend(confirmed_usd=usd_of_nano(confirmed_nano), unknown_usd=usd_of_nano(unknown_nano))


def _usage(prompt: int | None, image: int, text: int, thought: int | None) -> TokenUsage | None:
    if prompt is None:
        return None
    return TokenUsage(
        prompt_tokens=prompt, image_tokens=image, text_tokens=text, thought_tokens=thought
    )


def _time(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)
