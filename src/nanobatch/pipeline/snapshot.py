"""How a run stands at one moment: everything that is worth watching, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from nanobatch.pipeline.displays.wording import html_block, log_line

if TYPE_CHECKING:
    from decimal import Decimal

    from nanobatch.checkpoint import Spend
    from nanobatch.cost import Estimate
    from nanobatch.pipeline.control import Ended
    from nanobatch.pipeline.events import BatchJobChanged

__all__ = ["Display", "Snapshot", "Waiting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Why no call to a model starts for a while."""

    reason: str
    """The kind of the provider's fault (`rate_limit`, `spend_limit`, `overloaded`, ...), or
    `pace`: the limits of `Pace` are reached."""

    model_id: str
    """The model that is spared; empty if the wait is for all of them."""

    seconds_left: float | None
    """How long it still lasts, > 0; `None` if that depends on calls in flight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """How a run stands. Money and rates cover the checkpoint's whole life, images this run's jobs.

    `str()` gives one line for a log.
    """

    seconds: float
    """Since the run began, >= 0."""

    delivered: int
    """Accepted images that were wanted, those of earlier runs included."""

    wanted: int
    """Images that the jobs want, as far as they are known: see `is_all_known`."""

    is_all_known: bool
    """Whether `wanted` is all; jobs of a generator are known only once they were read."""

    given_up: int
    """Images that were wanted by jobs that have ended without them."""

    accept: Estimate
    """Accept rate, with an interval that holds at every look."""

    usd_per_accepted: Estimate
    """USD per accepted image so far, with such an interval; infinite while there is none."""

    spend: Spend
    """Confirmed and unknown money of settled calls."""

    in_flight_usd: Decimal
    """Worst case of the calls that are not settled yet, reserved; not part of `spend`.

    An answer that is being written down still counts here, and no longer in `in_flight`.
    """

    budget_usd: Decimal | None
    """The cap; `None` if there is none."""

    images_per_minute: float | None
    """Accepted images a minute over the last two minutes; `None` while there is nothing to tell."""

    in_flight: int
    """Requests in flight now."""

    concurrency: int
    """Most requests in flight now: the provider may have had it lowered."""

    max_concurrency: int
    """Most requests in flight at all, as the caller set it."""

    waiting: tuple[Waiting, ...]
    """What holds calls up, the longest wait first; empty if nothing does."""

    batch_jobs: tuple[BatchJobChanged, ...]
    """The batch jobs on their way, as each was last heard of; empty if there are none."""

    seconds_left: float | None
    """Until all images are there at the rate of the last two minutes; `None` if unknown."""

    ended: Ended | None
    """Why no new call starts; `None` while the run goes on."""

    is_over: bool
    """Whether it is the last one: everything is saved."""

    def __str__(self) -> str:
        """Say all of it in one line."""
        return log_line(self)

    def _repr_html_(self) -> str:
        """Show it in a notebook as `run` does."""
        return html_block(self)


@runtime_checkable
class Display(Protocol):
    """What `run(jobs, progress=...)` shows snapshots to, if it has a method `show`."""

    def show(self, snapshot: Snapshot) -> object:
        """Show how the run stands; called on the event loop, at most four times a second.

        When the run returns, the last call had `is_over` set. It should return soon: the run waits
        for it. The first exception ends the run in order, as one of an event listener does.
        """
        ...
