"""Reading a checkpoint: plain iterables over its tables, in pages, also while a run goes on."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from nanobatch.candidate import AcceptedImage
from nanobatch.checkpoint.export import export_images
from nanobatch.checkpoint.files import ImageFiles
from nanobatch.checkpoint.records import (
    CandidateRecord,
    CandidateState,
    Failure,
    JobResult,
    JobStatus,
    Spend,
    VerifyReport,
)
from nanobatch.checkpoint.schema import connect_reading
from nanobatch.checkpoint.verify import verify
from nanobatch.cost import CostModel, LedgerLine, LineKind, Outcome, Stage
from nanobatch.errors import CheckpointError
from nanobatch.job import Job
from nanobatch.models import Tier, TokenUsage
from nanobatch.models.money import usd_of_nano

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ["CheckpointReader"]

PAGE_ROWS = 500
_BAD = (CandidateState.REJECTED, CandidateState.BROKEN)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_IMAGES = """
SELECT i.number, j.id, i.nth, i.file, c.sha256, c.mime_type, c.width_px, c.height_px, s.model_id,
    s.tier, (SELECT coalesce(sum(usd_nano), 0) FROM ledger l WHERE l.slot IN (s.number, s.parent)),
    c.score, json_extract(j.body, '$.prompt'), s.number, c.memos
FROM images i JOIN jobs j ON j.number = i.job JOIN candidates c ON c.number = i.candidate
JOIN slots s ON s.number = i.slot
WHERE i.number > ? AND {where} ORDER BY i.number LIMIT ?
"""

_FAILURES = """
SELECT f.number, j.id, f.slot, f.kind, f.message, f.model_id, f.at, f.usd_nano, f.is_final
FROM failures f JOIN jobs j ON j.number = f.job
WHERE f.number > ? AND {where} ORDER BY f.number LIMIT ?
"""

_CANDIDATES = """
SELECT c.number, j.id, c.slot, s.stage, s.tier, s.model_id, c.state, c.filter_name, c.reason,
    c.score, c.file, i.file, c.thumbnail, c.sha256, c.mime_type, c.width_px, c.height_px, c.at
FROM candidates c JOIN slots s ON s.number = c.slot JOIN jobs j ON j.number = s.job
LEFT JOIN images i ON i.candidate = c.number
WHERE c.number > ? AND {where} ORDER BY c.number LIMIT ?
"""

_LEDGER = """
SELECT l.number, l.at, l.kind, j.id, j.tag, l.slot, s.stage, s.tier, s.model_id, l.call, l.outcome,
    l.usd_nano, l.unknown_nano, l.want, l.prompt_tokens, l.image_tokens, l.text_tokens,
    l.thought_tokens, l.note
FROM ledger l JOIN jobs j ON j.number = l.job LEFT JOIN slots s ON s.number = l.slot
WHERE l.number > ? AND {where} ORDER BY l.number LIMIT ?
"""

_IN_FLIGHT = """
SELECT c.number, c.at, c.kind, j.id, j.tag, c.slot, s.stage, s.tier, s.model_id, c.number, NULL,
    0, c.worst_nano, 0, NULL, NULL, NULL, NULL, 'in flight'
FROM calls c JOIN slots s ON s.number = c.slot JOIN jobs j ON j.number = s.job
WHERE c.number > ? AND c.is_open = 1 AND {where} ORDER BY c.number LIMIT ?
"""

_JOBS = """
SELECT number, id, status, want, reason,
    (SELECT count(*) FROM slots s WHERE s.job = j.number AND s.billed > 0),
    (SELECT coalesce(sum(billed), 0) FROM slots s WHERE s.job = j.number),
    (SELECT coalesce(sum(usd_nano), 0) FROM ledger l WHERE l.job = j.number),
    (SELECT coalesce(sum(unknown_nano), 0) FROM ledger l WHERE l.job = j.number)
    + (SELECT coalesce(sum(worst_nano), 0) FROM calls c JOIN slots s ON s.number = c.slot
       WHERE s.job = j.number AND c.is_open = 1)
FROM jobs j WHERE number > ? AND {where} ORDER BY number LIMIT ?
"""


class CheckpointReader:
    """A checkpoint to look at; `Checkpoint.read(location)` gives one.

    Everything it yields is read a page at a time, with no transaction held between pages, so a
    run that writes meanwhile is not held up.
    """

    def __init__(self, location: Path) -> None:
        self.root = location
        """The checkpoint's folder, absolute."""
        self._files = ImageFiles(location)
        self._reading: sqlite3.Connection | None = connect_reading(location)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the database."""
        self.close_reading()

    def __repr__(self) -> str:
        """Show where it is."""
        return f"{type(self).__name__}({str(self.root)!r})"

    def close_reading(self) -> None:
        """Close the database."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def images(self) -> Iterator[AcceptedImage]:
        """Yield every accepted image, in the order of acceptance."""
        for row in self._pages(_IMAGES):
            yield self._image(row)

    def images_with_memos(self) -> Iterator[tuple[AcceptedImage, dict[str, bytes]]]:
        """Yield every accepted image with what its filters want to remember, by filter name."""
        for row in self._pages(_IMAGES):
            yield self._image(row), {k: bytes.fromhex(v) for k, v in json.loads(row[14]).items()}

    def failures(self) -> Iterator[Failure]:
        """Yield everything that went wrong, oldest first; plain rejections are in `candidates`."""
        return self._failures("true")

    def candidates(self) -> Iterator[CandidateRecord]:
        """Yield every image a model returned, oldest first, whatever became of it."""
        for row in self._pages(_CANDIDATES):
            yield self._candidate(row)

    def jobs(self) -> Iterator[JobResult]:
        """Yield every job, in the order they were first read."""
        return self.jobs_where("true")

    def ledger(self) -> Iterator[LedgerLine]:
        """Yield every line, oldest first; calls in flight come last, as unknown money."""
        number = 0
        for row in self._pages(_LEDGER):
            number = row[0]
            yield _line(row)
        for row in self._pages(_IN_FLIGHT):
            number += 1
            yield _line((number, *row[1:10], Outcome.UNKNOWN, *row[11:]))

    def cost_model(self, tier: Tier | str | None = None, tag: str | None = None) -> CostModel:
        """Return what the ledger measured, of one tier or one tag if given.

        Args:
            tier: Only slots of this tier. Wants belong to no tier, so `wanted` is then 0.
            tag: Only jobs with this tag.
        """
        wanted = None if tier is None else Tier(tier)
        return CostModel.from_ledger(
            line
            for line in self.ledger()
            if (wanted is None or line.tier is wanted) and (tag is None or line.tag == tag)
        )

    @property
    def spend(self) -> Spend:
        """All money of this checkpoint's life."""
        return _spend(*spent_nano(self._connection()))

    def verify(self) -> VerifyReport:
        """Check the database, and every file against its hash. Reads every byte; changes nothing."""
        return verify(self._connection(), self._files)

    def export(self, path: str | Path) -> int:
        """Write a manifest of the accepted images and return how many there are.

        Args:
            path: A `.jsonl` or `.csv` file; replaced as a whole.

        Raises:
            ConfigError: Another suffix.
            CheckpointError: The disk refused.
        """
        return export_images(self.images(), Path(path), base=self.root)

    # What results ask for.

    def jobs_where(self, where: str, *values: object) -> Iterator[JobResult]:
        """Yield the jobs that fit a condition on the table `jobs`."""
        for row in self._pages(_JOBS, where, values):
            number, job_id, status, want, reason, slots, calls, confirmed, unknown = row
            images = self._pages(_IMAGES, "i.job = ?", (number,))
            yield JobResult(
                id=job_id,
                status=JobStatus(status),
                want=want,
                images=tuple(self._image(image) for image in images),
                slots=slots,
                calls=calls,
                spend=_spend(confirmed, unknown),
                reason=reason,
            )

    def failures_since(self, run: int) -> Iterator[Failure]:
        """Yield what went wrong with the jobs that a run has read, in all runs."""
        return self._failures("j.run >= ?", run)

    def images_since(self, run: int) -> Iterator[AcceptedImage]:
        """Yield the accepted images of the jobs that a run has read, from all runs."""
        for row in self._pages(_IMAGES, "j.run >= ?", (run,)):
            yield self._image(row)

    def job(self, job_id: str) -> Job | None:
        """Return a job as it was last read; `None` if it is not in here."""
        row = self._connection().execute("SELECT body FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return Job.model_validate_json(row[0]) if row else None

    def ids_since(self, run: int) -> Iterator[str]:
        """Yield the ids of the jobs that a run has read."""
        query = "SELECT number, id FROM jobs WHERE number > ? AND {where} ORDER BY number LIMIT ?"
        for row in self._pages(query, "run >= ?", (run,)):
            yield row[1]

    def count_since(self, run: int) -> tuple[int, int, int]:
        """Return jobs, wanted and delivered images of the jobs that a run has read."""
        row = self._connection().execute(
            "SELECT count(*), coalesce(sum(want), 0), coalesce(sum(min(want, "
            "(SELECT count(*) FROM images i WHERE i.job = j.number))), 0) "
            "FROM jobs j WHERE run >= ?",
            (run,),
        ).fetchone()
        return int(row[0]), int(row[1]), int(row[2])

    def _failures(self, where: str, *values: object) -> Iterator[Failure]:
        for row in self._pages(_FAILURES, where, values):
            yield Failure(
                job_id=row[1],
                slot=row[2],
                kind=row[3],
                message=row[4],
                model_id=row[5],
                at=_time(row[6]),
                usd=usd_of_nano(row[7]),
                is_final=bool(row[8]),
            )

    def _image(self, row: tuple[Any, ...]) -> AcceptedImage:
        return _accepted_image(row, self._files)

    def _candidate(self, row: tuple[Any, ...]) -> CandidateRecord:
        state = CandidateState(row[6])
        path: Path | None = None
        if row[11]:
            path = self._files.images / row[11]
        elif row[10]:
            path = self._files.folder_of(is_judged_bad=state in _BAD) / row[10]
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
            thumbnail=row[12],
            sha256=row[13],
            mime_type=row[14],
            width_px=row[15],
            height_px=row[16],
            at=_time(row[17]),
        )

    def _pages(
        self, query: str, where: str = "true", values: tuple[object, ...] = ()
    ) -> Iterator[tuple[Any, ...]]:
        query = query.replace("{where}", where)
        last = 0
        while True:
            try:
                page = self._connection().execute(query, (last, *values, PAGE_ROWS)).fetchall()
            except sqlite3.Error as error:
                raise CheckpointError(
                    f"The checkpoint {self.root} could not be read: {error}.", path=self.root
                ) from error
            yield from page
            if len(page) < PAGE_ROWS:
                return
            last = page[-1][0]

    def _connection(self) -> sqlite3.Connection:
        if self._reading is None:
            raise CheckpointError(
                f"The checkpoint {self.root} is closed: use it inside its `with` block.",
                path=self.root,
            )
        return self._reading


def accepted_image(db: sqlite3.Connection, files: ImageFiles, number: int) -> AcceptedImage:
    """Return one accepted image by its number."""
    query = _IMAGES.replace("{where}", "i.number = ?")
    return _accepted_image(db.execute(query, (0, number, 1)).fetchone(), files)


def _accepted_image(row: tuple[Any, ...], files: ImageFiles) -> AcceptedImage:
    return AcceptedImage(
        job_id=row[1],
        number=row[2],
        path=files.images / row[3],
        sha256=row[4],
        mime_type=row[5],
        width_px=row[6],
        height_px=row[7],
        model_id=row[8],
        tier=Tier(row[9]),
        usd=usd_of_nano(row[10]),
        score=row[11],
        prompt=row[12],
        slot=row[13],
    )


def spent_nano(db: sqlite3.Connection) -> tuple[int, int]:
    """Return confirmed and unknown money in nano-dollars; calls in flight count as unknown."""
    row = db.execute(
        "SELECT coalesce(sum(usd_nano), 0), coalesce(sum(unknown_nano), 0) + "
        "(SELECT coalesce(sum(worst_nano), 0) FROM calls WHERE is_open = 1) FROM ledger"
    ).fetchone()
    return int(row[0]), int(row[1])


def _spend(confirmed_nano: int, unknown_nano: int) -> Spend:
    return Spend(confirmed_usd=usd_of_nano(confirmed_nano), unknown_usd=usd_of_nano(unknown_nano))


def _time(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _line(row: tuple[Any, ...]) -> LedgerLine:
    prompt, image, text, thought = row[14:18]
    usage = None
    if prompt is not None:
        usage = TokenUsage(
            prompt_tokens=prompt, image_tokens=image, text_tokens=text, thought_tokens=thought
        )
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
        usage=usage,
        note=row[18],
    )
