"""Starts and kills real runs against a simulator that outlives them."""

from __future__ import annotations

import json
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

import nanobatch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from anyio.abc import ByteSendStream

    from nanobatch.simulator import Simulator

__all__ = [
    "KILLED",
    "KILLS",
    "LOCKED",
    "SEED",
    "Order",
    "Report",
    "Run",
    "Told",
    "Zygote",
    "all_quiet",
    "show",
    "zygote",
]

KILLS = int(os.environ.get("NANOBATCH_CRASH_KILLS", "5"))
"""How often the growing batch is killed; the other tests follow it."""

SEED = int(os.environ.get("NANOBATCH_CRASH_SEED", "1"))
"""Another seed is another run of luck."""

KILLED = -9
"""Exit code of a process that was killed."""

LOCKED = 3
"""Exit code of a run that another process kept out."""

_ROOT = Path(__file__).parents[2]
_MAX_REPORT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one round is to do."""

    base_url: str
    folder: str
    jobs: list[dict[str, Any]]
    """The fields of each `Job`."""
    usd: str | None = None
    """The cap; none if `None`."""
    concurrency: int = 32
    patience: int = 20
    """Slots a job may use for its next passing candidate."""
    starters: int = 1
    """Processes that are given the order at the same moment."""
    kill_after_seconds: float | None = None
    kill_after_lines: int | None = None
    """Killed as soon as so many images were told of."""
    kill_at: tuple[str, int] | None = None
    """Killed by itself at the n-th of its steps of a name; see `steps`."""
    names_steps: bool = False
    """Whether it tells the names of its steps when it ends."""
    by_batch: bool = False
    """Whether it orders from batch jobs; it draws nothing at the full price then."""
    lost_after_seconds: float = 600.0
    """How long it looks for a job whose creation nobody confirmed."""
    kill_last: bool = False
    """Whether the last of several starters is killed as soon as it is alone."""


@dataclass(frozen=True, slots=True)
class Told:
    """An accepted image as the run told of it: from then on it must never be lost."""

    job: str
    number: int
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Run:
    """How one process ended, and what it told before."""

    code: int
    pid: int
    told: list[dict[str, Any]]

    @property
    def accepted(self) -> list[Told]:
        """The accepted images it told of."""
        return [
            Told(one["job"], one["number"], Path(one["path"]), one["sha256"])
            for one in self.told
            if one["kind"] == "accepted"
        ]

    @property
    def ended(self) -> str | None:
        """Why it ended, if it came to say so."""
        return next((str(one["ended"]) for one in self.told if one["kind"] == "ended"), None)

    @property
    def steps(self) -> list[str]:
        """The names of its steps in their order, if it was to tell them and came to its end."""
        return next((one["names"] for one in self.told if one["kind"] == "steps"), [])

    def check_that_it_was_killed_or_ended(self) -> None:
        """Refuse every other end: a run that raises proves nothing."""
        assert self.code == KILLED or self.ended is not None, self.told[-1:]


@dataclass(frozen=True, slots=True)
class Report:
    """How a round went."""

    runs: list[Run]
    seconds: float


class Zygote:
    """A process that has imported everything and forks the runs."""

    def __init__(self, orders: ByteSendStream, reports: BufferedByteReceiveStream) -> None:
        self._orders = orders
        self._reports = reports

    async def obey(self, order: Order, *, kill_when: anyio.Event | None = None) -> Report:
        """Have one order done; return when its last process is gone.

        Args:
            order: What to do.
            kill_when: Its processes are killed when this is set, at the latest.
        """

        async def kill(due: anyio.Event) -> None:
            await due.wait()
            await self._orders.send(b'"kill"\n')

        line: dict[str, Any] = {}
        await self._orders.send(json.dumps(asdict(order)).encode() + b"\n")
        async with anyio.create_task_group() as group:
            if kill_when is not None:
                group.start_soon(kill, kill_when)
            line = json.loads(await self._reports.receive_until(b"\n", _MAX_REPORT_BYTES))
            group.cancel_scope.cancel()
        runs = [Run(**run) for run in line["runs"]]
        return Report(runs=runs, seconds=line["seconds"])

    async def run(self, order: Order, *, kill_when: anyio.Event | None = None) -> Run:
        """Have an order done by one process; see `obey`."""
        [run] = (await self.obey(order, kill_when=kill_when)).runs
        run.check_that_it_was_killed_or_ended()
        return run


@asynccontextmanager
async def zygote() -> AsyncGenerator[Zygote]:
    """Start a zygote, which runs the very nanobatch that is imported here."""
    sources = [str(_ROOT), str(Path(nanobatch.__file__).parents[1])]
    command = [sys.executable, "-m", "tests.crash.zygote"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sources)}
    async with await anyio.open_process(
        command, cwd=_ROOT, env=environment, stderr=None
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Zygote(process.stdin, BufferedByteReceiveStream(process.stdout))
        await process.stdin.aclose()  # it ends with its orders
        assert await process.wait() == 0


async def all_quiet(server: Simulator) -> None:
    """Wait until the simulator has read and charged everything that dead runs have sent.

    Connections are accepted in their order: when a later one is answered, all of them were.
    """
    address = server.base_url.removeprefix("http://")
    host, _, port = address.rpartition(":")
    before = -1
    while server.bill.in_flight or server.bill.requests != before:
        before = server.bill.requests
        async with await anyio.connect_tcp(host, int(port)) as stream:
            await stream.send(
                b"GET /v1beta/models HTTP/1.1\r\nHost: " + address.encode() + b"\r\n"
                b"x-goog-api-key: simulated\r\nConnection: close\r\n\r\n"
            )
            async for _ in stream:
                pass


def show(figures: str) -> None:
    """Print what was measured; `pytest -s` shows it."""
    sys.stdout.write(f"\n{figures}\n")
