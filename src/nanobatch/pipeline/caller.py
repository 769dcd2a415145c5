"""One generation call with its tries: admission, intent, one request, settlement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from nanobatch.checkpoint.changes import Settlement, begin, settle
from nanobatch.cost import LineKind, Outcome
from nanobatch.errors import AccountError, TransientError
from nanobatch.models.money import nano_of_usd
from nanobatch.pipeline.control import Ended, RunStopped
from nanobatch.pipeline.sending import send_once
from nanobatch.pipeline.settling import settlement_of
from nanobatch.policy.retry import at_least

if TYPE_CHECKING:
    from nanobatch.backend import ImageBackend, ImageRequest
    from nanobatch.checkpoint import Store
    from nanobatch.pipeline.admission import Admission, Ticket
    from nanobatch.pipeline.control import Control
    from nanobatch.pipeline.settling import Answer, Purchase, Settler
    from nanobatch.policy import OutageBreaker, Retry

__all__ = ["Caller", "Order"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be called for."""

    what: Purchase
    request: ImageRequest


class Caller:
    """Makes the calls of one run; every request it sends has an intent before and a line after."""

    def __init__(
        self,
        backend: ImageBackend,
        *,
        store: Store,
        admission: Admission,
        retry: Retry,
        breaker: OutageBreaker,
        settler: Settler,
        control: Control,
    ) -> None:
        self._backend = backend
        self._store = store
        self._admission = admission
        self._retry = retry
        self._breaker = breaker
        self._settler = settler
        self._control = control

    async def call(self, order: Order, *, is_new_slot: bool) -> Answer:
        """Send a request, again after transient faults, and return its settled answer.

        Args:
            order: What to ask for.
            is_new_slot: Whether the slot has no row yet; it is written with the first intent.

        Raises:
            RunStopped: The run ends before there is an answer.
            ProviderError: The last fault, when no try is left or none makes sense.
        """
        waits = self._retry.waits()
        while True:
            try:
                return await self._try(order, is_new_slot=is_new_slot)
            except TransientError as fault:
                is_new_slot = False
                wait = next(waits, None)
                seconds = at_least(wait or 0.0, fault.retry_after_seconds)
                if fault.slow_down:
                    self._admission.pause(order.what.model.id, seconds=seconds, reason=fault.kind)
                if wait is None:
                    raise
                with self._control.waiting():
                    await anyio.sleep(seconds)

    async def _try(self, order: Order, *, is_new_slot: bool) -> Answer:
        usd = order.what.model.worst_case_usd(order.request)
        ticket = await self._admission.admit(order.what.model.id, worst_nano=nano_of_usd(usd))
        worst_nano = cost_nano = ticket.worst_nano
        try:
            call = self._store.new_call()
            await self._begin(order, call, worst_nano=worst_nano, is_new_slot=is_new_slot)
            if self._control.is_stopping:  # since it was let in
                await self._take_back(order, call)
                cost_nano = 0
                raise RunStopped
            reply, fault = await send_once(
                self._control, lambda: self._backend.generate(order.request)
            )
            settlement = settlement_of(order.what, call, reply, fault, worst_nano=worst_nano)
            if reply is not None:
                self.answered(ticket, cost_nano=settlement.cost_nano)
            answer = await self._settler.settle(order.what, settlement, reply, fault)
            cost_nano = settlement.cost_nano
            if fault is not None:
                self.learn(fault, ticket)
        finally:
            self._admission.leave(ticket, cost_nano=cost_nano)
        if isinstance(fault, AccountError) or (reply is None and fault is None):
            raise RunStopped
        if fault is not None:
            raise fault
        return answer

    async def _begin(self, order: Order, call: int, *, worst_nano: int, is_new_slot: bool) -> None:
        """Write the intent of a request."""
        await self._store.commit(
            lambda db: begin(
                db,
                call=call,
                slot=order.what.slot.number,
                kind=LineKind.CALL,
                worst_nano=worst_nano,
                new=order.what.slot if is_new_slot else None,
            )
        )

    async def _take_back(self, order: Order, call: int) -> None:
        """Write down that a request was never sent."""
        settlement = Settlement(
            call=call,
            slot=order.what.slot.number,
            job=order.what.slot.job,
            outcome=Outcome.UNBILLED,
            note="not sent: the run ended first",
        )
        await self._store.commit(lambda db: settle(db, settlement))

    def answered(self, ticket: Ticket, *, cost_nano: int) -> None:
        """Send the next request while the answer to this one, whoever asked, is written down."""
        self._admission.answered(ticket, cost_nano=cost_nano)
        self._breaker.succeeded()

    def learn(self, fault: Exception, ticket: Ticket) -> None:
        """Let the run's limits follow what went wrong, whoever asked.

        Its permit must not have gone on: after a 429 it is one of those that are to be fewer.
        """
        if isinstance(fault, TransientError):
            if fault.slow_down:
                self._admission.slow_down(ticket)
            if self._breaker.failed():
                self._control.stop(
                    Ended.OUTAGE,
                    f"The provider failed again and again without a success between: {fault}",
                )
        elif isinstance(fault, AccountError):
            self._control.stop(Ended.ACCOUNT, str(fault))
