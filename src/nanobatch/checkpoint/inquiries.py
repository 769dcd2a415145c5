"""What results, forecasts and reports ask of a checkpoint; it may change without notice."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from nanobatch.checkpoint.lessons import Era, Experience, era_now, experience
from nanobatch.checkpoint.pages import Pages
from nanobatch.checkpoint.records import JobStatus, Moment, StageFigures
from nanobatch.checkpoint.rows import (
    FAILURES,
    IMAGES,
    IN_FLIGHT,
    JOBS,
    KEPT,
    LEDGER,
    SETTLED_LINE,
    STAGE_MONEY,
    STAGE_SLOTS,
    Row,
    failure_of,
    job_of,
    kept_of,
    line_of,
    refuse_blobs,
)
from nanobatch.checkpoint.totals import ledger_totals
from nanobatch.checkpoint.trouble import row_errors
from nanobatch.cost import Stage
from nanobatch.job import Job
from nanobatch.models import Tier
from nanobatch.models.money import usd_of_nano

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal

    from nanobatch.candidate import AcceptedImage
    from nanobatch.checkpoint.records import Failure, JobResult, KeptCandidate
    from nanobatch.cost import LedgerLine, LedgerTotals

__all__ = ["Inquiries"]

_SINCE = "j.run >= ? AND (? IS NULL OR {}.number <= ?)"

FEWEST_TIMED_CALLS = 20
_SECONDS_PER_CALL = """
SELECT count(*), coalesce(avg(took), 0) FROM (SELECT l.at - c.at AS took FROM ledger l
JOIN calls c ON c.number = l.call WHERE l.kind = 'call' AND l.outcome = 'billed'
AND NOT EXISTS (SELECT 1 FROM batch_calls b WHERE b.number = c.number)
ORDER BY l.number DESC LIMIT 200)
"""


class Inquiries(Pages):
    """Questions of the library's own parts to a checkpoint."""

    def still_wanted(self, job: Job) -> int:
        """Return how many images a run would still make for a job; all if it is not in here."""
        rows = self._rows(
            "SELECT (SELECT count(*) FROM images i WHERE i.job = j.number), is_final "
            "FROM jobs j WHERE id = ?",
            (job.id,),
        )
        accepted, is_final = rows[0] if rows else (0, False)
        return 0 if is_final else max(0, job.want - accepted)

    def era(
        self, *, filters: str, finish_filters: str, prices: str, model_ids: Mapping[Tier, str]
    ) -> Era:
        """Return which slots would say something in a run that begins now.

        Args:
            filters: What identifies today's filters.
            finish_filters: What identifies those that judge finishes.
            prices: What identifies today's prices.
            model_ids: The models of today.
        """
        with self._reading_rows():
            return era_now(
                self._connection(),
                filters=filters,
                finish_filters=finish_filters,
                prices=prices,
                model_ids=model_ids,
            )

    def experience(self, era: Era) -> Experience:
        """Return what the candidate slots of an era came to."""
        with self._reading_rows():
            return experience(self._connection(), era)

    def stages(self, era: Era) -> dict[tuple[Stage, Tier], StageFigures]:
        """Return what the slots of an era came to, by stage and tier."""
        money = {row[:2]: row[2:] for row in self._rows(STAGE_MONEY, era.values)}
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
                for stage, tier, slots, calls, passed in self._rows(STAGE_SLOTS, era.values)
                for counted, tokens, other_nano in [money.get((stage, tier), (0, 0, 0))]
            }

    def seconds_per_call(self) -> float | None:
        """Return how long the last calls took on average, those of batch jobs aside.

        `None` if there are fewer than 20 with a complete answer.
        """
        rows = self._rows(_SECONDS_PER_CALL)
        calls, micros = rows[0]
        return micros / 1e6 if calls >= FEWEST_TIMED_CALLS else None

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

    def totals(self) -> LedgerTotals:
        """Return what the whole ledger adds up to, calls in flight as unknown money."""
        with self._reading_rows():
            return ledger_totals(self._connection())

    def statuses(self) -> dict[JobStatus, int]:
        """Return how many jobs have which status."""
        with row_errors(self.root):
            rows = self._rows("SELECT status, count(*) FROM jobs GROUP BY status")
            return {JobStatus(status): jobs for status, jobs in rows}

    def failure_kinds(self) -> list[tuple[str, int, Decimal]]:
        """Return how often each kind of failure came and what it cost, the most frequent first."""
        rows = self._rows(
            "SELECT kind, count(*) AS times, sum(usd_nano) FROM failures GROUP BY kind "
            "ORDER BY times DESC, kind"
        )
        with row_errors(self.root):
            return [(kind, times, usd_of_nano(nano)) for kind, times, nano in rows]

    def tags(self) -> list[str]:
        """Return the tags of all jobs, in alphabetical order."""
        return [row[0] for row in self._rows("SELECT DISTINCT tag FROM jobs ORDER BY tag")]

    def images_of_call(self, *, slot: int, call: int) -> int:
        """Return how many images the answer to a call held."""
        query = "SELECT count(*) FROM candidates WHERE slot = ? AND call = ?"
        return int(self._rows(query, (slot, call))[0][0])

    def jobs_where(self, where: str, *values: object) -> Iterator[JobResult]:
        """Yield the jobs that fit a condition on the table `jobs`."""
        for page in self._chunks(JOBS, where, values):
            numbers = tuple(row[0] for row in page)
            images: defaultdict[str, list[AcceptedImage]] = defaultdict(list)
            marks = ", ".join("?" * len(numbers))  # one query a page: one a job takes 0.1 ms each
            for image in self._values(self._image, IMAGES, f"i.job IN ({marks})", numbers):
                images[image.job_id].append(image)
            for row in page:
                with row_errors(self.root):
                    refuse_blobs(row)
                    value = job_of(row, images.get(row[1], ()))
                yield value

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

    def _kept(self, row: Row) -> KeptCandidate:
        return kept_of(row, self._files)
