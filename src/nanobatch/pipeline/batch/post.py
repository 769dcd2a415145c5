"""Orders of slots become batch jobs: reserved, written down, uploaded, created, in that order."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from nanobatch.checkpoint.batches import BatchPhase, mark_batch, plan_batch
from nanobatch.checkpoint.disk import create_folder
from nanobatch.errors import ModelGoneError, ProviderError, TransientError
from nanobatch.models.money import nano_of_usd
from nanobatch.pipeline.batch.shard import Posting, Shard
from nanobatch.pipeline.control import Ended, RunStopped
from nanobatch.pipeline.events import BatchJobChanged
from nanobatch.policy import Wakeup
from nanobatch.policy.retry import at_least

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from typing import TypeVar

    from nanobatch.backend import BatchBackend, BatchJob
    from nanobatch.checkpoint import Store
    from nanobatch.pipeline.admission import Admission
    from nanobatch.pipeline.batch.awaiting import Awaiting
    from nanobatch.pipeline.batch.delivering import Delivery
    from nanobatch.pipeline.batch.orders import OrderRoom
    from nanobatch.pipeline.batch.searching import Search
    from nanobatch.pipeline.caller import Order
    from nanobatch.pipeline.control import Control
    from nanobatch.pipeline.events import Event
    from nanobatch.pipeline.outcome import WalkedSlot
    from nanobatch.pipeline.purse import Purse
    from nanobatch.policy import BatchOptions

    T = TypeVar("T")

__all__ = ["Post"]

HTTP_SERVER_ERROR = 500
MAX_LYING = 64
"""Orders that may lie here unread; they hold the drafts and references they show."""
MAX_LINGER_SECONDS = 1.0
"""How long a file that is not full waits for another order."""


class Post:
    """Takes the orders of one run and sends them, a file at a time."""

    def __init__(
        self,
        backend: BatchBackend,
        *,
        store: Store,
        purse: Purse,
        room: OrderRoom,
        awaiting: Awaiting,
        admission: Admission,
        delivery: Delivery,
        search: Search,
        options: BatchOptions,
        control: Control,
        emit: Callable[[Event], object],
    ) -> None:
        self._backend = backend
        self._store = store
        self._purse = purse
        self._room = room
        self._awaiting = awaiting
        self._admission = admission
        self._delivery = delivery
        self._search = search
        self._options = options
        self._control = control
        self._emit = emit
        self._lying: deque[Posting] = deque()
        self._shards: dict[str, Shard] = {}
        self._changed = Wakeup()
        self._is_busy = False
        self._is_held_up = False

    @property
    def is_empty(self) -> bool:
        """Whether everything that was ordered is sent."""
        return not (self._lying or self._shards or self._is_busy)

    @property
    def is_held_up(self) -> bool:
        """Whether there is no money for more now, or the provider takes no more."""
        return self._is_held_up

    async def put(
        self,
        slot: WalkedSlot,
        order: Order,
        *,
        in_round: int,
        is_new_slot: bool,
    ) -> None:
        """Order a slot; it lands when its answer comes.

        Raises:
            RunStopped: The run ends, and nothing is ordered any more.
        """
        with self._control.waiting():
            while len(self._lying) >= MAX_LYING:
                await self._changed.wait()
        self._lying.append(Posting(slot=slot, order=order, round=in_round, is_new_slot=is_new_slot))
        self._changed.wake()

    async def work(self) -> None:
        """Send what is ordered until the run ends; nothing is left lying about then."""
        try:
            await anyio.to_thread.run_sync(create_folder, self._store.files.batches)
            while True:
                posting = await self._next()
                self._is_busy = True
                if posting is None:
                    await self._send_all()
                else:
                    await self._add(posting)
                self._is_busy = False
        except RunStopped:
            pass
        except Exception as error:  # noqa: BLE001 - raised again when all workers are done
            self._control.abort(error)
        finally:
            for shard in self._shards.values():
                with suppress(OSError):
                    shard.path.unlink(missing_ok=True)

    async def _next(self) -> Posting | None:
        """Return the next order; `None`: none came for a while, so send what there is."""
        linger = min(MAX_LINGER_SECONDS, self._options.poll_seconds) if self._shards else None
        with self._control.waiting(), anyio.move_on_after(linger):
            while not self._lying:
                await self._changed.wait()
        if not self._lying:
            return None
        posting = self._lying.popleft()
        self._changed.wake()
        return posting

    async def _add(self, posting: Posting) -> None:
        order = posting.order
        model = order.what.model
        worst_usd = model.worst_case_usd(order.request, batch=True)
        worst_nano = self._admission.foreseen(model.id, nano_of_usd(worst_usd))
        await self._reserve(worst_nano)
        shard = self._shards.get(model.id)
        if shard is None:
            shard = Shard(self._store.files, model, max_images=self._options.shard_images)
            self._shards[model.id] = shard
        call = self._store.new_call()
        line, fault = b"", None
        try:
            line = await self._backend.batch_request(order.request, key=shard.key_of(call))
        except ProviderError as raised:
            fault = raised
        await anyio.to_thread.run_sync(
            lambda: shard.add(posting, call=call, worst_nano=worst_nano, line=line, fault=fault)
        )
        if shard.is_full:
            await self._send(self._shards.pop(model.id))

    async def _reserve(self, worst_nano: int) -> None:
        """Reserve the worst case; what is not sent yet is, so that it can make room."""
        if self._purse.reserve_now(worst_nano):
            return
        self._room.shut(is_shut=True)
        await self._send_all()
        with self._held_up():
            await self._purse.reserve_patiently(worst_nano, purpose="The next slot of a batch job")

    async def _send_all(self) -> None:
        while self._shards:
            _, shard = self._shards.popitem()
            await self._send(shard)

    async def _send(self, shard: Shard) -> None:
        """Make a batch job of a file; its rows are there before anybody hears of it."""
        calls = [one.planned for one in shard.calls]
        number = await self._store.commit(
            lambda db: plan_batch(db, name=shard.name, model_id=shard.model.id, calls=calls)
        )
        for one in shard.calls:
            self._awaiting.add(one.planned.call, one.slot)
        for one in shard.calls:
            if one.fault is not None:
                await self._delivery.settle(one.planned.call, batch=number, fault=one.fault)
        if not shard.is_written:
            await self._store.commit(lambda db: mark_batch(db, number, BatchPhase.DROPPED))
            return
        try:
            await self._ship(shard, number)
        finally:
            with suppress(OSError):
                shard.path.unlink(missing_ok=True)

    async def _ship(self, shard: Shard, number: int) -> None:
        file = await self._until_taken(
            lambda: self._backend.upload_requests(shard.path, display_name=shard.name)
        )
        with self._search.hands_off(number):
            job = await self._create(shard, number, file)
            if job is None:
                return  # it may be there; the collector looks for it
            await self._store.commit(
                lambda db: mark_batch(db, number, BatchPhase.RUNNING, job=job.name, told=job.state)
            )
        self._emit(
            BatchJobChanged(
                name=job.name,
                model_id=shard.model.id,
                slots=len(shard.calls),
                state=job.state,
            )
        )

    async def _create(self, shard: Shard, number: int, file: str) -> BatchJob | None:
        """Return the job that the provider made; `None` if nobody can know whether it did."""
        is_doubtful = False
        try:
            while True:
                with self._control.waiting():
                    await self._store.commit(
                        lambda db: mark_batch(db, number, BatchPhase.CREATING, input_file=file)
                    )
                if self._control.is_stopping:  # since it was written down
                    raise RunStopped
                is_doubtful = True  # until it is answered
                try:
                    with self._control.in_flight():
                        return await self._backend.create_batch(
                            model=shard.model.id, file=file, display_name=shard.name
                        )
                except ProviderError as fault:
                    if fault.is_unknown_money:
                        return None
                    is_doubtful = (fault.status or 0) >= HTTP_SERVER_ERROR
                    if not is_doubtful:
                        await self._store.commit(
                            lambda db: mark_batch(db, number, BatchPhase.PLANNED)
                        )
                    await self._wait_or_stop(fault)
                    if is_doubtful and (job := await self._found(shard.name)) is not None:
                        return job
        except RunStopped:
            if not is_doubtful:
                await self._drop(number, file)
            raise

    async def _drop(self, number: int, file: str) -> None:
        """Take back a job that was not ordered after all, and what was uploaded for it."""
        await self._store.commit(lambda db: mark_batch(db, number, BatchPhase.PLANNED))
        with self._control.in_flight(), suppress(ProviderError):
            await self._backend.delete_file(file)

    async def _found(self, name: str) -> BatchJob | None:
        """Return the job if the provider made it although it said it did not."""
        # Until there is a whole list, nothing is ordered again.
        found = await self._until_taken(lambda: self._search.find([name]))
        return found.get(name)

    async def _until_taken(self, send: Callable[[], Awaitable[T]]) -> T:
        """Do something that is free until the provider takes it."""
        while True:
            try:
                with self._control.waiting():
                    return await send()
            except ProviderError as fault:
                await self._wait_or_stop(fault)

    async def _wait_or_stop(self, fault: ProviderError) -> None:
        """Wait before the next try, or end the run: nothing of the file is lost, or was billed.

        Raises:
            RunStopped: The run ends.
        """
        match fault:
            case TransientError():
                seconds = at_least(self._options.poll_seconds, fault.retry_after_seconds)
                with self._held_up(), self._control.waiting():
                    await anyio.sleep(seconds)
                return
            case ModelGoneError():
                ended = Ended.MODEL
            case _:
                ended = Ended.ACCOUNT
        self._control.stop(ended, f"The batch service does not take the job: {fault}")
        raise RunStopped

    @contextmanager
    def _held_up(self) -> Generator[None]:
        """Take no orders for as long as there is no room for them."""
        self._room.shut(is_shut=True)
        self._is_held_up = True
        yield
        self._is_held_up = False
        self._room.shut(is_shut=False)
