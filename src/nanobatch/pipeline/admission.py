"""Who may send a request now: after the pause and the pace, with a permit, within the budget."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

from nanobatch.models.money import usd_of_nano
from nanobatch.pipeline.control import RunStopped
from nanobatch.pipeline.events import CallsPaused

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanobatch.pipeline.control import Control
    from nanobatch.pipeline.events import Event
    from nanobatch.pipeline.purse import Purse
    from nanobatch.policy import Pacer, Pauses, Permits
    from nanobatch.policy.permits import Permit

__all__ = ["Admission", "Ticket"]

_log = logging.getLogger("nanobatch")


@dataclass(slots=True, kw_only=True, eq=False)
class Ticket:
    """One request that may be sent, and what is reserved for it."""

    model_id: str
    permit: Permit
    worst_nano: int
    reserved_nano: int
    """`worst_nano`, or what it turned out to cost above that."""
    images: int
    """1 if it is asked to draw, 0 if to judge."""


class Admission:
    """Lets requests of one run in, one by one, and learns from how they end."""

    def __init__(
        self,
        *,
        pauses: Pauses,
        pacer: Pacer,
        permits: Permits,
        purse: Purse,
        control: Control,
        emit: Callable[[Event], object],
    ) -> None:
        self._pauses = pauses
        self._pacer = pacer
        self._permits = permits
        self._purse = purse
        self._control = control
        self._emit = emit
        self._excess: dict[str, Fraction] = {}

    async def admit(
        self,
        model_id: str,
        *,
        worst_nano: int,
        purpose: str = "The next call",
        judges: bool = False,
    ) -> Ticket:
        """Wait until a request may be sent, and reserve its worst case.

        Args:
            model_id: Whom it asks.
            worst_nano: What the model's limits say it may cost, nano-dollars.
            purpose: What would be paid, for messages.
            judges: Whether it judges an image that is paid for: it counts as no image, and goes
                on while the run ends.

        Raises:
            RunStopped: The run ends, perhaps because the budget does not cover the request.
        """
        images = 0 if judges else 1
        while True:
            foreseen = self.foreseen(model_id, worst_nano)
            if self._control.is_over_for(to_judge=judges):
                raise RunStopped
            is_paused = self._pauses.seconds_left(model_id) > 0
            if is_paused or not self._pacer.reserve_now(foreseen, images=images):
                with self._control.waiting(to_judge=judges):
                    await self._pauses.wait(model_id)
                    await self._pacer.reserve(foreseen, images=images)
            try:
                ticket = await self._ticket(model_id, foreseen, purpose=purpose, judges=judges)
            except BaseException:
                self._pacer.cancel(reserved_nano=foreseen, images=images)
                raise
            is_paused = self._pauses.seconds_left(model_id) > 0
            if not is_paused and foreseen == self.foreseen(model_id, worst_nano):
                return ticket
            # Something was learnt while it stood in line; it holds nothing others could use.
            self._pacer.cancel(reserved_nano=foreseen, images=images)
            self._purse.settle(reserved_nano=foreseen, cost_nano=0)
            self._permits.release(ticket.permit)

    def answered(self, ticket: Ticket, *, cost_nano: int) -> None:
        """Note an answer and its cost: it lets the next request in, and later more.

        Its money stays reserved until it leaves, all of it: the next request must not be let in
        by a sum that is known to be too small.
        """
        self.note_cost(ticket.model_id, reserved_nano=ticket.worst_nano, cost_nano=cost_nano)
        excess_nano = cost_nano - ticket.reserved_nano
        if excess_nano > 0:
            self._purse.reserve_more(excess_nano)
            self._pacer.reserve_more(excess_nano)
            ticket.reserved_nano = cost_nano
        self._permits.succeeded()
        self._permits.pass_on(ticket.permit)

    def leave(self, ticket: Ticket, *, cost_nano: int) -> None:
        """Settle a request: what it did cost, unknown money included, takes its reserve's place."""
        reserved_nano = ticket.reserved_nano
        self._purse.settle(reserved_nano=reserved_nano, cost_nano=cost_nano)
        self._pacer.settle(reserved_nano=reserved_nano, cost_nano=cost_nano, images=ticket.images)
        self._permits.release(ticket.permit)

    def slow_down(self, ticket: Ticket) -> None:
        """Let fewer requests in."""
        self._permits.slow_down(ticket.permit)

    def pause(self, model_id: str, *, seconds: float, reason: str) -> None:
        """Let no request to a model in for a while: one refusal is enough for all to know."""
        if seconds > self._pauses.seconds_left(model_id):
            self._pauses.lengthen(model_id, seconds)
            self._emit(
                CallsPaused(
                    model_id=model_id,
                    seconds=seconds,
                    reason=reason,
                    concurrency=self._permits.size,
                )
            )

    async def _ticket(
        self, model_id: str, foreseen_nano: int, *, purpose: str, judges: bool
    ) -> Ticket:
        with self._control.waiting(to_judge=judges):
            permit = await self._permits.acquire()
        try:
            await self._purse.reserve(foreseen_nano, purpose=purpose, to_judge=judges)
        except BaseException:
            self._permits.release(permit)
            raise
        return Ticket(
            model_id=model_id,
            permit=permit,
            worst_nano=foreseen_nano,
            reserved_nano=foreseen_nano,
            images=0 if judges else 1,
        )

    def foreseen(self, model_id: str, worst_nano: int) -> int:
        """Return what to reserve: more than the model says once an answer did cost more."""
        excess = self._excess.get(model_id)
        return worst_nano if excess is None else ceil(worst_nano * excess)

    def note_cost(self, model_id: str, *, reserved_nano: int, cost_nano: int) -> None:
        """Reserve more from now on if a call cost more than was reserved for it."""
        if cost_nano <= reserved_nano:
            return
        excess = self._excess.get(model_id, Fraction(1))
        self._excess[model_id] = excess * Fraction(cost_nano, reserved_nano)
        _log.warning(
            "A call on %s cost %s USD, more than the %s USD reserved for it; "
            "the reserve is raised.",
            model_id,
            usd_of_nano(cost_nano),
            usd_of_nano(reserved_nano),
        )
