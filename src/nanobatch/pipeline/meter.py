"""Keeps the figures of a run up to date while it goes on, so that a snapshot costs no query."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

import anyio

from nanobatch.checkpoint import JobStatus, Spend
from nanobatch.cost import LedgerTotals
from nanobatch.cost.formula import Formula
from nanobatch.cost.running import RunningTotals
from nanobatch.cost.sample import Sample
from nanobatch.models.money import usd_of_nano
from nanobatch.pipeline.events import (
    BatchJobChanged,
    CallsPaused,
    ImageAccepted,
    JobEnded,
    JobStarted,
    RunEnding,
)
from nanobatch.pipeline.snapshot import Snapshot, Waiting

if TYPE_CHECKING:
    from nanobatch.checkpoint.changes import Settlement
    from nanobatch.pipeline.board import Board
    from nanobatch.pipeline.control import Ended
    from nanobatch.pipeline.events import Event
    from nanobatch.pipeline.quota import SlotQuota
    from nanobatch.policy import Budget, BudgetGate, Pacer, Permits

__all__ = ["Meter", "Parts"]

RATE_SECONDS = 120.0
"""How far back the rate of images looks: long enough that a pause of a minute is not the end."""

BATCH_JOB_IS_OVER = frozenset({"collected", "lost"})
"""States in which no slot waits for it any more."""

LEVEL = 0.95
"""How often an interval shown holds the true rate or cost, at every look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a run that know a figure themselves."""

    gate: BudgetGate
    permits: Permits
    pacer: Pacer
    board: Board
    quota: SlotQuota


@dataclass(slots=True)
class _OpenJob:
    want: int
    delivered: int


class Meter:
    """Hears what happens in one run and says at any time how it stands.

    Args:
        budget: The cap.
        max_concurrency: Most requests in flight.
        wanted: Images of all jobs, if they are known before they are read.
    """

    def __init__(self, *, budget: Budget, max_concurrency: int, wanted: int | None) -> None:
        self._budget_usd = budget.usd
        self._max_concurrency = max_concurrency
        self._wanted_in_all = wanted
        self._running = RunningTotals(LedgerTotals())
        self._parts: Parts | None = None
        self._began = anyio.current_time()
        self._open: dict[str, _OpenJob] = {}
        self._wanted = self._delivered = self._given_up = self._accepted = 0
        self._looks: deque[tuple[float, int]] = deque([(self._began, 0)])
        """When somebody looked, and how many images this run had accepted by then."""
        self._paused: dict[str, tuple[float, str]] = {}
        self._batch_jobs: dict[str, BatchJobChanged] = {}
        self._ended: Ended | None = None

    def begin(self, before: LedgerTotals, parts: Parts) -> None:
        """Begin to count.

        Args:
            before: What the ledger adds up to.
            parts: Where further figures come from.
        """
        self._running = RunningTotals(before)
        self._parts = parts

    def settled(self, settlement: Settlement) -> None:
        """Count a call or judgement whose cost is in the ledger."""
        self._running.add(
            settlement.slot,
            kind=settlement.kind,
            outcome=settlement.outcome,
            usd_nano=settlement.usd_nano,
            unknown_nano=settlement.unknown_nano,
        )

    def resumed(self, slot: int, usd_nano: int) -> None:
        """Take up a slot that earlier runs have paid for."""
        self._running.resume(slot, usd_nano)

    def closed(self, slot: int) -> None:
        """Note that a slot costs nothing more."""
        self._running.close(slot)

    def hear(self, event: Event) -> None:
        """Count what happened."""
        match event:
            case JobStarted():
                delivered = min(event.want, event.delivered)
                self._open[event.job_id] = _OpenJob(event.want, delivered)
                self._wanted += event.want
                self._delivered += delivered
            case ImageAccepted():
                self._running.accept(event.image.slot, event.image.usd)
                self._accepted += 1
                job = self._open.get(event.image.job_id)
                if job is not None and job.delivered < job.want:
                    job.delivered += 1
                    self._delivered += 1
            case JobEnded():
                job = self._open.pop(event.job_id, None)
                if job is not None and event.status is not JobStatus.PENDING:
                    self._given_up += job.want - job.delivered
            case CallsPaused():
                until = anyio.current_time() + event.seconds
                self._paused[event.model_id] = (until, event.reason)
            case BatchJobChanged():
                self._batch_jobs.pop(event.name, None)
                if event.state not in BATCH_JOB_IS_OVER:
                    self._batch_jobs[event.name] = event
            case RunEnding():
                self._ended = event.ended
            case _:
                pass

    def snapshot(self, *, ended: Ended | None = None) -> Snapshot:
        """Return how the run stands.

        Args:
            ended: Why it is over, if it is.
        """
        now = anyio.current_time()
        parts = self._parts
        is_all_known = self._wanted_in_all is not None or (
            parts is not None and parts.board.all_read
        )
        wanted = self._wanted if self._wanted_in_all is None else self._wanted_in_all
        totals = self._running.totals(wanted=wanted, delivered=self._delivered)
        sample = Sample.of_totals(Formula.of(totals), totals)
        rate = self._images_per_second(now)
        is_ended = self._ended is not None or ended is not None
        can_tell = is_all_known and not is_ended and not (parts and parts.quota.is_limited)
        missing = wanted - self._delivered - self._given_up
        return Snapshot(
            seconds=now - self._began,
            delivered=self._delivered,
            wanted=wanted,
            is_all_known=is_all_known,
            given_up=self._given_up,
            accept=sample.accept(live=True, level=LEVEL),
            usd_per_accepted=sample.usd_per_accepted(live=True, level=LEVEL),
            spend=Spend(confirmed_usd=totals.spend_usd, unknown_usd=totals.unknown_usd),
            in_flight_usd=usd_of_nano(parts.gate.reserved_nano if parts else 0),
            budget_usd=self._budget_usd,
            images_per_minute=60 * rate if rate else None,
            in_flight=parts.permits.in_use if parts else 0,
            concurrency=parts.permits.size if parts else self._max_concurrency,
            max_concurrency=self._max_concurrency,
            waiting=self._waiting(now),
            batch_jobs=tuple(self._batch_jobs.values()),
            seconds_left=missing / rate if rate and can_tell and missing > 0 else None,
            ended=ended or self._ended,
            is_over=ended is not None,
        )

    def _images_per_second(self, now: float) -> float | None:
        looks = self._looks
        looks.append((now, self._accepted))
        while now - looks[1][0] >= RATE_SECONDS:
            looks.popleft()
        since, accepted = looks[0]
        return (self._accepted - accepted) / (now - since) if now > since else None

    def _waiting(self, now: float) -> tuple[Waiting, ...]:
        waits = [
            Waiting(reason=reason, model_id=model_id, seconds_left=until - now)
            for model_id, (until, reason) in self._paused.items()
            if until > now
        ]
        waits.sort(key=lambda one: one.seconds_left or 0.0, reverse=True)
        left = None if self._parts is None else self._parts.pacer.seconds_left
        if left is not None:
            known = left if isfinite(left) else None
            waits.append(Waiting(reason="pace", model_id="", seconds_left=known))
        return tuple(waits)
