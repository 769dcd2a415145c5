"""Reading a checkpoint: plain iterables over its tables, in pages, also while a run goes on."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from nanobatch.checkpoint.export import export_images
from nanobatch.checkpoint.files import ImageFiles
from nanobatch.checkpoint.judged import JUDGED_SINCE, QUESTIONS, VERDICTS, figures_of
from nanobatch.checkpoint.records import Moment, StageFigures
from nanobatch.checkpoint.rows import (
    CANDIDATES,
    FAILURES,
    IMAGES,
    IN_FLIGHT,
    JOBS,
    KEPT,
    LEDGER,
    SETTLED_LINE,
    STAGE_MONEY,
    STAGE_SLOTS,
    THUMBNAIL,
    Row,
    candidate_of,
    failure_of,
    image_of,
    job_of,
    kept_of,
    line_of,
    memos_of,
    refuse_blobs,
    spend_of,
)
from nanobatch.checkpoint.schema import connect_reading
from nanobatch.checkpoint.trouble import database_errors, row_errors
from nanobatch.checkpoint.verify import verify
from nanobatch.cost import CostModel, Stage
from nanobatch.errors import CheckpointError
from nanobatch.job import Job
from nanobatch.models import Tier
from nanobatch.models.money import usd_of_nano

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from nanobatch.candidate import AcceptedImage
    from nanobatch.checkpoint.judged import FilterFigures
    from nanobatch.checkpoint.records import (
        CandidateRecord,
        Failure,
        JobResult,
        KeptCandidate,
        Spend,
        VerifyReport,
    )
    from nanobatch.cost import LedgerLine

__all__ = ["CheckpointReader", "accepted_image", "spent_nano"]

T = TypeVar("T")

PAGE_ROWS = 500

_SINCE = "j.run >= ? AND (? IS NULL OR {}.number <= ?)"

_SPENT = (
    "SELECT coalesce(sum(usd_nano), 0), coalesce(sum(unknown_nano), 0) + "
    "(SELECT coalesce(sum(worst_nano), 0) FROM calls WHERE is_open = 1) FROM ledger"
)


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
        return self._values(self._image, IMAGES)

    def images_with_memos(
        self, *, after: int = 0
    ) -> Iterator[tuple[AcceptedImage, dict[str, bytes]]]:
        """Yield accepted images with what filters want to remember of them, by filter name.

        Args:
            after: Number of the image to begin behind.
        """
        return self._values(self._image_with_memos, IMAGES, "i.number > ?", (after,))

    def failures(self) -> Iterator[Failure]:
        """Yield everything that went wrong, oldest first; plain rejections are in `candidates`."""
        return self._values(failure_of, FAILURES)

    def candidates(self) -> Iterator[CandidateRecord]:
        """Yield every image a model returned, oldest first, whatever became of it."""
        return self._values(lambda row: candidate_of(row, self._files), CANDIDATES)

    def jobs(self) -> Iterator[JobResult]:
        """Yield every job, in the order they were first read."""
        return self.jobs_where("true")

    def ledger(self) -> Iterator[LedgerLine]:
        """Yield every line, oldest first; calls in flight come last, as unknown money.

        It is the ledger of one moment, so its lines add up: what a run writes while this is
        iterated is not in it.
        """
        yield from self.ledger_at(self.moment())

    def cost_model(self, tier: Tier | str | None = None, tag: str | None = None) -> CostModel:
        """Return what the ledger measured, of one tier or one tag if given.

        Args:
            tier: Only slots of this tier. Wants belong to no tier, so `wanted` is then 0.
            tag: Only jobs with this tag.
        """
        wanted = None if tier is None else Tier(tier)
        with row_errors(self.root):
            return CostModel.from_ledger(self.ledger_at(self.moment(), tier=wanted, tag=tag))

    def filters(self) -> tuple[FilterFigures, ...]:
        """Return what each filter was asked, rejected and charged, in the order they are asked.

        It covers the slots begun since the list of filters was last changed.
        """
        since, names = self._rows(JUDGED_SINCE)[0]
        verdicts, questions = self._rows(VERDICTS, (since,)), self._rows(QUESTIONS, (since,))
        with row_errors(self.root):
            return figures_of(names, verdicts, questions)

    @property
    def spend(self) -> Spend:
        """All money of this checkpoint's life."""
        confirmed_nano, unknown_nano = self._rows(_SPENT)[0]
        return spend_of(confirmed_nano, unknown_nano)

    def verify(self) -> VerifyReport:
        """Check the database, every row against the others, and every file against its hash.

        It reads every byte and changes nothing. A run may write meanwhile: what is in motion is
        no fault. A commit waits while the database is copied, but not for the checks.

        Raises:
            CheckpointError: It is closed, or nothing of it can be read.
        """
        self._connection()
        report = verify(self.root)
        return replace(report, faults=tuple(self._not_understood())) if report.is_clean else report

    def _not_understood(self) -> Iterator[str]:
        """Yield what is wrong with rows that agree with the others and still make no sense."""
        for rows in (
            self.images_with_memos,
            self.failures,
            self.candidates,
            self.jobs,
            self._bodies,
            self.ledger,
        ):
            try:
                deque(rows(), maxlen=0)  # read them all and keep none
            except CheckpointError as error:
                yield str(error)

    def export(self, path: str | Path) -> int:
        """Write a manifest of the accepted images and return how many there are.

        Args:
            path: A `.jsonl` or `.csv` file; replaced as a whole.

        Raises:
            ConfigError: Another suffix.
            CheckpointError: The disk refused.
        """
        return export_images(self.images(), Path(path), base=self.root)

    # What forecasts ask for.

    def still_wanted(self, job: Job) -> int:
        """Return how many images a run would still make for a job; all if it is not in here."""
        rows = self._rows(
            "SELECT (SELECT count(*) FROM images i WHERE i.job = j.number), is_final "
            "FROM jobs j WHERE id = ?",
            (job.id,),
        )
        accepted, is_final = rows[0] if rows else (0, False)
        return 0 if is_final else max(0, job.want - accepted)

    def stages(self) -> dict[tuple[Stage, Tier], StageFigures]:
        """Return what the slots of each stage on each tier came to."""
        money = {row[:2]: row[2:] for row in self._rows(STAGE_MONEY)}
        with row_errors(self.root):
            return {
                (Stage(stage), Tier(tier)): StageFigures(
                    slots=slots,
                    calls=calls,
                    passed=passed,
                    text_tokens=tokens,
                    counted_calls=counted,
                    other_usd=usd_of_nano(other_nano),
                )
                for stage, tier, slots, calls, passed in self._rows(STAGE_SLOTS)
                for counted, tokens, other_nano in [money.get((stage, tier), (0, 0, 0))]
            }

    # What results and reports ask for.

    def moment(self) -> Moment:
        """Return how far the ledger reaches now."""
        rows = self._rows(IN_FLIGHT)
        last = rows[0][0]
        with row_errors(self.root):
            in_flight = tuple(
                line_of((number, *row[1:]))
                for number, row in enumerate(rows, last + 1)
                if row[9] is not None
            )
        return Moment(last_line=last, in_flight=in_flight)

    def ledger_at(
        self, moment: Moment, *, tier: Tier | None = None, tag: str | None = None
    ) -> Iterator[LedgerLine]:
        """Yield the ledger of a moment, or what it says of one tier or one tag."""
        where = "l.number <= ? AND (? IS NULL OR s.tier = ?) AND (? IS NULL OR j.tag = ?)"
        values = (moment.last_line, tier, tier, tag, tag)
        yield from self._values(line_of, LEDGER, where, values)
        for line in moment.in_flight:
            if tier in (None, line.tier) and tag in (None, line.tag):
                yield line

    def kept_candidates(self, moment: Moment) -> Iterator[KeptCandidate]:
        """Yield the images models had returned at a moment, with what judging them again needs.

        Their states are those of now, so one may have moved on since the moment.
        """
        return self._values(self._kept, KEPT, f"{SETTLED_LINE} <= ?", (moment.last_line,))

    def kept_candidate(self, number: int) -> KeptCandidate:
        """Return one of them by its number."""
        return next(self._values(self._kept, KEPT, "c.number = ?", (number,)))

    def finishes(self) -> Iterator[Row]:
        """Yield every slot that was made from a draft, with the draft's slot."""
        query = (
            "SELECT number, parent FROM slots WHERE number > ? AND {where} ORDER BY number LIMIT ?"
        )
        return self._pages(query, "parent IS NOT NULL")

    def tags(self) -> list[str]:
        """Return the tags of all jobs, in alphabetical order."""
        return [row[0] for row in self._rows("SELECT DISTINCT tag FROM jobs ORDER BY tag")]

    def images_of_call(self, *, slot: int, call: int) -> int:
        """Return how many images the answer to a call held."""
        query = "SELECT count(*) FROM candidates WHERE slot = ? AND call = ?"
        return int(self._rows(query, (slot, call))[0][0])

    def jobs_where(self, where: str, *values: object) -> Iterator[JobResult]:
        """Yield the jobs that fit a condition on the table `jobs`."""
        return self._values(self._job, JOBS, where, values)

    def last_numbers(self) -> tuple[int, int]:
        """Return the numbers of the last accepted image and the last failure; 0 for none."""
        image, failure = self._rows(
            "SELECT (SELECT coalesce(max(number), 0) FROM images), "
            "(SELECT coalesce(max(number), 0) FROM failures)"
        )[0]
        return image, failure

    def failures_since(self, run: int, *, up_to: int | None = None) -> Iterator[Failure]:
        """Yield what went wrong with the jobs that a run has read, in all runs.

        Args:
            run: The run.
            up_to: The number of the last failure to yield; `None` for all there are.
        """
        return self._values(failure_of, FAILURES, _SINCE.format("f"), (run, up_to, up_to))

    def images_since(self, run: int, *, up_to: int | None = None) -> Iterator[AcceptedImage]:
        """Yield the accepted images of the jobs that a run has read, from all runs.

        Args:
            run: The run.
            up_to: The number of the last image to yield; `None` for all there are.
        """
        return self._values(self._image, IMAGES, _SINCE.format("i"), (run, up_to, up_to))

    def job(self, job_id: str) -> Job | None:
        """Return a job as it was last read; `None` if it is not in here."""
        rows = self._rows("SELECT body FROM jobs WHERE id = ?", (job_id,))
        with row_errors(self.root):
            return Job.model_validate_json(rows[0][0]) if rows else None

    def _bodies(self) -> Iterator[Job]:
        query = "SELECT number, body FROM jobs WHERE number > ? AND {where} ORDER BY number LIMIT ?"
        yield from self._values(lambda row: Job.model_validate_json(row[1]), query)

    def ids_since(self, run: int) -> Iterator[str]:
        """Yield the ids of the jobs that a run has read."""
        query = "SELECT number, id FROM jobs WHERE number > ? AND {where} ORDER BY number LIMIT ?"
        for row in self._pages(query, "run >= ?", (run,)):
            yield row[1]

    def count_since(self, run: int) -> tuple[int, int, int]:
        """Return jobs, wanted and delivered images of the jobs that a run has read."""
        jobs, wanted, delivered = self._rows(
            "SELECT count(*), coalesce(sum(want), 0), coalesce(sum(min(want, "
            "(SELECT count(*) FROM images i WHERE i.job = j.number))), 0) "
            "FROM jobs j WHERE run >= ?",
            (run,),
        )[0]
        return jobs, wanted, delivered

    def _image(self, row: Row) -> AcceptedImage:
        return image_of(row, self._files)

    def _image_with_memos(self, row: Row) -> tuple[AcceptedImage, dict[str, bytes]]:
        return self._image(row), memos_of(row[14])

    def _kept(self, row: Row) -> KeptCandidate:
        return kept_of(row, self._files)

    def _job(self, row: Row) -> JobResult:
        images = self._pages(IMAGES, "i.job = ?", (row[0],))
        return job_of(row, (self._image(image) for image in images))

    def _values(
        self,
        value_of: Callable[[Row], T],
        query: str,
        where: str = "true",
        values: tuple[object, ...] = (),
    ) -> Iterator[T]:
        for row in self._pages(query, where, values):
            with row_errors(self.root):
                refuse_blobs(row, but=THUMBNAIL if query is CANDIDATES else None)
                value = value_of(row)
            yield value

    def _pages(
        self, query: str, where: str = "true", values: tuple[object, ...] = ()
    ) -> Iterator[Row]:
        query = query.replace("{where}", where)
        last = 0
        while True:
            page = self._rows(query, (last, *values, PAGE_ROWS))
            yield from page
            if len(page) < PAGE_ROWS:
                return
            last = page[-1][0]

    def _rows(self, query: str, values: tuple[object, ...] = ()) -> list[Row]:
        """Return all rows of a query at once, so that no transaction stays open."""
        with database_errors(self.root, f"The checkpoint {self.root} could not be read"):
            return self._connection().execute(query, values).fetchall()

    def _connection(self) -> sqlite3.Connection:
        if self._reading is None:
            raise CheckpointError(
                f"The checkpoint {self.root} is closed: use it inside its `with` block.",
                path=self.root,
            )
        return self._reading


def accepted_image(db: sqlite3.Connection, files: ImageFiles, number: int) -> AcceptedImage:
    """Return one accepted image by the number of its row."""
    query = IMAGES.replace("{where}", "i.number = ?")
    return image_of(db.execute(query, (0, number, 1)).fetchone(), files)


def spent_nano(db: sqlite3.Connection) -> tuple[int, int]:
    """Return confirmed and unknown money in nano-dollars; calls in flight count as unknown."""
    confirmed, unknown = db.execute(_SPENT).fetchone()
    return int(confirmed), int(unknown)
