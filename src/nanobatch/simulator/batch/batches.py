"""All batch jobs of one simulator: creates them, moves them on, shows, cancels and deletes them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from nanobatch.simulator.batch.job import Job
from nanobatch.simulator.batch.lines import index_lines, write_lines
from nanobatch.simulator.batch.results import inline_output, write_results
from nanobatch.simulator.batch.settings import End
from nanobatch.simulator.batch.work import Worker
from nanobatch.simulator.chance import digest
from nanobatch.simulator.problem import Problem, deadline_passed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anyio.abc import TaskGroup

    from nanobatch.simulator.artist import Artist
    from nanobatch.simulator.batch.settings import Settings
    from nanobatch.simulator.bill import Bill
    from nanobatch.simulator.catalogue import Drawer
    from nanobatch.simulator.files import Files

__all__ = ["Batches"]

_TICK_SECONDS = 0.05


class Batches:
    """The batch jobs of one simulator, and what a test may want to know of them."""

    def __init__(
        self,
        settings: Settings,
        *,
        seed: int,
        artist: Artist,
        bill: Bill,
        files: Files,
        report: Callable[[Exception], None],
    ) -> None:
        self._settings = settings
        self._seed = seed
        self._bill = bill
        self._files = files
        self._report = report
        self._worker = Worker(artist, bill, settings, seed=seed)
        self._jobs: dict[str, Job] = {}
        self._tasks: TaskGroup | None = None

    def __repr__(self) -> str:
        """Show how many there are."""
        return f"Batches(jobs={len(self._jobs)}, running={self.running})"

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs ever created, deleted ones too, oldest first."""
        return tuple(self._jobs.values())

    @property
    def running(self) -> int:
        """Jobs that are pending or running."""
        return sum(not job.is_over for job in self._jobs.values())

    @property
    def keys_submitted_twice(self) -> frozenset[str]:
        """Keys that stand on more than one line, over all jobs."""
        return _repeated(key for job in self._jobs.values() for key in job.keys)

    @property
    def keys_executed_twice(self) -> frozenset[str]:
        """Keys that were worked on more than once, over all jobs, whatever came of it."""
        return _repeated(line.key for line in self._bill.lines if line.key)

    @property
    def keys_billed_twice(self) -> frozenset[str]:
        """Keys that cost something more than once, over all jobs."""
        return _repeated(line.key for line in self._bill.lines if line.key and line.nano_usd)

    @property
    def uploads_left(self) -> tuple[str, ...]:
        """Names of uploaded files that nobody has deleted, oldest first."""
        return tuple(file.name for file in self._files if not file.is_generated)

    @property
    def results_left(self) -> tuple[str, ...]:
        """Names of result files that nobody has deleted, oldest first."""
        return tuple(file.name for file in self._files if file.is_generated)

    async def finish(self) -> None:
        """Let the time of all jobs pass now: each comes to its end, except those that are stuck.

        What a client has left behind costs money too: call this before comparing with the bill,
        and while the simulator is open.
        """
        for job in self.jobs:
            job.is_hurried = True
            if job.cancel_polls_left:
                job.cancel_polls_left = 0
            await self._move_on(job)

    def expire_files(self) -> None:
        """Let two days pass for all files, results included: they are gone."""
        self._files.expire()

    # What follows is for the simulator itself.

    def open(self, tasks: TaskGroup) -> None:
        """Let jobs run in the background from now on."""
        self._tasks = tasks

    async def create(
        self,
        drawer: Drawer,
        *,
        display_name: str,
        version: str,
        file_name: str = "",
        requests: Iterable[object] = (),
    ) -> Job:
        """Create a job from a file, or from inline requests if no file is named.

        Raises:
            Problem: There is no such file, nothing in it, or there are too many jobs.
        """
        if self.running >= self._settings.max_jobs:
            raise Problem(429, "Resource has been exhausted (e.g. check quota).")
        nth = len(self._jobs)
        job_id = digest(self._seed, "batch", nth)
        path = self._files.place(f"input-{job_id}")
        if file_name:
            self._files.copy(file_name, path)
        else:
            write_lines(path, requests)
        lines = index_lines(path)
        if not lines:
            raise Problem(400, "The batch has no requests.")
        job = Job(
            name=f"batches/{job_id}",
            display_name=display_name,
            drawer=drawer,
            version=version,
            end=self._settings.end_of(nth),
            lines=lines,
            input_file=file_name,
            input_path=path,
            work_path=self._files.place(f"work-{job_id}"),
            begun=self._settings.schedule.now(),
        )
        job.work_path.touch()
        self._jobs[job.name] = job
        if self._settings.schedule.goes_by_itself and self._tasks is not None:
            self._tasks.start_soon(self._run, job)
        return job

    async def poll(self, name: str) -> dict[str, Any]:
        """Return the Operation of a job, after the work that is due.

        Raises:
            Problem: There is no such job, or its results are too large to be shown.
        """
        job = self._find(name)
        if job.cancel_polls_left:
            job.cancel_polls_left -= 1
        elif job.cancel_polls_left == 0 or not self._settings.schedule.goes_by_itself:
            await self._move_on(job)
        job.polls += 1
        return self.show(job)

    def show(self, job: Job) -> dict[str, Any]:
        """Return the Operation of a job as it is.

        Raises:
            Problem: Its inline results are too large to be shown.
        """
        if job.inline_path is None:
            output = {"responsesFile": job.results_file} if job.results_file else None
            return job.wire(output=output)
        if job.inline_path.stat().st_size > self._settings.max_inline_result_bytes:
            job.failed_gets += 1
            if job.failed_gets == 1:
                raise Problem(503, "The service is currently unavailable.")
            raise deadline_passed()
        drops_metadata = self._settings.drops_metadata
        return job.wire(output=inline_output(job, job.inline_path, drops_metadata=drops_metadata))

    def list(self, *, first: int, count: int) -> tuple[list[dict[str, Any]], bool]:
        """Return a page of the list, newest first, without results, and whether more follow."""
        shown: list[Job] = []
        for job in reversed(self.jobs):
            if not job.is_deleted and job.lists >= self._settings.list_lag:
                shown.append(job)
            if first == 0:
                job.lists += 1
        page = [self._listed(job) for job in shown[first : first + count]]
        return page, first + count < len(shown)

    async def cancel(self, name: str) -> None:
        """Ask a job to stop; what it has done is billed.

        Raises:
            Problem: There is no such job.
        """
        job = self._find(name)
        if self._settings.heeds_cancel and job.cancel_polls_left is None:
            await self._move_on(job)  # what was due before the request is done
            job.cancel_polls_left = self._settings.cancel_polls
            await self._move_on(job)

    async def delete(self, name: str) -> None:
        """Delete a job; one that runs is stopped too, or goes on unseen.

        Raises:
            Problem: There is no such job.
        """
        job = self._find(name)
        if self._settings.delete_cancels:
            await self._move_on(job)
            job.cancel_polls_left = 0
            await self._move_on(job)
        job.is_deleted = True

    def _find(self, name: str) -> Job:
        job = self._jobs.get(name)
        if job is None or job.is_deleted:
            raise Problem(404, "Requested entity was not found.")
        return job

    def _listed(self, job: Job) -> dict[str, Any]:
        file = job.results_file
        return job.wire(output={"responsesFile": file} if file else None)

    async def _run(self, job: Job) -> None:
        """Move a job on until it ends."""
        while not job.is_over:
            await anyio.sleep(_TICK_SECONDS)
            try:
                await self._move_on(job)
            except Exception as failure:  # noqa: BLE001 - raised when the simulator closes
                self._report(failure)
                return

    async def _move_on(self, job: Job) -> None:
        """Do the work of a job that is due by now, and change its state accordingly."""
        async with job.lock:
            if job.is_over:
                return
            if job.cancel_polls_left is not None:
                if job.cancel_polls_left == 0:
                    await self._end(job, "CANCELLED")
                return
            schedule = self._settings.schedule
            share = schedule.share_done(begun=job.begun, polls=job.polls)
            if job.is_hurried:
                share = 1.0
            if share is None:
                return
            if job.state == "PENDING":
                if self._settings.bad_line == "job" and (bad := _bad_line(job)) is not None:
                    await self._end(job, "FAILED", problem=f"Invalid JSON in line {bad + 1}.")
                    return
                job.move("RUNNING")
            most = 1.0 if job.end is End.SUCCEEDED else self._settings.share_before_end
            await self._worker.work(job, until=int(len(job.lines) * min(share, most)))
            if share >= 1 and job.end is not End.STUCK:
                await self._end(job, job.end.value)

    async def _end(self, job: Job, state: str, *, problem: str = "") -> None:
        if state == "FAILED":
            job.error = {"code": 13, "message": "Internal error encountered."}
        if problem:
            job.error = {"code": 3, "message": problem}
        has_results = state == "SUCCEEDED" or (
            state == "CANCELLED" and self._settings.cancelled_results
        )
        if has_results:
            await self._write_results(job)
        job.move(state)
        job.input_path.unlink(missing_ok=True)
        job.work_path.unlink(missing_ok=True)

    async def _write_results(self, job: Job) -> None:
        name = job.name.removeprefix("batches/")
        path = self._files.place(f"results-{name}")

        def write() -> tuple[bytes, frozenset[int]]:
            return write_results(job, self._settings, path, seed=self._seed)

        sha256, written = await anyio.to_thread.run_sync(write)
        for number in written:
            self._bill.mark_answered(number, answered=True)
        if job.input_file:
            job.results_file = f"files/batch-{name}"
            self._files.add_result(job.results_file, path, display_name="", sha256=sha256)
        else:
            job.inline_path = path


def _bad_line(job: Job) -> int | None:
    """Return the number of the first line that is no JSON."""
    return next((line.number for line in job.lines if not line.is_json), None)


def _repeated(keys: Iterable[str]) -> frozenset[str]:
    return frozenset(key for key, count in Counter(keys).items() if count > 1)
