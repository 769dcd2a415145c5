"""What the filters say of one candidate: the container first, then each filter in its order."""

from __future__ import annotations

import inspect
import json
import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, cast

import anyio
import anyio.lowlevel
import anyio.to_thread

from nanobatch.backend.foreign import plain_text
from nanobatch.checkpoint.changes import Settlement, begin, settle
from nanobatch.cost import LineKind, Outcome
from nanobatch.errors import BrokenImageError, CheckpointError, FilterError
from nanobatch.filters.container import fault_in
from nanobatch.filters.protocol import as_verdict, is_async, name_of, remembers, worst_case_usd
from nanobatch.models.money import nano_of_usd, usd_of_nano
from nanobatch.pipeline.control import RunStopped
from nanobatch.pipeline.threads import run_in_daemon

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from nanobatch.candidate import AcceptedImage, Candidate, Verdict
    from nanobatch.checkpoint import CheckpointReader, Store
    from nanobatch.filters import AnyFilter, RemembersAccepted
    from nanobatch.pipeline.purse import Purse

__all__ = ["FilterFailed", "Judge", "Judgement"]

_log = logging.getLogger("nanobatch")

FILTER_THREADS = (os.cpu_count() or 1) + 2
"""Sync filters at work at the same time; a hung one is given up and takes no other's place."""


class FilterFailed(Exception):  # noqa: N818 - a signal between our own parts
    """Internal: a filter raised or took too long, so nobody knows whether the candidate passes."""

    def __init__(self, filter_name: str, message: str) -> None:
        self.filter_name = filter_name
        super().__init__(message)


@dataclass(slots=True, kw_only=True)
class Judgement:
    """The verdict of all filters together."""

    is_broken: bool = False
    accepted: bool = True
    filter_name: str = ""
    """The filter that rejected it."""
    reason: str = ""
    score: float | None = None
    """The last score a filter gave."""
    memos: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """What filters want to remember of it if it is accepted, by filter name."""

    @property
    def memos_json(self) -> str:
        """The memos as they are stored."""
        return json.dumps({name: memo.hex() for name, memo in self.memos.items()})


class Judge:
    """Runs the filters of one run over candidates."""

    def __init__(
        self,
        *,
        store: Store,
        purse: Purse,
        timeout_seconds: float,
    ) -> None:
        self._store = store
        self._purse = purse
        self._timeout_seconds = timeout_seconds
        self._threads = anyio.CapacityLimiter(FILTER_THREADS)
        self._dearest_nano: dict[int, int] = {}
        """What filters cost at most, by identity, where that is above what they said."""
        self.memory = anyio.Lock()
        """Held from the question to a filter that remembers until its verdict is durable."""

    async def judge(
        self, candidate: Candidate, filters: Sequence[AnyFilter], *, job_number: int
    ) -> Judgement:
        """Return what the filters say; a broken container is not shown to them.

        Raises:
            FilterFailed: A filter raised or exceeded its deadline.
            RunStopped: A paid filter does not fit the budget.
        """
        fault = await anyio.to_thread.run_sync(fault_in, candidate.image_bytes)
        if fault is not None:
            return Judgement(is_broken=True, accepted=False, reason=fault)
        judgement = Judgement()
        await self.go_on(judgement, candidate, filters, job_number=job_number)
        return judgement

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
        for one in filters:
            if not await self._passes(judgement, one, candidate, job_number=job_number):
                break

    async def remember(
        self, filters: Sequence[AnyFilter], image: AcceptedImage, memos: dict[str, bytes]
    ) -> None:
        """Tell the filters that remember of an accepted image.

        Raises:
            FilterFailed: One of them raised or exceeded its deadline.
        """
        for one in filters:
            if remembers(one):
                name = name_of(one)
                seen = cast("RemembersAccepted", one).seen
                memo = memos.get(name, b"")
                try:
                    with self._deadline(name) as begin:
                        await run_in_daemon(
                            partial(seen, image, memo), limiter=self._threads, on_start=begin
                        )
                except FilterFailed:
                    raise
                except Exception as error:
                    raise FilterFailed(name, _sentence(name, error)) from error

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
            for image, memos in checkpoint.images_with_memos(after=after):
                try:
                    await self.remember(filters, image, memos)
                except FilterFailed as error:
                    raise FilterError(
                        f"{error} It was told of the accepted image {image.path.name}.",
                        filter_name=error.filter_name,
                    ) from error

    async def _passes(
        self, judgement: Judgement, one: AnyFilter, candidate: Candidate, *, job_number: int
    ) -> bool:
        """Add one filter's verdict to the judgement; `False` ends it."""
        name = name_of(one)
        try:
            verdict = await self._ask(one, candidate, job_number=job_number)
        except BrokenImageError as error:
            judgement.is_broken, judgement.accepted = True, False
            judgement.reason = str(error)
            return False
        except (FilterFailed, RunStopped, CheckpointError):
            raise
        except anyio.get_cancelled_exc_class() as error:
            await anyio.lowlevel.checkpoint_if_cancelled()  # somebody ends the run
            raise FilterFailed(name, _sentence(name, error)) from error  # or something inside it
        except (Exception, SystemExit) as error:  # a filter may leave, the run does not
            raise FilterFailed(name, _sentence(name, error)) from error
        finally:
            candidate.forget_changes()
        if verdict.score is not None:
            judgement.score = verdict.score
        if verdict.memo:
            judgement.memos[name] = verdict.memo
        if not verdict.accepted:
            judgement.accepted, judgement.filter_name = False, name
            judgement.reason = verdict.reason
        return verdict.accepted

    async def _ask(self, one: AnyFilter, candidate: Candidate, *, job_number: int) -> Verdict:
        stated_nano = nano_of_usd(worst_case_usd(one))
        worst_nano = max(stated_nano, self._dearest_nano.get(id(one), 0))
        if worst_nano == 0:
            verdict = await self._answer(one, candidate)
            if verdict.usd:
                await self._book(candidate, job_number, nano_of_usd(verdict.usd))
                self._foresee(one, nano_of_usd(verdict.usd), reserved_nano=0)
            return verdict
        await self._purse.reserve_judgement(worst_nano, filter_name=name_of(one))
        cost_nano = worst_nano
        call = self._store.new_call()
        try:
            await self._begin(candidate, call, worst_nano)
            try:
                verdict = await self._answer(one, candidate)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._settle(
                        candidate, job_number, call, Outcome.UNKNOWN, unknown_nano=worst_nano
                    )
                raise
            cost_nano = nano_of_usd(verdict.usd)
            with anyio.CancelScope(shield=True):
                await self._settle(candidate, job_number, call, Outcome.BILLED, usd_nano=cost_nano)
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

    async def _answer(self, one: AnyFilter, candidate: Candidate) -> Verdict:
        name = name_of(one)
        with self._deadline(name) as begin:
            if is_async(one):
                begin()
                result = one(candidate)
            else:
                result = await run_in_daemon(
                    partial(one, candidate), limiter=self._threads, on_start=begin
                )
            if inspect.isawaitable(result):
                return as_verdict(await result, filter_name=name)
            return as_verdict(result, filter_name=name)

    @contextmanager
    def _deadline(self, name: str) -> Generator[Callable[[], None]]:
        """Give up what a filter does too long after a call of what this yields.

        It begins when the filter does: waiting for a thread is no fault of the filter.

        Raises:
            FilterFailed: The deadline passed.
        """
        with anyio.CancelScope() as scope:

            def begin() -> None:
                scope.deadline = anyio.current_time() + self._timeout_seconds

            yield begin
        if scope.cancelled_caught:
            raise FilterFailed(
                name, f"Filter {name} did not answer within {self._timeout_seconds:g} s."
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

    async def _book(self, candidate: Candidate, job_number: int, usd_nano: int) -> None:
        """Book what a filter says it cost although it announced no worst case."""
        call = self._store.new_call()
        await self._begin(candidate, call, usd_nano)
        await self._settle(candidate, job_number, call, Outcome.BILLED, usd_nano=usd_nano)
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
    ) -> None:
        settlement = Settlement(
            call=call,
            slot=candidate.slot,
            job=job_number,
            kind=LineKind.JUDGE,
            outcome=outcome,
            usd_nano=usd_nano,
            unknown_nano=unknown_nano,
        )
        await self._store.commit(lambda db: settle(db, settlement))


def _sentence(name: str, error: BaseException) -> str:
    return f"Filter {name} raised {type(error).__name__}: {plain_text(str(error))}"
