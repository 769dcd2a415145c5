"""Batch jobs on their way: looked for, asked, downloaded, and settled line by line."""

from __future__ import annotations

import logging
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from nanobatch.backend import BatchState, lines_of
from nanobatch.backend.faults import NOT_FOUND
from nanobatch.checkpoint.batches import (
    BatchPhase,
    answered_calls,
    awaited_calls,
    batches_on_their_way,
    count_awaited,
    mark_batch,
)
from nanobatch.checkpoint.changes import now_micros
from nanobatch.checkpoint.disk import create_folder, disk_errors
from nanobatch.errors import (
    AccountError,
    BadRequestError,
    ModelGoneError,
    ProviderError,
    TransientError,
)
from nanobatch.pipeline.batch.shard import call_of
from nanobatch.pipeline.batch.tidying import Tidier
from nanobatch.pipeline.control import Ended, RunStopped
from nanobatch.pipeline.events import BatchJobChanged

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    from nanobatch.backend import BatchBackend, BatchJob, BatchLine
    from nanobatch.checkpoint import Store
    from nanobatch.checkpoint.batches import AwaitedCall, BatchRow
    from nanobatch.pipeline.batch.delivering import Delivery
    from nanobatch.pipeline.batch.searching import Search
    from nanobatch.pipeline.control import Control
    from nanobatch.pipeline.events import Event
    from nanobatch.pipeline.purse import Purse
    from nanobatch.policy import BatchOptions

__all__ = ["Collector"]

_log = logging.getLogger("nanobatch")

STUCK_SECONDS = 49 * 3600.0
"""After how long a job that is not done is cancelled: the provider lets it expire at 48 hours.

Source: reference page "Gemini image API: facts" 2.5, collected 2026-11-23.
"""
HTTP_NOT_FOUND = 404

LEAVE_SECONDS = 0.25
"""How often a run that is to be left sees whether it may be; that asks nobody outside."""


class Collector:
    """Brings in what batch jobs have done, in this run's or an earlier one's order."""

    def __init__(
        self,
        backend: BatchBackend,
        *,
        store: Store,
        purse: Purse,
        delivery: Delivery,
        search: Search,
        options: BatchOptions,
        control: Control,
        emit: Callable[[Event], object],
    ) -> None:
        self._backend = backend
        self._store = store
        self._purse = purse
        self._delivery = delivery
        self._search = search
        self._options = options
        self._control = control
        self._emit = emit
        self._tidier = Tidier(backend, store=store, control=control)
        self._cancelled: set[int] = set()
        self._turn = anyio.Lock()

    async def take_over(self) -> int:
        """Reserve again what earlier runs have ordered; return how many jobs are on their way."""
        rows = await self._rows()
        for row in rows:
            for one in await self._store.commit(_calls_of(row)):
                self._purse.take_over(one.worst_nano)
            await self._tell(row, row.told or row.phase)
        return len(rows)

    async def work(self, *, is_quiet: Callable[[], bool]) -> None:
        """Look at the jobs again and again until the run ends.

        Args:
            is_quiet: Whether nothing else is going on, so that a run may be left.
        """
        leave_at = float("inf")
        if self._options.max_wait_seconds is not None:
            leave_at = anyio.current_time() + self._options.max_wait_seconds
        try:
            await anyio.to_thread.run_sync(create_folder, self._store.files.batches)
            while True:
                left = await self.look()
                if left and anyio.current_time() >= leave_at and is_quiet():
                    self._control.stop(
                        Ended.WAITING,
                        f"{left} batch job{'s are' if left > 1 else ' is'} on the way: run again "
                        f"to collect what {'they bring' if left > 1 else 'it brings'}.",
                    )
                with self._control.waiting():
                    await self._until_next_look(leave_at, is_quiet=is_quiet)
        except RunStopped:
            pass
        except Exception as error:  # noqa: BLE001 - raised again when all workers are done
            self._control.abort(error)

    async def _until_next_look(self, leave_at: float, *, is_quiet: Callable[[], bool]) -> None:
        """Wait for as long as the caller said, or only until the run may be left."""
        look_at = anyio.current_time() + self._options.poll_seconds
        while (left := look_at - anyio.current_time()) > 0:
            until_leaving = leave_at - anyio.current_time()
            if until_leaving <= 0 and is_quiet() and await self._rows():
                return
            await anyio.sleep(min(left, max(until_leaving, LEAVE_SECONDS)))

    async def look(self) -> int:
        """Look at every job once; return how many are still on their way.

        Raises:
            RunStopped: The run ends.
        """
        async with self._turn:
            rows = await self._rows()
            await self._look_for([row for row in rows if row.phase is BatchPhase.CREATING])
            for row in rows:
                if row.phase is BatchPhase.RUNNING:
                    await self._ask(row)
                elif row.phase is BatchPhase.COLLECTED:
                    await self._tidier.tidy(row)
            return len(await self._rows())

    async def tidy_up(self) -> None:
        """Delete the files of what is collected, also when the run ends.

        Raises:
            RunStopped: The run ends, and calls do not work any more.
        """
        async with self._turn:
            for row in await self._rows():
                if row.phase is BatchPhase.COLLECTED:
                    await self._tidier.tidy(row)

    async def _rows(self) -> list[BatchRow]:
        rows = await self._store.commit(batches_on_their_way)
        return [row for row in rows if self._search.concerns(row)]

    async def _look_for(self, rows: list[BatchRow]) -> None:
        """Look for jobs whose creation nobody confirmed, before anything is ordered anew."""
        if not rows:
            return
        try:
            with self._control.waiting():
                found = await self._search.find({row.name for row in rows})
        except ProviderError as fault:
            self._take(fault)
            return
        for row in rows:
            job = found.get(row.name)
            if job is not None:
                await self._adopt(row, job)
            elif self._search.is_hopeless(row):
                await self._give_up(row)

    async def _adopt(self, row: BatchRow, job: BatchJob) -> None:
        await self._store.commit(
            lambda db: mark_batch(db, row.number, BatchPhase.RUNNING, job=job.name, told=job.state)
        )
        await self._tell(row, job.state, name=job.name)

    async def _give_up(self, row: BatchRow) -> None:
        fault = TransientError(
            "Nobody knows whether the batch job of this slot was created: the answer was lost, and "
            "the provider does not list it. If it was, the bill has it.",
            kind="batch_lost",
            is_unknown_money=True,
        )
        for one in await self._store.commit(_calls_of(row)):
            await self._delivery.settle(one.call, batch=row.number, fault=fault)
        with suppress(TransientError):
            await self._tidier.delete(row.input_file)
        await self._store.commit(lambda db: mark_batch(db, row.number, BatchPhase.LOST))
        await self._tell(row, "lost")

    async def _ask(self, row: BatchRow) -> None:
        """Ask how a job stands; bring in what it did if it is over."""
        try:
            with self._control.waiting():
                job = await self._backend.get_batch(row.job)
        except ProviderError as fault:
            self._take(fault, of=row)
            return
        if job.state != row.told:
            await self._store.commit(
                lambda db: mark_batch(db, row.number, BatchPhase.RUNNING, told=job.state)
            )
            await self._tell(row, job.state)
        if job.state.is_over:
            await self._collect(row, job)
        elif now_micros() - row.at > STUCK_SECONDS * 1e6 and row.number not in self._cancelled:
            _log.warning("%s is not done after two days: it is cancelled.", row.job)
            self._cancelled.add(row.number)
            with suppress(ProviderError):
                await self._backend.cancel_batch(row.job)

    async def _collect(self, row: BatchRow, job: BatchJob) -> None:
        """Settle every line of a results file, and every call that has none."""
        results = self._store.files.results_of(row.name)
        if job.output_file is not None and not results.exists():
            try:
                with (
                    self._control.waiting(),
                    disk_errors(results.parent, self._store.files.root),
                ):
                    await self._backend.download_results(job.output_file, results)
            except ProviderError as fault:
                # The same key was just told how the job stands, so the file is not a stranger's.
                if fault.kind != NOT_FOUND.kind:
                    self._take(fault)
                    return
                _log.warning("The results of %s are gone: %s", row.job, fault)
        if results.exists():
            await self._read(row, results)
        await self._close(row, job)
        await self._store.commit(lambda db: mark_batch(db, row.number, BatchPhase.COLLECTED))
        await self._tell(row, "collected")
        await self._tidier.tidy(row, job)

    async def _read(self, row: BatchRow, results: Path) -> None:
        lines = lines_of(results)
        seen: set[int] = set()
        account: AccountError | None = None
        while True:
            with disk_errors(results.parent, self._store.files.root):
                line = await anyio.to_thread.run_sync(lambda: next(lines, None))
            if line is None:
                break
            if self._control.is_stopping:
                raise RunStopped
            with self._control.in_flight():
                read = await anyio.to_thread.run_sync(self._backend.read_line, line)
                call = call_of(read.key, row.name)
                if call is None or call in seen:
                    await self._set_aside(row, line, read, is_twice=call is not None)
                    continue
                seen.add(call)
                await self._delivery.settle(
                    call, batch=row.number, reply=read.reply, fault=read.fault
                )
                if isinstance(read.fault, AccountError):
                    account = read.fault
        if account is not None:  # only now: what is paid for is brought in first
            self._control.stop(Ended.ACCOUNT, str(account))

    async def _set_aside(
        self, row: BatchRow, line: bytes, read: BatchLine, *, is_twice: bool
    ) -> None:
        """Keep a line that is nobody's answer; it is not judged, and nothing is bought for it."""
        what = "answers a slot a second time" if is_twice else "answers no slot of the job"
        files = self._store.files
        name = f"{row.name}-{sha256(line).hexdigest()[:16]}"  # the same if it is read again
        await anyio.to_thread.run_sync(files.set_aside, name, line)
        _log.warning(
            "A line of %s %s (key %r): it is kept as quarantine/%s.bin.",
            row.job,
            what,
            (read.key or "")[:80],
            name,
        )

    async def _close(self, row: BatchRow, job: BatchJob) -> None:
        """Settle the calls without a line: free if the job's own count says so."""
        left = await self._store.commit(_calls_of(row))
        if not left:
            return
        answered = await self._store.commit(lambda db: answered_calls(db, row.number))
        if job.succeeded is not None:
            is_unknown = job.succeeded > answered
        else:
            is_unknown = job.state in (BatchState.SUCCEEDED, BatchState.CANCELLED)
        why = f": {job.error_message}" if job.error_message else ""
        fault = TransientError(
            f"The batch job {job.name} ended as {job.state} without an answer for this slot{why}",
            kind=f"batch_{job.state}",
            is_unknown_money=is_unknown,
        )
        for one in left:
            if self._control.is_stopping:
                raise RunStopped
            await self._delivery.settle(one.call, batch=row.number, fault=fault)

    def _take(self, fault: ProviderError, *, of: BatchRow | None = None) -> None:
        """Go on after a fault of a call that is free, or end the run if its owner has to act."""
        if of is not None and (isinstance(fault, ModelGoneError) or fault.status == HTTP_NOT_FOUND):
            self._control.stop(
                Ended.ACCOUNT,
                f"The provider does not know the batch job {of.job} of this checkpoint. Run with "
                "the key of the account that created it, or, if it was deleted there, wait no "
                f"longer with checkpoint.give_up({of.job!r}, reason). ({fault})",
            )
        elif isinstance(fault, AccountError | BadRequestError):
            self._control.stop(Ended.ACCOUNT, str(fault))
        else:
            _log.info("The batch service did not answer: %s", fault)

    async def _tell(self, row: BatchRow, state: str, *, name: str | None = None) -> None:
        slots = await self._store.commit(lambda db: count_awaited(db, row.number))
        self._emit(
            BatchJobChanged(
                name=row.job if name is None else name,
                model_id=row.model_id,
                slots=slots,
                state=state,
            )
        )


def _calls_of(row: BatchRow) -> Callable[[sqlite3.Connection], list[AwaitedCall]]:
    return lambda db: awaited_calls(db, row.number)
