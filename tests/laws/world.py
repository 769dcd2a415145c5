"""One checkpoint with everything around it: the jobs, the budget, the painter, and the oracle."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import anyio

from nanobatch import (
    Budget,
    CallSettled,
    Checkpoint,
    CheckpointError,
    FilterError,
    ImageAccepted,
    Job,
    JobStarted,
    Retry,
    StopRule,
    TwoTierPipeline,
)
from tests.laws.dying import dies_at
from tests.laws.ledger_model import Found, LedgerModel
from tests.laws.one_thread import one_thread
from tests.laws.painter import LITE, QUALITY, Diary, Eye, Painter, PainterSlippedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from nanobatch import CheckpointReader, Event, RunResult

SOON = Retry(tries=2, first_wait_seconds=1e-12, max_wait_seconds=1e-12)
"""Below the resolution of the event loop's clock: the next turn, always."""
STOP = StopRule(slots_per_accepted=3, hopeless_slots=8)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What one run meets and how it is set up."""

    weather: str = "fine"
    seed: int = 0
    concurrency: int = 2
    tired: float = 0.0
    """How often the eye fails."""
    keep_rejected: Any = "none"
    finish_fallback: bool = False
    is_stream: bool = False
    """Whether the jobs come from an async generator."""


@dataclass(kw_only=True)
class World:
    """What a history acts on. Amounts are whole nano-dollars."""

    judge_usd: Decimal = Decimal(0)
    has_threads: bool = False
    """Whether worker threads are real ones."""
    folder: Path = field(default_factory=lambda: Path(mkdtemp(dir=_memory())))
    model: LedgerModel = field(default_factory=LedgerModel)
    jobs: dict[str, Job] = field(default_factory=dict[str, Job])
    """The input."""
    refused: set[str] = field(default_factory=set[str])
    """Prompts nobody may ask for again."""
    budget: Budget = field(default_factory=Budget.unlimited)

    def __post_init__(self) -> None:
        self.root = self.folder / "run"
        self.diary = Diary(self.folder / "diary")

    def close(self) -> None:
        self.diary.close()
        shutil.rmtree(self.folder)

    def run(self, conditions: Conditions, *, cancel_after: int | None = None) -> RunResult | None:
        """Run to the end, or until it was cancelled after so many events (`None`)."""
        self.model.allow(self.budget.nano_usd)
        try:
            return self._run(conditions, cancel_after=cancel_after)
        finally:
            self.news = self.diary.news()
            self.model.live(self.news)

    def run_and_die(self, conditions: Conditions, *, step: int) -> bool:
        """Run in a process of its own, killed at a step; return whether it came to that."""
        self.model.allow(self.budget.nano_usd)

        def work(count: Callable[[], None]) -> None:
            with suppress(PainterSlippedError, FilterError):  # they may end any run
                self._run(conditions, on_send=count)

        is_killed = dies_at(step, work)
        self.news = self.diary.news()
        if is_killed:
            asked = {job.id: job.want for job in self.jobs.values()}
            at_once = conditions.concurrency * (1 + 2 * bool(self.judge_usd))
            self.model.survive(self.news, self.found(), asked=asked, at_once=at_once)
        else:
            self.model.live(self.news)
        return is_killed

    def found(self) -> Found:
        """Return what the checkpoint says; nothing if a kill came before there was one."""
        try:
            with Checkpoint.read(self.root) as checkpoint:
                return found_in(checkpoint)
        except CheckpointError:
            assert not self.model.calls, "what was paid for is gone"
            return Found(confirmed=0, unknown=0, billed=0)

    def doubtful_calls(self) -> list[tuple[int, int, int, bool]]:
        """Return the calls in doubt that the bill can be asked about.

        Each with its number in the ledger, its number on the bill, its unknown money, and whether
        it was answered. The bill's number is in the fault, or in the image that came.
        """
        with closing(sqlite3.connect(self.root / "ledger.sqlite")) as db:
            rows = db.execute(
                "SELECT l.call, sum(l.unknown_nano), min(l.note), "
                "(SELECT c.sha256 FROM candidates c WHERE c.call = l.call) "
                "FROM ledger l WHERE l.kind = 'call' GROUP BY l.call HAVING sum(l.unknown_nano) > 0"
            ).fetchall()
        calls: list[tuple[int, int, int, bool]] = []
        for call, unknown, note, image in rows:
            if image is not None:
                calls.append((call, self.model.drawn[image][1], unknown, True))
            elif note.startswith("lost "):
                calls.append((call, int(note.split()[1]), unknown, False))
        return calls

    async def settle(self, call: int, usd: Decimal) -> None:
        async with Checkpoint.open(self.root) as checkpoint:
            checkpoint.settle(call, usd, "a look at the bill")

    def _run(
        self,
        conditions: Conditions,
        *,
        cancel_after: int | None = None,
        on_send: Callable[[], None] = lambda: None,
    ) -> RunResult | None:
        with nullcontext() if self.has_threads else one_thread(conditions.seed):
            return anyio.run(self._work, conditions, cancel_after, on_send)

    async def _work(
        self, conditions: Conditions, cancel_after: int | None, on_send: Callable[[], None]
    ) -> RunResult | None:
        accepted = self.model.accepted()
        painter = Painter(
            diary=self.diary,
            jobs={job.prompt: job for job in self.jobs.values()},
            accepted=accepted,
            refused=self.refused,
            weather=conditions.weather,
            seed=conditions.seed,
            first_number=len(self.model.calls),
            on_send=on_send,
            drawn=set(self.model.drawn),
        )
        eye = Eye(
            usd=self.judge_usd,
            diary=self.diary,
            seed=conditions.seed,
            failures=conditions.tired,
        )
        pipeline = TwoTierPipeline(
            painter,
            lite=LITE,
            quality=QUALITY,
            filters=[eye],
            checkpoint=self.root,
            budget=self.budget,
            concurrency=conditions.concurrency,
            retry=SOON,
            stop=STOP,
            keep_rejected=conditions.keep_rejected,
            finish_fallback=conditions.finish_fallback,
        )
        heard = 0

        def hear(event: Event) -> None:
            nonlocal heard
            heard += 1
            if isinstance(event, ImageAccepted):
                accepted[event.image.job_id] += 1
            self._write(event)
            if heard == cancel_after:
                scope.cancel()

        jobs = list(self.jobs.values())
        with anyio.CancelScope() as scope:
            return await pipeline.run(_stream(jobs) if conditions.is_stream else jobs, hear)
        return None

    def _write(self, event: Event) -> None:
        match event:
            case JobStarted():
                self.diary.write(kind="started", job=event.job_id, want=event.want)
            case CallSettled():
                confirmed = int(event.spend.confirmed_usd.scaleb(9))
                self.diary.write(kind="settled", confirmed=confirmed)
            case ImageAccepted():
                image = event.image
                self.diary.write(kind="accepted", job=image.job_id, image=image.sha256)
            case _:
                pass


def found_in(checkpoint: CheckpointReader) -> Found:
    """Return what a checkpoint says, and check that its files are what it says."""
    images: dict[str, str] = {}
    for image in checkpoint.images():
        assert hashlib.sha256(image.path.read_bytes()).hexdigest() == image.sha256
        assert image.sha256 not in images
        images[image.sha256] = image.job_id
    spend = checkpoint.spend
    return Found(
        confirmed=int(spend.confirmed_usd.scaleb(9)),
        unknown=int(spend.unknown_usd.scaleb(9)),
        billed=checkpoint.cost_model().calls or 0,
        images=images,
        wants={job.id: job.want for job in checkpoint.jobs()},
    )


async def _stream(jobs: Iterable[Job]) -> AsyncIterator[Job]:
    for job in jobs:
        await anyio.lowlevel.checkpoint()
        yield job


def _memory() -> Path | None:
    """Return a folder in memory if there is one: a kill takes nothing away that was written."""
    memory = Path("/dev/shm")  # noqa: S108 - its subfolder is made safely
    return memory if os.access(memory, os.W_OK) else None
