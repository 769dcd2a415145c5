"""One batch job as the simulator keeps it, and the Operation that the wire shows of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.simulator.batch.lines import InputLine
    from nanobatch.simulator.batch.settings import End
    from nanobatch.simulator.catalogue import Drawer

__all__ = ["ENDED", "Done", "Job"]

_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"

ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"})
"""States that no job leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One line that was worked on; its result waits in the work file."""

    line: InputLine
    """The line."""

    bill_number: int
    """Of its line on the bill."""

    is_error: bool
    """Whether the result is an error."""

    offset: int
    """Where the result begins in the work file, in bytes."""

    size_bytes: int
    """How long it is."""


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One batch job; read it, do not change it."""

    name: str
    """`batches/...`."""

    display_name: str
    """As the client called it; may be empty, and several jobs may share it."""

    drawer: Drawer
    """Its model."""

    version: str
    """`v1` or `v1beta`, as in the request that created it."""

    end: End
    """What becomes of it unless it is cancelled."""

    lines: tuple[InputLine, ...]
    """Its lines, in the order of the input."""

    input_file: str
    """`files/...`; empty for inline requests."""

    input_path: Path
    """The simulator's own copy of the lines."""

    work_path: Path
    """Where results are kept until the job ends."""

    begun: float
    """When it was created, on the clock of the schedule."""

    state: str = "PENDING"
    """`PENDING`, `RUNNING`, `SUCCEEDED`, `FAILED`, `CANCELLED` or `EXPIRED`."""

    polls: int = 0
    """How often it was asked for."""

    lists: int = 0
    """How often the list of jobs was asked for since it was created."""

    done: list[Done] = field(default_factory=list[Done])
    """Lines worked on so far."""

    error: dict[str, Any] | None = None
    """Why the whole job failed."""

    results_file: str = ""
    """`files/...`; empty while there is none, and for inline results."""

    inline_path: Path | None = None
    """The results of inline requests."""

    cancel_polls_left: int | None = None
    """Answers that still show a cancelled job as it was; `None` if it is not cancelled."""

    is_hurried: bool = False
    """Whether its time is over, whatever the schedule says."""

    is_deleted: bool = False
    """Whether the client has deleted it."""

    failed_gets: int = 0
    """How often it could not be shown because its inline results are too large."""

    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When it was created, UTC."""

    updated: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When it last changed, UTC."""

    ended: datetime | None = None
    """When it ended, UTC."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    """Held by who moves it on."""

    @property
    def model(self) -> str:
        """Id of its model."""
        return self.drawer.id

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of its lines, in the order of the input; those without one are left out."""
        return tuple(line.key for line in self.lines if line.key)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in ENDED

    def move(self, state: str) -> None:
        """Enter another state."""
        self.state = state
        self.updated = datetime.now(UTC)
        if self.is_over:
            self.ended = self.updated

    def wire(self, *, output: dict[str, Any] | None) -> dict[str, Any]:
        """Return the Operation."""
        failed = sum(done.is_error for done in self.done)
        counts = {
            "requestCount": len(self.lines),
            "successfulRequestCount": len(self.done) - failed,
            "failedRequestCount": failed,
            "pendingRequestCount": len(self.lines) - len(self.done),
        }
        metadata: dict[str, Any] = {
            "@type": _TYPE,
            "model": f"models/{self.model}",
            "displayName": self.display_name,
            "createTime": _time(self.created),
            "updateTime": _time(self.updated),
            "inputConfig": {"fileName": self.input_file} if self.input_file else {"requests": {}},
            "batchStats": {name: str(count) for name, count in counts.items()},
            "state": f"BATCH_STATE_{self.state}",
            "name": self.name,
        }
        operation: dict[str, Any] = {"name": self.name, "metadata": metadata}
        if self.ended is None:
            return operation
        metadata["endTime"] = _time(self.ended)
        operation["done"] = True
        if self.error is not None:
            operation["error"] = self.error
        if output is not None:
            metadata["output"] = output
            operation["response"] = {"@type": f"{_TYPE}Output", **output}
        return operation


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
