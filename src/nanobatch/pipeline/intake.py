"""The input of a run: any iterable or async iterable of jobs, read lazily, and their references."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import TYPE_CHECKING, TypeAlias, cast

import anyio
import anyio.lowlevel

from nanobatch.errors import ConfigError, JobError
from nanobatch.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anyio.abc import TaskGroup

__all__ = ["Intake", "Jobs", "checked_job", "checked_jobs", "read_references"]

Jobs: TypeAlias = "Iterable[Job] | AsyncIterable[Job]"
"""What a run takes: any iterable or async iterable, read lazily."""

READ_AHEAD = 32
"""Jobs taken from a sync input at a time: one transaction writes them all down."""
READ_AHEAD_SECONDS = 0.1
"""How long one portion is read; a slow input gives smaller ones."""
TURN_SECONDS = 0.002
"""How long it reads in one go."""


class Intake:
    """Gives out the jobs of an input in small portions.

    An async input is read by one task of its own from beginning to end: a generator may hold
    cancel scopes, which belong to the task that opened them.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._sync: Iterator[Job] = iter(())
        self._async: AsyncIterable[Job] | None = None
        if isinstance(jobs, AsyncIterable):
            self._async = jobs
        else:
            self._sync = iter(jobs)
        self._send, self._receive = anyio.create_memory_object_stream["Job"](0)
        self._error: Exception | None = None

    def start(self, group: TaskGroup) -> None:
        """Begin to read an async input; it ends with the group."""
        if self._async is not None:
            group.start_soon(self._pump, self._async)

    async def portion(self) -> list[Job]:
        """Return the next jobs; none: the input is at its end.

        Raises:
            Exception: What the input raised.
        """
        if self._async is None:
            return await self._read_sync()
        try:
            return [await self._receive.receive()]
        except anyio.EndOfStream:
            if self._error is not None:
                raise self._error from None
            return []

    def close(self) -> None:
        """Take nothing more."""
        self._send.close()
        self._receive.close()

    async def _read_sync(self) -> list[Job]:
        """Read a portion; every few milliseconds, whatever has come in meanwhile has its turn.

        An input that works for each job would otherwise hold up answers to beyond their deadline.
        What it gave before an error comes first.
        """
        if self._error is not None:
            raise self._error
        portion: list[Job] = []
        now = anyio.current_time()
        until, turn_at = now + READ_AHEAD_SECONDS, now + TURN_SECONDS
        try:
            for job in self._sync:
                portion.append(checked_job(job))
                now = anyio.current_time()
                if len(portion) == READ_AHEAD or now >= until:
                    break
                if now >= turn_at:
                    await anyio.lowlevel.checkpoint()
                    turn_at = anyio.current_time() + TURN_SECONDS
        except Exception as error:
            if not portion:
                raise
            self._error = error
        return portion

    async def _pump(self, jobs: AsyncIterable[Job]) -> None:
        iterator = aiter(jobs)
        try:
            async for job in iterator:
                await self._send.send(checked_job(job))
        except Exception as error:  # noqa: BLE001 - raised where the jobs are taken
            self._error = error
        except anyio.get_cancelled_exc_class():
            await anyio.lowlevel.checkpoint_if_cancelled()  # somebody ends the run
            self._error = RuntimeError("The input of jobs was cancelled by something inside it.")
        finally:
            self._send.close()
            aclose = getattr(iterator, "aclose", None)
            if aclose is not None:
                await aclose()  # in no scope of ours: the generator's own must be the innermost


def checked_jobs(jobs: object) -> Jobs:
    """Return what can be read as an input of jobs.

    Raises:
        ConfigError: It cannot; perhaps it is one job.
    """
    if isinstance(jobs, Job | str) or not isinstance(jobs, Iterable | AsyncIterable):
        raise ConfigError(
            f"A run takes many jobs, a list or a generator of them, not {_a(jobs)}: "
            "for one job write [job]."
        )
    return cast("Jobs", jobs)


def checked_job(job: object) -> Job:
    """Return what an input gave if it is a job.

    Raises:
        ConfigError: It is something else.
    """
    if not isinstance(job, Job):
        raise ConfigError(
            f"The input holds {_a(job)} where a Job is needed: write Job(id=..., prompt=...), "
            "or read a file with nanobatch.read_jobs."
        )
    return job


def _a(thing: object) -> str:
    name = type(thing).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def read_references(job: Job) -> tuple[bytes, ...]:
    """Return the reference images of a job.

    Raises:
        JobError: One of them cannot be read.
    """
    return tuple(_read_reference(job, path) for path in job.references)


def _read_reference(job: Job, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise JobError(
            f"Job {job.id!r}: the reference {path} cannot be read: {error.strerror}.",
            job_id=job.id,
        ) from error
