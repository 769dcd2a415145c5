"""What the filters of a run say of one candidate, and what they charge for it."""

from __future__ import annotations

import logging
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import anyio

from nanobatch.checkpoint.changes import Settlement, begin, settle
from nanobatch.cost import LineKind, Outcome
from nanobatch.errors import FilterError
from nanobatch.filters.protocol import asks_model, name_of, remembers, worst_case_usd
from nanobatch.models.money import nano_of_usd, usd_of_nano
from nanobatch.pipeline.asking import About
from nanobatch.pipeline.panel import FilterFailed, Panel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanobatch.candidate import AcceptedImage, Candidate, Verdict
    from nanobatch.checkpoint import CheckpointReader, Store
    from nanobatch.filters import AnyFilter
    from nanobatch.filters.protocol import Ask
    from nanobatch.pipeline.asking import Asker
    from nanobatch.pipeline.bills import SlotBills
    from nanobatch.pipeline.judgement import Judgement
    from nanobatch.pipeline.purse import Purse

__all__ = ["FilterFailed", "Judge"]

RECALL_IMAGES = 500
"""Images of earlier runs that a filter is told of at a time: a page of the database."""

_log = logging.getLogger("nanobatch")


class Judge:
    """Runs the filters of one run over candidates."""

    def __init__(
        self,
        *,
        store: Store,
        purse: Purse,
        bills: SlotBills,
        timeout_seconds: float,
        asker: Asker,
    ) -> None:
        self._asker = asker
        self._store = store
        self._purse = purse
        self._panel = Panel(timeout_seconds=timeout_seconds)
        self._bills = bills
        self._dearest_nano: dict[int, int] = {}
        """What filters cost at most, by identity, where that is above what they said."""
        self.memory = anyio.Lock()
        """Held from the question to a filter that remembers until its verdict is durable."""

    @property
    def is_backed_up(self) -> bool:
        """Whether filters are what the run waits for."""
        return self._panel.is_backed_up

    async def judge(
        self, candidate: Candidate, filters: Sequence[AnyFilter], *, job_number: int
    ) -> Judgement:
        """Return what the filters say; a broken container is not shown to them.

        Raises:
            FilterFailed: A filter raised or exceeded its deadline.
            RunStopped: A paid filter does not fit the budget.
        """
        return await self._panel.judge(candidate, filters, ask=self._asking(job_number))

    async def go_on(
        self,
        judgement: Judgement,
        candidate: Candidate,
        filters: Sequence[AnyFilter],
        *,
        job_number: int,
    ) -> None:
        """Let further filters judge a candidate that has passed so far.

        Raises:
            FilterFailed: As `judge`.
            RunStopped: As `judge`.
        """
        await self._panel.go_on(judgement, candidate, filters, ask=self._asking(job_number))

    async def remember(
        self, filters: Sequence[AnyFilter], image: AcceptedImage, memos: dict[str, bytes]
    ) -> None:
        """Tell the filters that remember of an accepted image.

        Raises:
            FilterFailed: One of them raised or exceeded its deadline.
        """
        await self._panel.remember(filters, image, memos)

    async def recall(
        self, filters: Sequence[AnyFilter], checkpoint: CheckpointReader, *, after: int
    ) -> None:
        """Tell the filters that remember of every image accepted in earlier runs.

        Args:
            filters: All filters of the run.
            checkpoint: Where the images are.
            after: Number of the last image these very filters have heard of; 0 if none.

        Raises:
            FilterError: One of them raised.
        """
        if any(remembers(one) for one in filters):
            images = checkpoint.images_with_memos(after=after)
            while page := list(islice(images, RECALL_IMAGES)):
                try:
                    await self._panel.remember_all(filters, page)
                except FilterFailed as error:
                    name = error.image.path.name if error.image else "?"
                    raise FilterError(
                        f"{error.sentence} It was told of the accepted image {name}.",
                        filter_name=error.filter_name,
                    ) from error

    def _asking(self, job_number: int) -> Ask:
        return lambda one, candidate: self._ask(one, candidate, job_number=job_number)

    async def _ask(self, one: AnyFilter, candidate: Candidate, *, job_number: int) -> Verdict:
        if asks_model(one) is not None:  # it pays as it goes
            about = About(filter_name=name_of(one), candidate=candidate, job_number=job_number)
            return await self._panel.answer(
                one, candidate, ask_model=partial(self._asker.ask, about)
            )
        stated_nano = nano_of_usd(worst_case_usd(one))
        worst_nano = max(stated_nano, self._dearest_nano.get(id(one), 0))
        if worst_nano == 0:
            verdict = await self._panel.answer(one, candidate)
            if verdict.usd:
                with anyio.CancelScope(shield=True):
                    await self._book(one, candidate, job_number, nano_of_usd(verdict.usd))
                self._foresee(one, nano_of_usd(verdict.usd), reserved_nano=0)
            return verdict
        await self._purse.reserve_judgement(worst_nano, filter_name=name_of(one))
        cost_nano = worst_nano
        call = self._store.new_call()
        try:
            await self._begin(candidate, call, worst_nano)
            try:
                verdict = await self._panel.answer(one, candidate)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._settle(
                        candidate,
                        job_number,
                        call,
                        Outcome.UNKNOWN,
                        unknown_nano=worst_nano,
                        note=f"{name_of(one)}: no verdict",
                    )
                raise
            cost_nano = nano_of_usd(verdict.usd)
            with anyio.CancelScope(shield=True):
                await self._settle(
                    candidate,
                    job_number,
                    call,
                    Outcome.BILLED,
                    usd_nano=cost_nano,
                    note=name_of(one),
                )
            if cost_nano > worst_nano:
                self._foresee(one, cost_nano, reserved_nano=worst_nano)
            return verdict
        finally:
            self._purse.settle(reserved_nano=worst_nano, cost_nano=cost_nano)

    def _foresee(self, one: AnyFilter, cost_nano: int, *, reserved_nano: int) -> None:
        """Reserve from now on what a filter cost once, above what it said."""
        self._dearest_nano[id(one)] = max(cost_nano, self._dearest_nano.get(id(one), 0))
        _log.warning(
            "Filter %s cost %s USD, more than the %s USD reserved for it; the reserve is raised.",
            name_of(one),
            usd_of_nano(cost_nano),
            usd_of_nano(reserved_nano),
        )

    async def _begin(self, candidate: Candidate, call: int, worst_nano: int) -> None:
        await self._store.commit(
            lambda db: begin(
                db,
                call=call,
                slot=candidate.slot,
                kind=LineKind.JUDGE,
                worst_nano=worst_nano,
                new=None,
            )
        )

    async def _book(
        self, one: AnyFilter, candidate: Candidate, job_number: int, usd_nano: int
    ) -> None:
        """Book what a filter says it cost although it announced no worst case."""
        call = self._store.new_call()
        await self._begin(candidate, call, usd_nano)
        await self._settle(
            candidate, job_number, call, Outcome.BILLED, usd_nano=usd_nano, note=name_of(one)
        )
        self._purse.add(usd_nano)

    async def _settle(
        self,
        candidate: Candidate,
        job_number: int,
        call: int,
        outcome: Outcome,
        *,
        usd_nano: int = 0,
        unknown_nano: int = 0,
        note: str,
    ) -> None:
        settlement = Settlement(
            call=call,
            slot=candidate.slot,
            job=job_number,
            kind=LineKind.JUDGE,
            outcome=outcome,
            usd_nano=usd_nano,
            unknown_nano=unknown_nano,
            note=note,
        )
        await self._store.commit(lambda db: settle(db, settlement))
        self._bills.add(settlement)
