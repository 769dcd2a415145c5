"""One question of a filter to a model, with its tries: admission, intent, request, settlement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from nanobatch.backend import JsonBackend
from nanobatch.checkpoint.changes import Settlement, begin, settle
from nanobatch.cost import LineKind, Outcome
from nanobatch.errors import AccountError, ConfigError, ProviderError, TransientError
from nanobatch.models.money import nano_of_usd, usd_of_nano
from nanobatch.pipeline.control import RunStopped
from nanobatch.pipeline.sending import send_once
from nanobatch.policy.retry import at_least

if TYPE_CHECKING:
    from nanobatch.backend import ImageBackend, JsonRequest, Reply
    from nanobatch.candidate import Candidate
    from nanobatch.checkpoint import Store
    from nanobatch.models import Model
    from nanobatch.pipeline.admission import Admission
    from nanobatch.pipeline.bills import SlotBills
    from nanobatch.pipeline.caller import Caller
    from nanobatch.pipeline.control import Control
    from nanobatch.policy import Retry

__all__ = ["About", "Asker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Whom and what a question is about."""

    filter_name: str
    candidate: Candidate
    job_number: int


class Asker:
    """Asks the questions of one run; every request has an intent before and a line after."""

    def __init__(
        self,
        backend: ImageBackend,
        *,
        store: Store,
        admission: Admission,
        retry: Retry,
        caller: Caller,
        bills: SlotBills,
        control: Control,
    ) -> None:
        self._backend = backend
        self._store = store
        self._admission = admission
        self._retry = retry
        self._caller = caller
        self._bills = bills
        self._control = control

    async def ask(self, about: About, request: JsonRequest, model: Model) -> Reply:
        """Send a request, again after transient faults, and return its settled answer.

        Raises:
            RunStopped: The run ends before there is an answer.
            ProviderError: The last fault, when no try is left or none makes sense.
            ConfigError: The backend answers no questions.
        """
        if not isinstance(self._backend, JsonBackend):
            raise ConfigError(
                f"Filter {about.filter_name} asks a model, and {type(self._backend).__name__} has "
                "no generate_json."
            )
        waits = self._retry.waits()
        while True:
            try:
                return await self._try(self._backend, about, request, model)
            except TransientError as fault:
                wait = next(waits, None)
                seconds = at_least(wait or 0.0, fault.retry_after_seconds)
                if fault.slow_down:
                    self._admission.pause(model.id, seconds=seconds, reason=fault.kind)
                if wait is None:
                    raise
                with self._control.waiting(to_judge=True):
                    await anyio.sleep(seconds)

    async def _try(
        self, backend: JsonBackend, about: About, request: JsonRequest, model: Model
    ) -> Reply:
        ticket = await self._admission.admit(
            model.id,
            worst_nano=nano_of_usd(request.worst_case_usd(model)),
            purpose=f"Filter {about.filter_name}",
            judges=True,
        )
        worst_nano = cost_nano = ticket.worst_nano
        try:
            call = self._store.new_call()
            await self._begin(about, call, worst_nano=worst_nano)
            if not self._control.may_judge:  # since it was let in
                await self._take_back(about, call)
                cost_nano = 0
                raise RunStopped
            reply, fault = await send_once(self._control, lambda: backend.generate_json(request))
            settlement = _settlement(about, call, reply, fault, model=model, worst_nano=worst_nano)
            cost_nano = settlement.cost_nano
            if reply is not None:
                self._caller.answered(ticket, cost_nano=cost_nano)
            with anyio.CancelScope(shield=True):  # paid for: it must reach the ledger
                await self._store.commit(lambda db: settle(db, settlement))
                self._bills.add(settlement)
            if fault is not None:
                self._caller.learn(fault, ticket)
        finally:
            self._admission.leave(ticket, cost_nano=cost_nano)
        if reply is not None:
            return reply
        if fault is None or isinstance(fault, AccountError):
            raise RunStopped
        raise fault

    async def _begin(self, about: About, call: int, *, worst_nano: int) -> None:
        await self._store.commit(
            lambda db: begin(
                db,
                call=call,
                slot=about.candidate.slot,
                kind=LineKind.JUDGE,
                worst_nano=worst_nano,
                new=None,
            )
        )

    async def _take_back(self, about: About, call: int) -> None:
        """Write down that a request was never sent."""
        settlement = Settlement(
            call=call,
            slot=about.candidate.slot,
            job=about.job_number,
            kind=LineKind.JUDGE,
            outcome=Outcome.UNBILLED,
            note=f"{about.filter_name}: not sent, the run ended first",
        )
        await self._store.commit(lambda db: settle(db, settlement))


def _settlement(
    about: About,
    call: int,
    reply: Reply | None,
    fault: Exception | None,
    *,
    model: Model,
    worst_nano: int,
) -> Settlement:
    """Say what a question cost: by its usage, nothing, or unknown at its worst case."""
    usd_nano = unknown_nano = 0
    note = about.filter_name
    if reply is not None and reply.usage is not None:
        usd_nano = nano_of_usd(model.usd(reply.usage))
        outcome = Outcome.BILLED
        if usd_nano > worst_nano:
            note += f": above its worst case of {usd_of_nano(worst_nano)} USD"
    elif reply is not None:
        outcome, unknown_nano = Outcome.BILLED, worst_nano
        note += ": the answer names no usage"
    elif isinstance(fault, ProviderError) and not fault.is_unknown_money:
        outcome = Outcome.UNBILLED
        note += f": {fault.kind}"
    else:
        outcome, unknown_nano = Outcome.UNKNOWN, worst_nano
        note += f": {fault.kind if isinstance(fault, ProviderError) else 'no answer'}"
    return Settlement(
        call=call,
        slot=about.candidate.slot,
        job=about.job_number,
        kind=LineKind.JUDGE,
        outcome=outcome,
        usd_nano=usd_nano,
        unknown_nano=unknown_nano,
        usage=reply.usage if reply else None,
        note=note,
    )
