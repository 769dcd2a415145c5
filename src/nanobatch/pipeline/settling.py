"""How a call is settled: its images on the disk first, then its line in the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanobatch.backend import Reply
from nanobatch.checkpoint import Spend
from nanobatch.checkpoint.changes import NewFailure, Settlement, settle
from nanobatch.checkpoint.recover import described
from nanobatch.cost import Outcome
from nanobatch.errors import BadRequestError, ProviderError, TransientError
from nanobatch.filters.container import fault_in, sniff
from nanobatch.models.money import nano_of_usd, usd_of_nano
from nanobatch.pipeline.events import CallSettled, FailureRecorded

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nanobatch.checkpoint import Store
    from nanobatch.checkpoint.changes import NewCandidate, NewSlot
    from nanobatch.checkpoint.seal import Seal
    from nanobatch.models import Model
    from nanobatch.pipeline.bills import SlotBills
    from nanobatch.pipeline.events import Event

__all__ = ["Answer", "Purchase", "Settler", "Staged", "settlement_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What a call is for, and whose prices count."""

    slot: NewSlot
    model: Model
    job_id: str
    by_batch: bool = False
    """Whether a batch job makes it, at the batch price."""


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


class Settler:
    """Settles the calls of one run, whoever made them."""

    def __init__(self, store: Store, *, bills: SlotBills, emit: Callable[[Event], object]) -> None:
        self._store = store
        self._bills = bills
        self._emit = emit

    async def settle(
        self,
        bought: Purchase,
        settlement: Settlement,
        reply: Reply | None,
        fault: Exception | None,
    ) -> Answer:
        """Put the images on the disk, then the settlement into the ledger.

        Args:
            bought: What the call is for.
            settlement: What `settlement_of` says of it.
            reply: What came; `None` if nothing did.
            fault: Why nothing came.
        """
        call = settlement.call
        images = tuple(reversed(reply.images)) if reply else ()
        numbers = [self._store.new_candidate() for _ in images]
        body = fault.body if isinstance(fault, TransientError) else b""
        failure = _failure(bought, fault)
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
                job_id=bought.job_id,
                slot=bought.slot.number,
                tier=bought.slot.tier,
                model_id=bought.model.id,
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
                    job_id=bought.job_id,
                    slot=bought.slot.number,
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


def settlement_of(
    bought: Purchase,
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
        usd_nano = nano_of_usd(bought.model.usd(reply.usage, batch=bought.by_batch))
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
        slot=bought.slot.number,
        job=bought.slot.job,
        outcome=outcome,
        usd_nano=usd_nano,
        unknown_nano=unknown_nano,
        usage=reply.usage if reply else None,
        note=note,
    )


def _failure(bought: Purchase, fault: Exception | None) -> NewFailure | None:
    if fault is None:
        return None
    kind, message = "backend_error", f"The backend raised {type(fault).__name__}."
    if isinstance(fault, ProviderError):
        kind, message = fault.kind, str(fault)
    return NewFailure(
        job=bought.slot.job,
        slot=bought.slot.number,
        kind=kind,
        message=message,
        model_id=bought.model.id,
        is_final=isinstance(fault, BadRequestError),
    )
