"""Works on the lines of a batch job with the same means as on calls, and bills half."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

from nanobatch.simulator.artist import PAINTERS
from nanobatch.simulator.batch.job import Done
from nanobatch.simulator.batch.lines import read_line
from nanobatch.simulator.batch.settings import picks
from nanobatch.simulator.problem import Problem

if TYPE_CHECKING:
    from nanobatch.simulator.answer import Answer
    from nanobatch.simulator.artist import Artist
    from nanobatch.simulator.batch.job import Job
    from nanobatch.simulator.batch.lines import InputLine
    from nanobatch.simulator.batch.settings import Settings
    from nanobatch.simulator.bill import Bill
    from nanobatch.simulator.studio import Content, Studio

__all__ = ["Worker"]

_OK = 200
_CODES = {
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "UNAUTHENTICATED": 16,
}
"""`google.rpc.Code`, https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto."""


@dataclass(frozen=True, slots=True)
class _Result:
    """What stands in the results for one line."""

    is_error: bool
    json: bytes


@dataclass(slots=True, kw_only=True)
class _Started:
    """One line on its way from the input to the results."""

    line: InputLine
    number: int
    studio: Studio | None = None
    answer: Answer | None = None
    result: _Result = _Result(is_error=False, json=b"")


class Worker:
    """Does the lines of jobs."""

    def __init__(self, artist: Artist, bill: Bill, settings: Settings, *, seed: int) -> None:
        self._artist = artist
        self._bill = bill
        self._settings = settings
        self._seed = seed

    async def work(self, job: Job, *, until: int) -> None:
        """Do the lines of a job, in their order, until so many are done.

        Raises:
            Exception: What the `answer` function raised.
        """
        while len(job.done) < until:
            first = len(job.done)
            started = [
                self._start(job, line) for line in job.lines[first : min(first + PAINTERS, until)]
            ]
            failures: list[Exception] = []
            async with anyio.create_task_group() as tasks:
                for one in started:
                    tasks.start_soon(self._finish, one, failures)
            if failures:
                raise failures[0]
            _keep(job, started)

    def _start(self, job: Job, line: InputLine) -> _Started:
        """Read one line and decide what it gets, which depends on the order of the lines."""
        number = self._bill.open_batch_line(job.model, batch=job.name, key=line.key)
        one = _Started(line=line, number=number)
        if picks(self._settings.item_errors, line.key, self._seed, "item error", job.name):
            code, message = self._settings.item_error
            self._bill.charge(number, status=None, usage=None)
            one.result = _error(code, message)
            return one
        try:
            one.studio = self._artist.read(
                read_line(job.input_path, line),
                job.drawer,
                number=number,
                version=job.version,
                batch=job.name,
                key=line.key,
            )
        except Problem as refused:
            one.result = self._refused(number, refused)
            return one
        self._bill.read(number, prompt=one.studio.call.prompt)
        one.answer = self._artist.decide(one.studio)
        return one

    async def _finish(self, one: _Started, failures: list[Exception]) -> None:
        """Draw what a line gets; the bill is charged here. Failures stay out of the task group."""
        if one.answer is None or one.studio is None:
            return
        try:
            content = await self._artist.draw(one.answer, one.studio)
        except Problem as refused:
            one.result = self._refused(one.number, refused)
        except Exception as failure:  # noqa: BLE001 - raised again by the caller
            failures.append(failure)
        else:
            self._bill.charge(one.number, status=one.answer.status, usage=content.usage)
            one.result = _result(one.answer.status, content)

    def _refused(self, number: int, refused: Problem) -> _Result:
        self._bill.charge(number, status=refused.status, usage=None)
        return _error(_CODES.get(refused.word, 2), refused.message)


def _result(status: int | None, content: Content) -> _Result:
    if status is None:  # there is no connection here that could break
        return _error(_CODES["UNAVAILABLE"], "The service is currently unavailable.")
    if status // 100 == _OK // 100:
        return _Result(is_error=False, json=content.body.replace(b"\n", b" "))
    try:
        said: dict[str, Any] = json.loads(content.body)["error"]
        return _error(_CODES.get(str(said["status"]), 2), str(said["message"]))
    except (ValueError, KeyError, TypeError):
        return _error(_CODES["INTERNAL"], "Internal error encountered.")


def _error(code: int, message: str) -> _Result:
    return _Result(is_error=True, json=json.dumps({"code": code, "message": message}).encode())


def _keep(job: Job, group: list[_Started]) -> None:
    """Write results to the work file; at every moment it holds what the job says is done."""
    with job.work_path.open("ab") as file:
        for one in group:
            offset = file.tell()
            file.write(one.result.json)
            job.done.append(
                Done(
                    line=one.line,
                    bill_number=one.number,
                    is_error=one.result.is_error,
                    offset=offset,
                    size_bytes=len(one.result.json),
                )
            )
