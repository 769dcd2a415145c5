"""What came out of a batch job: settled line by line, and brought to the slot that waits for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nanobatch.backend.faults import EMPTY, fault_of_reply
from nanobatch.checkpoint import Leftover, SlotState
from nanobatch.checkpoint.batches import awaited_call
from nanobatch.checkpoint.changes import NewFailure, fail, set_slot
from nanobatch.pipeline.outcome import Arrival
from nanobatch.pipeline.settling import Purchase, settlement_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from nanobatch.backend import Reply
    from nanobatch.checkpoint import Store
    from nanobatch.checkpoint.batches import AwaitedCall
    from nanobatch.errors import ProviderError
    from nanobatch.models import Model
    from nanobatch.pipeline.admission import Admission
    from nanobatch.pipeline.batch.awaiting import Awaiting
    from nanobatch.pipeline.board import Board
    from nanobatch.pipeline.purse import Purse
    from nanobatch.pipeline.settling import Answer, Settler

__all__ = ["Delivery"]


class Delivery:
    """Settles the calls of batch jobs, whichever run ordered them."""

    def __init__(
        self,
        *,
        store: Store,
        purse: Purse,
        settler: Settler,
        admission: Admission,
        awaiting: Awaiting,
        model_of: Callable[[str], Model],
    ) -> None:
        self._store = store
        self._purse = purse
        self._settler = settler
        self._admission = admission
        self._awaiting = awaiting
        self._model_of = model_of
        self.board: Board | None = None
        """Where slots that got an answer are gone on with; `None` until there are workers."""

    async def settle(
        self,
        call: int,
        *,
        batch: int,
        reply: Reply | None = None,
        fault: ProviderError | None = None,
    ) -> None:
        """Settle a call that waits, and hand over to its slot what came.

        Args:
            call: The call; one that was settled before a run was killed is left as it is.
            batch: The number of its batch job.
            reply: The answer, or
            fault: what came in its place.
        """
        async with self._awaiting.lock:
            one = await self._store.commit(lambda db: awaited_call(db, call, batch=batch))
            if one is None:
                return
            bought = Purchase(
                slot=one.row,
                model=self._model_of(one.row.model_id),
                job_id=one.job_id,
                by_batch=True,
            )
            settlement = settlement_of(bought, call, reply, fault, worst_nano=one.worst_nano)
            answer = await self._settler.settle(bought, settlement, reply, fault)
            cost_nano = settlement.cost_nano
            self._purse.settle(reserved_nano=one.worst_nano, cost_nano=cost_nano)
            self._admission.note_cost(
                one.row.model_id, reserved_nano=one.worst_nano, cost_nano=cost_nano
            )
            await self._hand_over(one, answer, fault)

    async def _hand_over(
        self, one: AwaitedCall, answer: Answer, fault: ProviderError | None
    ) -> None:
        slot = self._awaiting.take(one.call)
        is_billed = answer.is_billed or one.billed > 0
        if slot is None or self.board is None:
            await self._leave(one, answer, fault, is_billed=is_billed)
            return
        row = one.row
        slot.job.arrivals.append(
            Arrival(
                slot=slot,
                images=tuple(
                    Leftover(
                        slot=row.number,
                        stage=row.stage,
                        tier=row.tier,
                        model_id=row.model_id,
                        parent=row.parent,
                        row=staged.row,
                        by_batch=True,
                    )
                    for staged in answer.images
                ),
                reply=replace(answer.reply, images=()),
                fault=fault,
                is_billed=is_billed,
                is_first=one.is_first,
                usd_nano=answer.settlement.usd_nano,
            )
        )
        self.board.touch(slot.job)

    async def _leave(
        self,
        one: AwaitedCall,
        answer: Answer,
        fault: ProviderError | None,
        *,
        is_billed: bool,
    ) -> None:
        """Leave an answer in the checkpoint: its job is not worked on in this run."""
        if answer.images:
            return  # staged: judged when its job is taken up again
        kind = fault_of_reply(answer.reply) or EMPTY

        def change(db: sqlite3.Connection) -> None:
            state = SlotState.REJECTED if is_billed else SlotState.VOID
            set_slot(db, one.row.number, state)
            if fault is None:
                failure = NewFailure(
                    job=one.row.job,
                    slot=one.row.number,
                    kind=kind.kind,
                    message="The answer holds no image.",
                    model_id=one.row.model_id,
                    usd_nano=answer.settlement.usd_nano,
                )
                fail(db, failure)

        await self._store.commit(change)
