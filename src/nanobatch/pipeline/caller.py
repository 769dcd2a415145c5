"""One generation call with its tries: admission, intent, one request, settlement."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from nanobatch.backend import Reply
from nanobatch.checkpoint import Spend
from nanobatch.checkpoint.changes import NewFailure, Settlement, begin, settle
from nanobatch.checkpoint.recover import described
from nanobatch.cost import LineKind, Outcome
from nanobatch.errors import AccountError, BadRequestError, ProviderError, TransientError
from nanobatch.filters.container import fault_in, sniff
from nanobatch.models.money import nano_of_usd, usd_of_nano
from nanobatch.pipeline.control import Ended, RunStopped
from nanobatch.pipeline.events import CallSettled, FailureRecorded
from nanobatch.pipeline.sending import send_once
from nanobatch.policy.retry import at_least

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nanobatch.backend import ImageBackend, ImageRequest
    from nanobatch.checkpoint import Store
    from nanobatch.checkpoint.changes import NewCandidate, NewSlot
    from nanobatch.checkpoint.seal import Seal
    from nanobatch.models import Model
    from nanobatch.pipeline.admission import Admission, Ticket
    from nanobatch.pipeline.bills import SlotBills
    from nanobatch.pipeline.control import Control
    from nanobatch.pipeline.events import Event
    from nanobatch.policy import OutageBreaker, Retry

__all__ = ["Answer", "Caller", "Order", "Staged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be called for: one slot's request, and whose prices count."""

    slot: NewSlot
    request: ImageRequest
    model: Model
    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """An image that was paid for and lies in `staging/`."""

    row: NewCandidate
    image: bytes = field(repr=False)
    fault: str | None = None
    """What is wrong with its container, if anything."""
    seal: Seal | None = None
    """How its file looked when this run wrote it; `None` if an earlier one did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete answer, settled."""

    reply: Reply
    """Empty if no answer came."""
    images: tuple[Staged, ...]
    """In the order they are to be judged: the candidate first, then its spares."""
    settlement: Settlement

    @property
    def is_billed(self) -> bool:
        """Whether it was billed, as far as anybody knows."""
        return self.settlement.outcome is Outcome.BILLED


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
        bills: SlotBills,
        control: Control,
        emit: Callable[[Event], object],
    ) -> None:
        self._backend = backend
        self._store = store
        self._admission = admission
        self._retry = retry
        self._breaker = breaker
        self._bills = bills
        self._control = control
        self._emit = emit

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
                    self._admission.pause(order.model.id, seconds=seconds, reason=fault.kind)
                if wait is None:
                    raise
                with self._control.waiting():
                    await anyio.sleep(seconds)

    async def _try(self, order: Order, *, is_new_slot: bool) -> Answer:
        usd = order.model.worst_case_usd(order.request)
        ticket = await self._admission.admit(order.model.id, worst_nano=nano_of_usd(usd))
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
            answer = await self._settle(order, call, reply, fault, worst_nano=worst_nano)
            cost_nano = answer.settlement.usd_nano + answer.settlement.unknown_nano
            # Before the permit goes on: after a 429 it is one of those that are to be fewer.
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
                slot=order.slot.number,
                kind=LineKind.CALL,
                worst_nano=worst_nano,
                new=order.slot if is_new_slot else None,
            )
        )

    async def _take_back(self, order: Order, call: int) -> None:
        """Write down that a request was never sent."""
        settlement = Settlement(
            call=call,
            slot=order.slot.number,
            job=order.slot.job,
            outcome=Outcome.UNBILLED,
            note="not sent: the run ended first",
        )
        await self._store.commit(lambda db: settle(db, settlement))

    async def _settle(
        self,
        order: Order,
        call: int,
        reply: Reply | None,
        fault: Exception | None,
        *,
        worst_nano: int,
    ) -> Answer:
        """Put the images on the disk, then the settlement into the ledger."""
        settlement = _settlement(order, call, reply, fault, worst_nano=worst_nano)
        images = tuple(reversed(reply.images)) if reply else ()
        numbers = [self._store.new_candidate() for _ in images]
        body = fault.body if isinstance(fault, TransientError) else b""
        failure = _failure(order, fault)
        staged: list[Staged] = []
        files = self._store.files

        def write_files() -> Path | None:
            if body:
                files.set_aside(call, body)
            staged.extend(self._stage(call, images, numbers))
            return files.staging if staged else None

        def change(db: sqlite3.Connection) -> None:
            settle(db, settlement, [image.row for image in staged], failure)

        # Paid for: it must reach the disk, so a commit is not interrupted.
        held_bytes = len(body) + sum(map(len, images))
        await self._store.commit(
            change, before=write_files if held_bytes else None, held_bytes=held_bytes
        )
        self._bills.add(settlement)
        if isinstance(fault, TransientError):
            fault.body = b""  # it may be large, and the wait for the next try long
        self._emit(
            CallSettled(
                job_id=order.job_id,
                slot=order.slot.number,
                tier=order.slot.tier,
                model_id=order.model.id,
                outcome=settlement.outcome,
                spend=Spend(
                    confirmed_usd=usd_of_nano(settlement.usd_nano),
                    unknown_usd=usd_of_nano(settlement.unknown_nano),
                ),
            )
        )
        if failure is not None:
            self._emit(
                FailureRecorded(
                    job_id=order.job_id,
                    slot=order.slot.number,
                    kind=failure.kind,
                    message=failure.message,
                    is_final=failure.is_final,
                )
            )
        return Answer(reply=reply or Reply(), images=tuple(staged), settlement=settlement)

    def _stage(self, call: int, images: tuple[bytes, ...], numbers: list[int]) -> Iterator[Staged]:
        """Hash, check and write the images of an answer, in one go while they are in the cache."""
        for i, (image, number) in enumerate(zip(images, numbers, strict=True)):
            file = f"{call}-{i:02d}.{sniff(image).extension}"
            yield Staged(
                row=described(image, number=number, file=file),
                image=image,
                fault=fault_in(image),
                seal=self._store.files.write_staged(file, image),
            )

    def learn(self, fault: Exception | None, ticket: Ticket) -> None:
        """Let the run's limits follow what came back, whoever asked."""
        if fault is None:
            self._admission.succeeded()
            self._breaker.succeeded()
        elif isinstance(fault, TransientError):
            if fault.slow_down:
                self._admission.slow_down(ticket)
            if self._breaker.failed():
                self._control.stop(
                    Ended.OUTAGE,
                    f"The provider failed again and again without a success between: {fault}",
                )
        elif isinstance(fault, AccountError):
            self._control.stop(Ended.ACCOUNT, str(fault))


def _settlement(
    order: Order,
    call: int,
    reply: Reply | None,
    fault: Exception | None,
    *,
    worst_nano: int,
) -> Settlement:
    """Say what a call cost: by its usage, nothing, or unknown at its worst case."""
    usd_nano = unknown_nano = 0
    note = ""
    if reply is not None and reply.usage is not None:
        usd_nano = nano_of_usd(order.model.usd(reply.usage))
        is_billed = usd_nano > 0 or bool(reply.images)  # also on a model whose price is 0
        outcome = Outcome.BILLED if is_billed else Outcome.UNBILLED
        if usd_nano > worst_nano:
            note = f"above its worst case of {usd_of_nano(worst_nano)} USD"
    elif reply is not None:
        outcome, unknown_nano, note = Outcome.BILLED, worst_nano, "the answer names no usage"
    elif isinstance(fault, ProviderError) and not fault.is_unknown_money:
        outcome, note = Outcome.UNBILLED, fault.kind
    else:
        outcome, unknown_nano = Outcome.UNKNOWN, worst_nano
        note = fault.kind if isinstance(fault, ProviderError) else "no answer"
    return Settlement(
        call=call,
        slot=order.slot.number,
        job=order.slot.job,
        outcome=outcome,
        usd_nano=usd_nano,
        unknown_nano=unknown_nano,
        usage=reply.usage if reply else None,
        note=note,
    )


def _failure(order: Order, fault: Exception | None) -> NewFailure | None:
    if fault is None:
        return None
    kind, message = "backend_error", f"The backend raised {type(fault).__name__}."
    if isinstance(fault, ProviderError):
        kind, message = fault.kind, str(fault)
    return NewFailure(
        job=order.slot.job,
        slot=order.slot.number,
        kind=kind,
        message=message,
        model_id=order.model.id,
        is_final=isinstance(fault, BadRequestError),
    )
