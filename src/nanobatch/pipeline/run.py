"""One run: workers that walk slots until nothing is left to do, or something ends it."""

from __future__ import annotations

import hashlib
import os
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from nanobatch.backend import ThrottledBackend
from nanobatch.checkpoint import JobEntry, JobStatus
from nanobatch.checkpoint.batches import drop_planned
from nanobatch.checkpoint.changes import close_pending, common_rejection, end_job
from nanobatch.errors import CheckpointError, CheckpointLockedError
from nanobatch.pipeline.admission import Admission
from nanobatch.pipeline.asking import Asker
from nanobatch.pipeline.batch.mail import Mail, open_mail
from nanobatch.pipeline.bills import SlotBills
from nanobatch.pipeline.board import Board
from nanobatch.pipeline.caller import Caller
from nanobatch.pipeline.control import Control, Ended, RunStopped
from nanobatch.pipeline.ending import SlotEnder
from nanobatch.pipeline.events import JobEnded, JobStarted, RunEnding
from nanobatch.pipeline.intake import Intake, read_references
from nanobatch.pipeline.judging import Judge
from nanobatch.pipeline.keeping import Keeper
from nanobatch.pipeline.learning import learn_from_earlier_runs
from nanobatch.pipeline.listening import no_wait
from nanobatch.pipeline.meter import Parts
from nanobatch.pipeline.progress import JobProgress
from nanobatch.pipeline.purse import Purse
from nanobatch.pipeline.quota import SlotQuota
from nanobatch.pipeline.result import result_of
from nanobatch.pipeline.settling import Settler
from nanobatch.pipeline.slot import SlotWalker
from nanobatch.policy import BudgetGate, OutageBreaker, Pacer, Pauses, Permits, Router

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from nanobatch.checkpoint import Checkpoint, TakenJob
    from nanobatch.job import Job, Route
    from nanobatch.pipeline.chosen import Chosen
    from nanobatch.pipeline.closing import Closing
    from nanobatch.pipeline.events import Event
    from nanobatch.pipeline.intake import Jobs
    from nanobatch.pipeline.learning import Learning
    from nanobatch.pipeline.listening import Room
    from nanobatch.pipeline.options import Options
    from nanobatch.pipeline.result import RunResult
    from nanobatch.pipeline.watching import Watch

__all__ = ["Run"]

WORKERS_PER_PERMIT = 2
"""A worker that judges or waits to try again holds no permit; others use it meanwhile."""


class Run:
    """The work of one `TwoTierPipeline.run`, on an open backend and an open checkpoint."""

    def __init__(
        self,
        options: Options,
        checkpoint: Checkpoint,
        *,
        control: Control,
        emit: Callable[[Event], object],
        chosen: dict[str, Chosen] | None = None,
        told: dict[Path, int] | None = None,
        quota: SlotQuota | None = None,
        room: Room = no_wait,
        watch: Watch | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            options: The pipeline's parts.
            checkpoint: Where everything goes.
            control: Ends the run from outside.
            emit: Hears of everything that happened.
            chosen: Images that a person chose to finish, by job id.
            told: The last image these very filters have heard of, by checkpoint; kept up to date.
            quota: How many slots it may begin; any number if not given.
            room: Waits until whoever listens has room for more events.
            watch: Shows how it stands, if somebody watches.
        """
        self._options = options
        self._checkpoint = checkpoint
        self._store = checkpoint.store
        self._control = control
        self._emit = emit
        self._chosen = chosen or {}
        self._number = 0
        self._lacks_model = False
        self._lacks_slots = False
        self._allowance_keys: dict[Route, str] = {}
        self._is_over = False
        control.on_stop = self._tell_of_the_end
        self._told = {} if told is None else told
        self._quota = quota or SlotQuota()
        self._is_calibrating = quota is not None
        self._mail: Mail | None = None
        self._room = room
        self._watch = watch
        self.router = Router(options.plan.priors)
        """What the slots of this checkpoint have taught; it chooses tiers on the route `auto`."""

    async def work(self, jobs: Jobs) -> RunResult:
        """Do the work and return its result.

        Raises:
            NanobatchError: The caller's error, after what was in flight is saved.
        """
        store = self._store
        if store.is_in_run:
            raise CheckpointLockedError(
                f"A run is going on in the checkpoint {self._checkpoint.root}: wait for it, or "
                "use another checkpoint for this one.",
                path=self._checkpoint.root,
                pid=os.getpid(),
            )
        store.is_in_run = True
        intake = Intake(jobs)
        try:
            return await self._work(intake)
        finally:
            intake.close()
            store.is_in_run = False

    async def _work(self, intake: Intake) -> RunResult:
        options, control, store = self._options, self._control, self._store
        self._number = await store.new_run()
        gate = BudgetGate(limit_nano=options.budget.nano_usd, spent_nano=store.spent_nano)
        purse = Purse(gate, control)
        bills = SlotBills(self._watch.meter if self._watch else None)
        learning = await learn_from_earlier_runs(self.router, options.plan, store)
        keeper = Keeper(store, keep_rejected=options.keep_rejected, emit=self._emit)
        pacer = Pacer(options.pace, before=await store.spent_lately())
        permits = Permits(options.concurrency)
        admission = Admission(
            pauses=Pauses(),
            pacer=pacer,
            permits=permits,
            purse=purse,
            control=control,
            emit=self._emit,
        )
        settler = Settler(store, bills=bills, emit=self._emit)
        caller = Caller(
            options.backend,
            store=store,
            admission=admission,
            retry=options.retry,
            breaker=OutageBreaker(concurrency=options.concurrency),
            settler=settler,
            control=control,
        )
        self._mail = await open_mail(
            options,
            store=store,
            purse=purse,
            settler=settler,
            admission=admission,
            control=control,
            emit=self._emit,
            is_calibrating=self._is_calibrating,
        )
        judge = Judge(
            store=store,
            purse=purse,
            bills=bills,
            timeout_seconds=options.filter_timeout_seconds,
            asker=Asker(
                options.backend,
                store=store,
                admission=admission,
                retry=options.retry,
                caller=caller,
                bills=bills,
                control=control,
            ),
        )
        root = self._checkpoint.root
        await judge.recall(
            options.plan.all_filters, self._checkpoint, after=self._told.get(root, 0)
        )
        board = Board(
            intake,
            control=control,
            start=lambda jobs: self._start(jobs, learning),
            conclude=self._conclude,
            hurry_slots=options.concurrency if options.hurry else 0,
            quota=self._quota,
            room=None if self._mail is None else self._mail.room,
            workers=WORKERS_PER_PERMIT * options.concurrency,
        )
        ender = SlotEnder(
            plan=options.plan,
            judge=judge,
            keeper=keeper,
            board=board,
            control=control,
            stop=options.stop,
            era=learning.era,
            bills=bills,
            finish_fallback=options.finish_fallback,
        )
        walker = SlotWalker(
            plan=options.plan,
            caller=caller,
            judge=judge,
            keeper=keeper,
            store=store,
            board=board,
            control=control,
            ender=ender,
            bills=bills,
            post=None if self._mail is None else self._mail.post,
        )
        if self._watch is not None:
            parts = Parts(gate=gate, permits=permits, pacer=pacer, board=board, quota=self._quota)
            await self._watch.begin(root, parts)
        try:
            with self._held_back(), store.writer.patient(lambda: judge.is_backed_up):
                await self._let_workers_work(intake, board, walker)
        finally:
            self._told[root] = self._checkpoint.last_numbers()[0]
        if control.error is not None:
            raise control.error
        if self._lacks_slots or not (board.all_read or self._quota.has_room()):
            control.stop(Ended.CANCELLED, "The run had all the slots it was for.")
        ended = control.ended or (Ended.MODEL if self._lacks_model else Ended.COMPLETE)
        reason = control.message
        if ended is Ended.MODEL and not reason:
            reason = "A model that the missing images need does not answer any more: switch it."
        if self._watch is not None:
            self._watch.show_end(ended)
            if control.error is not None:
                raise control.error
        await store.commit(lambda db: close_pending(db, self._number, ended))
        return result_of(
            self._checkpoint,
            run=self._number,
            ended=ended,
            reason=reason,
            all_read=board.all_read,
        )

    def _held_back(self) -> AbstractContextManager[None]:
        """Let no more answers in while the disk is behind with those that are here."""
        backend, writer = self._options.backend, self._store.writer
        if not isinstance(backend, ThrottledBackend):
            return nullcontext()
        return backend.hold_back(lambda: writer.is_behind)

    async def _let_workers_work(self, intake: Intake, board: Board, walker: SlotWalker) -> None:
        """Return when no worker has anything left to do; what ended meanwhile is written down."""
        try:
            async with anyio.create_task_group() as watch:
                watch.start_soon(self._drain_on_cancellation)
                intake.start(watch)
                if self._mail is not None:
                    self._mail.start(watch, board)
                if self._watch is not None:
                    watch.start_soon(self._watch.follow)
                try:
                    async with anyio.create_task_group() as workers:
                        for _ in range(WORKERS_PER_PERMIT * self._options.concurrency):
                            workers.start_soon(self._worker, board, walker)
                    if self._mail is not None:
                        await self._mail.look_once_more()
                finally:
                    if self._watch is not None:
                        self._watch.stop()
                self._is_over = True
                watch.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True), suppress(CheckpointError):
                await board.end_settled()
                await self._store.commit(drop_planned)

    async def _worker(self, board: Board, walker: SlotWalker) -> None:
        try:
            while True:
                if self._room is not no_wait:
                    with self._control.waiting():
                        await self._room()
                step = await board.next()
                if step is None:
                    break
                await walker.walk(step)
        except RunStopped:
            pass
        except Exception as error:  # noqa: BLE001 - raised again when all workers are done
            self._control.abort(error)

    def _tell_of_the_end(self, ended: Ended, reason: str) -> None:
        self._emit(RunEnding(ended=ended, reason=reason))

    async def _drain_on_cancellation(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            if not self._is_over:
                self._control.stop(Ended.CANCELLED)
                self._control.drain()

    async def _start(self, jobs: list[Job], learning: Learning) -> list[JobProgress]:
        """Write jobs down as this run's and return those that have something left to do."""
        await self._room()
        entries: list[JobEntry] = []
        references: list[tuple[bytes, ...]] = []
        for job in jobs:
            self._options.plan.check(job)
            images: tuple[bytes, ...] = ()
            if job.references:
                images = await anyio.to_thread.run_sync(read_references, job)
            references.append(images)
            digests = [hashlib.sha256(image).hexdigest() for image in images]
            entries.append(
                JobEntry(
                    job=job,
                    spec_sha256=job.spec_sha256(digests),
                    allowance_key=self._allowance_key(job),
                )
            )
        progresses: list[JobProgress] = []
        async with nullcontext() if self._mail is None else self._mail.awaiting.lock:
            taken = await learning.take(entries, run=self._number)
            for one, images in zip(taken, references, strict=True):
                if one.status is JobStatus.PENDING:
                    progresses.append(self._progress(one, images))
        for one in taken:
            self._emit(JobStarted(job_id=one.job.id, want=one.job.want, delivered=one.delivered))
            if one.status is not JobStatus.PENDING:
                self._emit(JobEnded(job_id=one.job.id, status=one.status, reason=one.reason))
        return progresses

    def _allowance_key(self, job: Job) -> str:
        plan = self._options.plan
        route = plan.route(job)
        key = self._allowance_keys.get(route) or plan.allowance_key(job)
        self._allowance_keys[route] = key
        # Choosing an image again asks for another finish of it.
        return f"{key} {self._number}" if job.id in self._chosen else key

    def _progress(self, taken: TakenJob, references: tuple[bytes, ...]) -> JobProgress:
        progress = JobProgress(
            taken=taken,
            plan=self._options.plan,
            stop=self._options.stop,
            router=self.router,
            quota=self._quota,
            orders=None if self._mail is None else self._mail.orders_of(taken),
            references=references,
        )
        if self._mail is not None:
            self._mail.wait_for(progress)
        chosen = self._chosen.get(taken.job.id)
        if chosen is not None:
            progress.finishes = chosen.name
            if not progress.leftovers:
                progress.picks = [chosen.draft]
        return progress

    async def _conclude(self, job: JobProgress, closing: Closing) -> None:
        """Write down how a job ended."""
        self._lacks_model = self._lacks_model or closing.lacks_model
        if job.lacks_slots and closing.status is JobStatus.PENDING:
            self._lacks_slots = True
        number = job.taken.number
        if closing.status is JobStatus.DONE and job.is_written_as_done:
            self._emit(JobEnded(job_id=job.job.id, status=JobStatus.DONE, reason=""))
            return

        def change(db: sqlite3.Connection) -> str:
            reason = closing.reason
            if closing.status is JobStatus.STOPPED and not job.has_one_finish:
                why = common_rejection(db, number)
                reason += f" Most common rejection: {why}." if why else ""
            end_job(db, number, closing.status, reason=reason, is_final=closing.is_final)
            return reason

        reason = await self._store.commit(change)
        self._emit(JobEnded(job_id=job.job.id, status=closing.status, reason=reason))
