"""Making a verdict durable: the file first, then the row, and only then anyone hears of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from nanobatch.candidate import Candidate
from nanobatch.checkpoint import CandidateState, InHand, SlotState
from nanobatch.checkpoint.changes import (
    NewFailure,
    accept,
    end_if_full,
    fail,
    judge,
    move_on,
    note_memos,
    set_slot,
    usd_of_candidate,
)
from nanobatch.checkpoint.reading import accepted_image, kept_candidate
from nanobatch.checkpoint.trouble import row_errors
from nanobatch.models import Tier
from nanobatch.pipeline.events import (
    CandidatePassed,
    CandidateRejected,
    FailureRecorded,
    ImageAccepted,
)
from nanobatch.pipeline.judgement import Judgement
from nanobatch.pipeline.thumbnail import thumbnail_of_candidate, thumbnail_of_file

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from nanobatch.candidate import AcceptedImage
    from nanobatch.checkpoint import Store
    from nanobatch.checkpoint.seal import Seal
    from nanobatch.pipeline.events import Event
    from nanobatch.pipeline.options import KeepRejected
    from nanobatch.pipeline.progress import JobProgress
    from nanobatch.pipeline.settling import Staged

__all__ = ["Keeper"]


class Keeper:
    """Writes verdicts of one run to its checkpoint."""

    def __init__(
        self, store: Store, *, keep_rejected: KeepRejected, emit: Callable[[Event], object]
    ) -> None:
        self._store = store
        self._keep_rejected = keep_rejected
        self._emit = emit

    async def reject(
        self, job: JobProgress, candidate: Candidate, staged: Staged, judgement: Judgement
    ) -> None:
        """Write down that a candidate is broken or rejected; keep of it what was asked for."""
        files, row = self._store.files, staged.row
        is_kept = self._keep_rejected == "all" or (
            judgement.is_broken and self._keep_rejected != "none"
        )
        thumbnail: bytes | None = None
        if self._keep_rejected == "thumbnail" and not judgement.is_broken:
            thumbnail = await anyio.to_thread.run_sync(thumbnail_of_candidate, candidate)

        def change(db: sqlite3.Connection) -> None:
            judge(
                db,
                candidate=row.number,
                state=CandidateState.BROKEN if judgement.is_broken else CandidateState.REJECTED,
                filter_name=judgement.filter_name,
                reason=judgement.reason,
                score=judgement.score,
                thumbnail=thumbnail,
                file=row.file if is_kept else None,
            )
            if judgement.is_broken:
                fail(
                    db,
                    NewFailure(
                        job=job.taken.number,
                        slot=candidate.slot,
                        kind="broken",
                        message=judgement.reason,
                        model_id=candidate.model_id,
                        usd_nano=usd_of_candidate(db, row.number),
                    ),
                )

        await self._store.commit(
            change,
            before=(lambda: files.link_rejected(row.file)) if is_kept else None,
            after=lambda: files.discard(f"staging/{row.file}"),
        )
        self._emit(
            CandidateRejected(
                job_id=job.job.id,
                slot=candidate.slot,
                tier=candidate.tier,
                filter_name=judgement.filter_name,
                reason=judgement.reason,
            )
        )

    async def keep(
        self, job: JobProgress, candidate: Candidate, staged: Staged, judgement: Judgement
    ) -> None:
        """Write down that a candidate passed and waits in `staging/`."""

        def change(db: sqlite3.Connection) -> None:
            self._passed(db, staged, judgement, memos=judgement.waiting_json)
            set_slot(db, candidate.slot, SlotState.PASSED)

        await self._store.commit(change)
        self._emit(
            CandidatePassed(
                job_id=job.job.id,
                slot=candidate.slot,
                tier=candidate.tier,
                score=judgement.score,
            )
        )

    async def accept(self, job: JobProgress, staged: Staged, judgement: Judgement) -> AcceptedImage:
        """Accept a candidate that has just passed."""
        return await self._accept(
            job,
            staged.row.number,
            f"staging/{staged.row.file}",
            staged.row.sha256,
            lambda db: self._passed(db, staged, judgement, memos=judgement.memos_json),
            seal=staged.seal,
        )

    async def accept_in_hand(
        self, job: JobProgress, best: InHand, memos: str | None, unpicked: Sequence[InHand] = ()
    ) -> AcceptedImage:
        """Accept the best of a group, with what the filters want to remember of it."""

        def change(db: sqlite3.Connection) -> None:
            for other in unpicked:
                move_on(db, other.slot, SlotState.UNPICKED)

        return await self._accept_kept(job, best, memos, change)

    async def waiting(self, job: JobProgress, kept: InHand) -> tuple[Candidate, Judgement]:
        """Return a candidate that waits, read from its file, and what filters said of it."""
        store = self._store
        row = await store.commit(lambda db: kept_candidate(db, store.files, kept.candidate))
        content = await anyio.to_thread.run_sync(
            lambda: store.files.read(kept.file, sha256=kept.sha256)
        )
        record = row.record
        candidate = Candidate(
            job=job.judged_as(kept.stage),
            image_bytes=content,
            mime_type=record.mime_type,
            sha256=record.sha256,
            width_px=record.width_px,
            height_px=record.height_px,
            model_id=record.model_id,
            tier=record.tier,
            slot=record.slot,
            usage=row.usage,
        )
        with row_errors(store.files.root):
            return candidate, Judgement.again(row.memos, score=kept.score)

    async def reject_waiting(self, job: JobProgress, kept: InHand, judgement: Judgement) -> None:
        """Write down that a candidate which had passed does not pass any more."""
        files = self._store.files
        name = kept.file.rpartition("/")[2]
        is_kept = self._keep_rejected == "all"
        thumbnail: bytes | None = None
        if self._keep_rejected == "thumbnail":
            content = await anyio.to_thread.run_sync(
                lambda: files.read(kept.file, sha256=kept.sha256)
            )
            thumbnail = await anyio.to_thread.run_sync(thumbnail_of_file, content)
        if is_kept:
            await anyio.to_thread.run_sync(files.keep_rejected, name)

        def change(db: sqlite3.Connection) -> str:
            judge(
                db,
                candidate=kept.candidate,
                state=CandidateState.REJECTED,
                filter_name=judgement.filter_name,
                reason=judgement.reason,
                score=kept.score,
                thumbnail=thumbnail,
                file=name if is_kept else None,
            )
            set_slot(db, kept.slot, SlotState.REJECTED)
            query = "SELECT tier FROM slots WHERE number = ?"
            return str(db.execute(query, (kept.slot,)).fetchone()[0])

        tier = await self._store.commit(change)
        await anyio.to_thread.run_sync(files.discard, kept.file)
        self._emit(
            CandidateRejected(
                job_id=job.job.id,
                slot=kept.slot,
                tier=Tier(tier),
                filter_name=judgement.filter_name,
                reason=judgement.reason,
            )
        )

    async def fall_back(
        self, job: JobProgress, draft: InHand, memos: str | None, *, failed: int
    ) -> AcceptedImage:
        """Accept a draft in place of its finish, whose slot has failed."""
        return await self._accept_kept(
            job, draft, memos, lambda db: set_slot(db, failed, SlotState.REJECTED)
        )

    async def end_slot(self, slot: int, state: SlotState, *, spent: InHand | None = None) -> None:
        """Write down what became of a slot that yielded nothing, and of the draft it used up."""

        def change(db: sqlite3.Connection) -> None:
            set_slot(db, slot, state)
            if spent is not None:
                move_on(db, spent.slot, SlotState.SPENT)

        await self._store.commit(change)

    async def pick(self, best: InHand, unpicked: Sequence[InHand]) -> None:
        """Write down which draft of a group is going to be finished."""

        def change(db: sqlite3.Connection) -> None:
            move_on(db, best.slot, SlotState.PICKED)
            for other in unpicked:
                move_on(db, other.slot, SlotState.UNPICKED)

        await self._store.commit(change)

    async def fail(self, job: JobProgress, failure: NewFailure) -> None:
        """Write down a failure."""
        await self._store.commit(lambda db: fail(db, failure))
        self._emit(
            FailureRecorded(
                job_id=job.job.id,
                slot=failure.slot,
                kind=failure.kind,
                message=failure.message,
                is_final=failure.is_final,
            )
        )

    async def _accept_kept(
        self,
        job: JobProgress,
        kept: InHand,
        memos: str | None,
        change_before: Callable[[sqlite3.Connection], None],
    ) -> AcceptedImage:
        def change(db: sqlite3.Connection) -> None:
            change_before(db)
            if memos is not None:
                note_memos(db, kept.candidate, memos)

        return await self._accept(job, kept.candidate, kept.file, kept.sha256, change)

    async def _accept(
        self,
        job: JobProgress,
        candidate: int,
        file: str,
        sha256: str,
        change_before: Callable[[sqlite3.Connection], None],
        *,
        seal: Seal | None = None,
    ) -> AcceptedImage:
        files = self._store.files
        nth = job.take_number()
        stem = f"{job.taken.stem}-{nth}"
        name = ""
        may_be_last = job.delivered + job.picking >= job.job.want

        def name_file() -> Path:
            nonlocal name
            name = files.link_accepted(file, stem, sha256=sha256, seal=seal)
            return files.images

        def change(db: sqlite3.Connection) -> tuple[AcceptedImage, bool]:
            change_before(db)
            number = accept(db, job=job.taken.number, nth=nth, candidate=candidate, file=name)
            # In the same transaction: most jobs want one image, or few.
            is_done = may_be_last and end_if_full(db, job.taken.number, want=job.job.want)
            return accepted_image(db, files, number), is_done

        image, is_done = await self._store.commit(
            change, before=name_file, after=lambda: files.discard(file)
        )
        job.is_written_as_done = job.is_written_as_done or is_done
        self._emit(ImageAccepted(image=image))
        return image

    @staticmethod
    def _passed(
        db: sqlite3.Connection, staged: Staged, judgement: Judgement, *, memos: str
    ) -> None:
        judge(
            db,
            candidate=staged.row.number,
            state=CandidateState.PASSED,
            score=judgement.score,
            memos=memos,
            file=staged.row.file,
        )
