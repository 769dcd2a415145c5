"""Several filters asked in one thread, one after the other, each under a deadline of its own.

Most filters take less time than a change of threads does.
"""

from __future__ import annotations

import inspect
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from nanobatch.filters.protocol import (
    as_verdict,
    asks_model,
    combines,
    is_async,
    name_of,
    parts_of,
    remembers,
    worst_case_usd,
)
from nanobatch.pipeline.threads import start_in_daemon

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanobatch.candidate import Candidate
    from nanobatch.filters import AnyFilter

__all__ = ["Said", "ask_in_a_row", "joins_a_row", "works_here"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What came of asking one filter."""

    result: object = None
    """What it returned."""
    error: BaseException | None = None
    """What it raised instead."""
    is_late: bool = False
    """Whether it took too long."""


def works_here(one: AnyFilter) -> bool:
    """Return whether a filter, with all its parts, only uses a thread: it waits for nobody."""
    return not worst_case_usd(one) and not any(
        is_async(part) or asks_model(part) for part in parts_of(one)
    )


def joins_a_row(one: AnyFilter) -> bool:
    """Return whether a filter can be asked in a row with others."""
    return combines(one) is None and not remembers(one) and works_here(one)


async def ask_in_a_row(
    filters: Sequence[AnyFilter],
    candidate: Candidate,
    *,
    limiter: anyio.CapacityLimiter,
    timeout_seconds: float,
) -> list[Said]:
    """Ask filters up to the first that does not accept, and return what each has said.

    Args:
        filters: Such as `joins_a_row`.
        candidate: What they judge.
        limiter: How many threads there may be.
        timeout_seconds: Deadline of each; a thread that exceeds it is given up.
    """
    row = _Row(filters, candidate)
    async with limiter:
        row.began = time.monotonic()
        done, _ = start_in_daemon(row.ask)
        while not done.is_set():
            left = row.began + timeout_seconds - time.monotonic()
            if left <= 0:
                row.is_given_up = True
                return [*row.said, Said(is_late=True)][: len(filters)]
            with anyio.move_on_after(left):
                await done.wait()
    return row.said


class _Row:
    """Filters that are asked, and how far that has come; it is asked in a thread."""

    def __init__(self, filters: Sequence[AnyFilter], candidate: Candidate) -> None:
        self.said: list[Said] = []
        self.began = 0.0
        """When the filter began that is asked now, by `time.monotonic`."""
        self.is_given_up = False
        self._filters = filters
        self._candidate = candidate

    def ask(self) -> None:
        for one in self._filters:
            self.began = time.monotonic()
            said = self._ask(one)
            if self.is_given_up:
                return
            self._candidate.forget_changes()
            self.said.append(said)
            if not _accepts(said):
                return

    def _ask(self, one: AnyFilter) -> Said:
        try:
            result = one(self._candidate)
            if inspect.isawaitable(result):
                return Said(result=result)
            return Said(result=as_verdict(result, filter_name=name_of(one)))
        except BaseException as error:  # noqa: BLE001 - raised by whoever wants the verdict
            return Said(error=error)


def _accepts(said: Said) -> bool:
    return bool(getattr(said.result, "accepted", False))
