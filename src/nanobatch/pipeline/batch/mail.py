"""What a run has to do with batch jobs: its own orders, and what earlier runs are waiting for."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from nanobatch.backend import BatchBackend
from nanobatch.checkpoint.batches import batches_on_their_way, drop_planned
from nanobatch.errors import ConfigError
from nanobatch.pipeline.batch.awaiting import Awaiting
from nanobatch.pipeline.batch.collecting import Collector
from nanobatch.pipeline.batch.delivering import Delivery
from nanobatch.pipeline.batch.orders import JobOrders, OrderRoom
from nanobatch.pipeline.batch.post import Post
from nanobatch.pipeline.batch.searching import Search
from nanobatch.pipeline.control import RunStopped
from nanobatch.pipeline.outcome import WalkedSlot
from nanobatch.policy import BatchOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from nanobatch.checkpoint import Store, TakenJob
    from nanobatch.pipeline.admission import Admission
    from nanobatch.pipeline.board import Board
    from nanobatch.pipeline.control import Control
    from nanobatch.pipeline.events import Event
    from nanobatch.pipeline.options import Options
    from nanobatch.pipeline.progress import JobProgress
    from nanobatch.pipeline.purse import Purse
    from nanobatch.pipeline.settling import Settler

__all__ = ["Mail", "open_mail"]


class Mail:
    """Orders out, answers in; one run's."""

    def __init__(
        self,
        *,
        room: OrderRoom,
        post: Post,
        collector: Collector,
        delivery: Delivery,
        awaiting: Awaiting,
        control: Control,
        places_orders: bool,
    ) -> None:
        self.room = room
        self.post = post
        self.awaiting = awaiting
        self._collector = collector
        self._delivery = delivery
        self._control = control
        self._places_orders = places_orders

    def start(self, group: TaskGroup, board: Board) -> None:
        """Begin to send orders and to collect answers; both end with the group."""

        def is_quiet() -> bool:
            return self.post.is_held_up or (self.post.is_empty and board.is_resting)

        self._delivery.board = board
        group.start_soon(self.post.work)
        group.start_soon(partial(self._collector.work, is_quiet=is_quiet))

    async def look_once_more(self) -> None:
        """Collect what is done for jobs that this run had nothing else to do for, and tidy up."""
        with suppress(RunStopped):
            if not self._control.is_stopping:
                await self._collector.look()
            await self._collector.tidy_up()

    def orders_of(self, taken: TakenJob) -> JobOrders | None:
        """Return the orders of a job; `None` if this run places none."""
        return JobOrders(self.room, taken.rounds) if self._places_orders else None

    def wait_for(self, job: JobProgress) -> None:
        """Let the slots of a job wait that an earlier run has ordered."""
        for one in job.taken.awaited:
            draft = next((d for d in job.taken.in_hand if d.slot == one.row.parent), None)
            slot = WalkedSlot(job=job, row=one.row, draft=draft, by_batch=True)
            self.awaiting.add(one.call, slot)


async def open_mail(
    options: Options,
    *,
    store: Store,
    purse: Purse,
    settler: Settler,
    admission: Admission,
    control: Control,
    emit: Callable[[Event], object],
    is_calibrating: bool,
) -> Mail | None:
    """Return what a run needs for its batch jobs; `None` if it has none and places no orders.

    Raises:
        ConfigError: Batch jobs are on their way, and the backend has no batch service.
    """
    await store.commit(drop_planned)
    rows = await store.commit(batches_on_their_way)
    if not rows and (options.batch is None or is_calibrating):
        return None
    backend = options.backend
    if not isinstance(backend, BatchBackend):
        raise ConfigError(
            f"The checkpoint waits for {len(rows)} batch jobs, and {type(backend).__name__} has no "
            "batch service: run with the backend that created them."
        )
    batch = options.batch or BatchOptions()
    awaiting, room, search = Awaiting(), OrderRoom(batch), Search(backend)
    delivery = Delivery(
        store=store,
        purse=purse,
        settler=settler,
        admission=admission,
        awaiting=awaiting,
        model_of=lambda model_id: options.registry[model_id],
    )
    collector = Collector(
        backend,
        store=store,
        purse=purse,
        delivery=delivery,
        search=search,
        options=batch,
        control=control,
        emit=emit,
    )
    await collector.take_over()
    post = Post(
        backend,
        store=store,
        purse=purse,
        room=room,
        awaiting=awaiting,
        admission=admission,
        delivery=delivery,
        search=search,
        options=batch,
        control=control,
        emit=emit,
    )
    return Mail(
        room=room,
        post=post,
        collector=collector,
        delivery=delivery,
        awaiting=awaiting,
        control=control,
        places_orders=options.batch is not None and not is_calibrating,
    )
