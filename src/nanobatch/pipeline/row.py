"""Several built-in filters asked in one thread, one after the other, each under its own deadline.

Most of them take less time than a change of threads does. Filters of others are asked one by one:
any of them may charge for a verdict, and what the next one does depends on that.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from nanobatch.filters.protocol import as_verdict, name_of
from nanobatch.pipeline.threads import start_in_daemon

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanobatch.candidate import Candidate, Verdict
    from nanobatch.filters import AnyFilter

__all__ = ["Said", "ask_in_a_row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What came of asking one filter: a verdict, an error, or nothing within its deadline."""

    verdict: Verdict | None = None
    error: BaseException | None = None


async def ask_in_a_row(
    filters: Sequence[AnyFilter],
    candidate: Candidate,
    *,
    limiter: anyio.CapacityLimiter,
    timeout_seconds: float,
) -> list[Said]:
    """Ask filters up to the first that does not accept, and return what each has said.

    Args:
        filters: Sync ones that cost nothing, at least one.
        candidate: What they judge.
        limiter: How many threads there may be.
        timeout_seconds: Deadline of each; a thread that exceeds it is given up.
    """
    row = _Row(filters, candidate)
    async with limiter:
        row.began = time.monotonic()
        try:
            done, _ = start_in_daemon(row.ask)
        except RuntimeError as error:  # the system has no further thread
            return [Said(error=error)]
        try:
            while not done.is_set():
                left = row.began + timeout_seconds - time.monotonic()
                if left <= 0:
                    return [*row.said, Said()][: len(filters)]
                with anyio.move_on_after(left):
                    await done.wait()
        finally:
            row.is_over = True
    return row.said


class _Row:
    """Filters that are asked, and how far that has come; it is asked in a thread."""

    def __init__(self, filters: Sequence[AnyFilter], candidate: Candidate) -> None:
        self.said: list[Said] = []
        self.began = 0.0
        """When the filter began that is asked now, by `time.monotonic`."""
        self.is_over = False
        """Whether nobody wants to hear of the others any more."""
        self._filters = filters
        self._candidate = candidate

    def ask(self) -> None:
        for one in self._filters:
            self.began = time.monotonic()
            said = self._ask(one)
            if self.is_over:
                return
            self.said.append(said)
            if said.verdict is None or not said.verdict.accepted:
                return

    def _ask(self, one: AnyFilter) -> Said:
        try:
            return Said(verdict=as_verdict(one(self._candidate), filter_name=name_of(one)))
        except BaseException as error:  # noqa: BLE001 - raised by whoever wants the verdict
            return Said(error=error)
