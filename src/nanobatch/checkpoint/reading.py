"""Reading a checkpoint: plain iterables over its tables, in pages, also while a run goes on."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nanobatch.checkpoint.batches import BATCH_JOBS, batch_job_of
from nanobatch.checkpoint.export import export_images
from nanobatch.checkpoint.inquiries import Inquiries
from nanobatch.checkpoint.judged import NOTES, QUESTIONS, VERDICTS, figures_of, names_of, since
from nanobatch.checkpoint.rows import (
    CANDIDATES,
    FAILURES,
    IMAGES,
    KEPT,
    Row,
    candidate_of,
    failure_of,
    image_of,
    kept_of,
    memos_of,
    refuse_blobs,
    spend_of,
)
from nanobatch.checkpoint.totals import ledger_totals
from nanobatch.checkpoint.trouble import row_errors
from nanobatch.checkpoint.verify import verify
from nanobatch.cost import CostModel
from nanobatch.errors import CheckpointError
from nanobatch.job import Job
from nanobatch.models import Tier

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from nanobatch.candidate import AcceptedImage
    from nanobatch.checkpoint.batches import BatchJobRecord
    from nanobatch.checkpoint.files import ImageFiles
    from nanobatch.checkpoint.judged import FilterFigures
    from nanobatch.checkpoint.records import (
        CandidateRecord,
        Failure,
        JobResult,
        KeptCandidate,
        Spend,
        VerifyReport,
    )
    from nanobatch.cost import LedgerLine, Stage

__all__ = ["CheckpointReader", "accepted_image", "kept_candidate", "spent_nano"]

_SPENT = (
    "SELECT coalesce(sum(usd_nano), 0), coalesce(sum(unknown_nano), 0) + "
    "(SELECT coalesce(sum(worst_nano), 0) FROM calls WHERE is_open = 1) FROM ledger"
)


class CheckpointReader(Inquiries):
    """A checkpoint to look at; `Checkpoint.read(location)` gives one.

    Everything it yields is read a page at a time, with no transaction held between pages, so a
    run that writes meanwhile is not held up.
    """

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

    def batch_jobs(self) -> Iterator[BatchJobRecord]:
        """Yield every batch job that was ordered from, oldest first, and how it stands."""
        return self._values(batch_job_of, BATCH_JOBS)

    def jobs(self) -> Iterator[JobResult]:
        """Yield every job, in the order they were first read."""
        return self.jobs_where("true")

    def ledger(self) -> Iterator[LedgerLine]:
        """Yield every line, oldest first; calls in flight come last, as unknown money.

        It is the ledger of one moment, so its lines add up: what a run writes while this is
        iterated is not in it.
        """
        yield from self.ledger_at(self.moment())

    def cost_model(
        self,
        tier: Tier | str | None = None,
        tag: str | None = None,
        *,
        stage: Stage | None = None,
    ) -> CostModel:
        """Return what the ledger measured, of one tier, tag or stage if given.

        Args:
            tier: Only slots of this tier. Wants belong to no tier, so `wanted` is then 0.
            tag: Only jobs with this tag.
            stage: Only slots of this stage; of wants as with a tier.
        """
        of_tier = None if tier is None else Tier(tier)
        with self._reading_rows():
            totals = ledger_totals(self._connection(), tier=of_tier, stage=stage, tag=tag)
            return CostModel.from_totals(totals)

    def filters(self) -> tuple[FilterFigures, ...]:
        """Return what each filter was asked, rejected and charged, in the order they are asked.

        It covers the slots begun since the list of filters was last changed, of finishes since the
        list that judges finishes was.
        """
        [noted] = self._rows(NOTES)
        with self._reading_rows():
            refuse_blobs(noted)
            slots, names = since(*noted[:-1]), names_of(noted[-1])
        verdicts, questions = (self._rows(query, slots) for query in (VERDICTS, QUESTIONS))
        with self._reading_rows():
            for row in (*verdicts, *questions):
                refuse_blobs(row)
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
            self.filters,
        ):
            try:
                deque(rows(), maxlen=0)  # read them all and keep none
            except CheckpointError as error:
                yield str(error)

    def export(self, path: str | Path, *, spreadsheet_safe: bool = True) -> int:
        """Write a manifest of the accepted images and return how many there are.

        Args:
            path: A `.jsonl` or `.csv` file; replaced as a whole.
            spreadsheet_safe: Whether texts in a CSV file that begin like a formula (`=`, `+`, `-`,
                `@`) get an apostrophe in front, so that no spreadsheet computes what a prompt or
                an id says. Turn it off for programs that need them exact, or write JSONL, which
                always is.

        Raises:
            ConfigError: Another suffix.
            CheckpointError: The disk refused.
        """
        return export_images(
            self.images(), Path(path), base=self.root, spreadsheet_safe=spreadsheet_safe
        )

    def _bodies(self) -> Iterator[Job]:
        query = "SELECT number, body FROM jobs WHERE number > ? AND {where} ORDER BY number LIMIT ?"
        yield from self._values(lambda row: Job.model_validate_json(row[1]), query)

    def _image_with_memos(self, row: Row) -> tuple[AcceptedImage, dict[str, bytes]]:
        return self._image(row), memos_of(row[14])


def accepted_image(db: sqlite3.Connection, files: ImageFiles, number: int) -> AcceptedImage:
    """Return one accepted image by the number of its row."""
    query = IMAGES.replace("{where}", "i.number = ?")
    return image_of(db.execute(query, (0, number, 1)).fetchone(), files)


def kept_candidate(db: sqlite3.Connection, files: ImageFiles, number: int) -> KeptCandidate:
    """Return one candidate by the number of its row, with what judging it again needs."""
    query = KEPT.replace("{where}", "c.number = ?")
    with row_errors(files.root):
        return kept_of(db.execute(query, (0, number, 1)).fetchone(), files)


def spent_nano(db: sqlite3.Connection) -> tuple[int, int]:
    """Return confirmed and unknown money in nano-dollars; calls in flight count as unknown."""
    confirmed, unknown = db.execute(_SPENT).fetchone()
    return int(confirmed), int(unknown)
