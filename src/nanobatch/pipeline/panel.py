"""The filters as a panel: each is asked in turn, under a deadline, and they come to one judgement.

It knows nothing of money and of checkpoints, so whoever has a candidate can have it judged.
"""

from __future__ import annotations

import inspect
import math
import os
import time
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Protocol, cast

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio import from_thread

from nanobatch.backend.foreign import plain_text
from nanobatch.errors import BrokenImageError, CheckpointError
from nanobatch.filters.catalogue import only_looks
from nanobatch.filters.container import fault_of, is_checked
from nanobatch.filters.protocol import (
    as_verdict,
    asks_model,
    combines,
    compares_again,
    is_async,
    name_of,
    parts_of,
    remembers,
    worst_case_usd,
)
from nanobatch.pipeline.control import RunStopped
from nanobatch.pipeline.judgement import Judgement
from nanobatch.pipeline.row import ask_in_a_row
from nanobatch.pipeline.threads import run_in_daemon

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from nanobatch.backend import JsonRequest, Reply
    from nanobatch.candidate import AcceptedImage, Candidate, Verdict
    from nanobatch.filters import AnyFilter, RemembersAccepted
    from nanobatch.filters.protocol import Ask, AskModel
    from nanobatch.models import Model
    from nanobatch.pipeline.row import Said

__all__ = ["FILTER_THREADS", "FilterFailed", "Panel"]

FILTER_THREADS = (os.cpu_count() or 1) + 2
"""Sync filters at work at the same time; a hung one is given up and takes no other's place."""


class FilterFailed(Exception):  # noqa: N818 - a signal between our own parts
    """Internal: a filter raised or took too long, so nobody knows whether the candidate passes."""

    def __init__(self, filter_name: str, message: str) -> None:
        """Note which filter failed; `message` may end as a sentence does."""
        self.filter_name = filter_name
        self.image: AcceptedImage | None = None
        """The accepted image it was told of, if it was."""
        super().__init__(message)

    @property
    def sentence(self) -> str:
        """Its message, with what ends a sentence: others follow."""
        message = str(self)
        return message if message.endswith((".", "!", "?")) else f"{message}."


class _Begin(Protocol):
    """Lets the deadline of a filter begin, now or anew."""

    def __call__(self, in_seconds: float = ...) -> None: ...


class Panel:
    """Asks filters about candidates, several candidates at the same time."""

    def __init__(self, *, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._threads = anyio.CapacityLimiter(FILTER_THREADS)
        self._turns = anyio.CapacityLimiter(FILTER_THREADS)
        """Held by a candidate from one sync filter to the next: otherwise all in flight would be
        decoded before the first one is judged, 3 to 6 MB each."""
        self._said: dict[tuple[int, int], Said] = {}
        """What filters have said that were asked in a row, by candidate and filter."""

    @property
    def is_backed_up(self) -> bool:
        """Whether more candidates stand in line than are being judged."""
        return self._turns.statistics().tasks_waiting > FILTER_THREADS

    async def judge(
        self, candidate: Candidate, filters: Sequence[AnyFilter], *, ask: Ask
    ) -> Judgement:
        """Return what the filters say; a broken container is not shown to them.

        Raises:
            FilterFailed: A filter raised or exceeded its deadline.
        """
        if is_checked(candidate):
            fault = fault_of(candidate)
        else:
            fault = await anyio.to_thread.run_sync(fault_of, candidate)
        if fault is not None:
            return Judgement(is_broken=True, accepted=False, reason=fault)
        judgement = Judgement()
        await self.go_on(judgement, candidate, filters, ask=ask)
        return judgement

    async def go_on(
        self, judgement: Judgement, candidate: Candidate, filters: Sequence[AnyFilter], *, ask: Ask
    ) -> None:
        """Let further filters judge a candidate that has passed so far.

        Raises:
            FilterFailed: As `judge`.
        """
        for needs_turn, together in groupby(filters, key=_works_here):
            async with self._turns if needs_turn else nullcontext():
                for ours, group in groupby(together, key=only_looks):
                    some = list(group)
                    if ours and len(some) > 1 and not judgement.is_again:
                        await self._ask_in_a_row(some, candidate)
                    try:
                        for one in some:
                            if not await self._passes(judgement, one, candidate, ask=ask):
                                return
                    finally:
                        self._forget(some, candidate)

    async def remember(
        self, filters: Sequence[AnyFilter], image: AcceptedImage, memos: dict[str, bytes]
    ) -> None:
        """Tell the filters that remember of an accepted image.

        Raises:
            FilterFailed: One of them raised or exceeded its deadline.
        """
        await self.remember_all(filters, [(image, memos)])

    async def remember_all(
        self, filters: Sequence[AnyFilter], told: Sequence[tuple[AcceptedImage, dict[str, bytes]]]
    ) -> None:
        """Tell the filters that remember of many images, each filter in one call of a thread.

        A thread for each image would take ten times as long as most filters do. The deadline is
        still that of one image.

        Raises:
            FilterFailed: One of them raised or exceeded its deadline; `image` is the one it was
                told of.
        """
        parts = {id(part): part for one in filters for part in parts_of(one) if remembers(part)}
        for one in parts.values():
            await self._tell(cast("RemembersAccepted", one), told, name=name_of(one))

    async def _tell(
        self,
        one: RemembersAccepted,
        told: Sequence[tuple[AcceptedImage, dict[str, bytes]]],
        *,
        name: str,
    ) -> None:
        at, token = _Place(), anyio.lowlevel.current_token()
        try:
            with self._deadline(name) as begin:
                tell = partial(
                    at.tell_each,
                    one,
                    told,
                    name=name,
                    every_seconds=self._timeout_seconds / 4,
                    on_progress=lambda: from_thread.run_sync(begin, token=token),
                )
                await run_in_daemon(tell, limiter=self._threads, on_start=begin)
        except FilterFailed as error:
            error.image = told[at.number][0]
            raise
        except Exception as error:
            failed = FilterFailed(name, _sentence(name, error))
            failed.image = told[at.number][0]
            raise failed from error

    async def answer(
        self, one: AnyFilter, candidate: Candidate, *, ask_model: AskModel | None = None
    ) -> Verdict:
        """Return what one filter says.

        Args:
            one: The filter.
            candidate: What it judges.
            ask_model: How a filter asks a model, if it does.

        Raises:
            FilterFailed: It exceeded its deadline.
            Exception: What it raised.
        """
        name = name_of(one)
        judge = asks_model(one)
        with self._deadline(name) as begin:
            if judge is not None and ask_model is not None:

                async def ask(request: JsonRequest, model: Model) -> Reply:
                    begin(in_seconds=math.inf)  # each request has a deadline of its own
                    try:
                        return await ask_model(request, model)
                    finally:
                        begin()

                begin()
                return as_verdict(await judge.judge(candidate, ask), filter_name=name)
            said = self._said.pop((id(candidate), id(one)), None)
            if said is not None:
                return self._heard(said, name)
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

    def _heard(self, said: Said, name: str) -> Verdict:
        """Return what a filter said in a row, or raise what it raised."""
        if said.error is not None:
            raise said.error
        if said.verdict is None:
            raise self._too_late(name)
        return said.verdict

    @contextmanager
    def _deadline(self, name: str) -> Generator[_Begin]:
        """Give up what a filter does too long after a call of what this yields.

        It begins when the filter does: waiting for a thread, or for a model, is no fault of the
        filter.

        Raises:
            FilterFailed: The deadline passed.
        """
        with anyio.CancelScope() as scope:

            def begin(in_seconds: float = self._timeout_seconds) -> None:
                scope.deadline = anyio.current_time() + in_seconds

            yield begin
        if scope.cancelled_caught:
            raise self._too_late(name)

    def _too_late(self, name: str) -> FilterFailed:
        return FilterFailed(
            name, f"Filter {name} did not answer within {self._timeout_seconds:g} s."
        )

    async def _ask_in_a_row(self, filters: Sequence[AnyFilter], candidate: Candidate) -> None:
        """Have several filters asked in one thread; `answer` then says what each has said."""
        keys = [(id(candidate), id(one)) for one in filters]
        if len(set(keys)) == len(keys):  # the same one twice is asked twice
            said = await ask_in_a_row(
                filters, candidate, limiter=self._threads, timeout_seconds=self._timeout_seconds
            )
            self._said.update(zip(keys, said, strict=False))

    def _forget(self, filters: Sequence[AnyFilter], candidate: Candidate) -> None:
        for one in filters:
            self._said.pop((id(candidate), id(one)), None)

    async def _passes(
        self, judgement: Judgement, one: AnyFilter, candidate: Candidate, *, ask: Ask
    ) -> bool:
        """Add one filter's verdict to the judgement; `False` ends it."""
        try:
            verdict = await self._verdict(judgement, one, candidate, ask=ask)
            if candidate.decode_fault is not None:  # whatever the filter made of it
                raise BrokenImageError(candidate.decode_fault)
        except BrokenImageError as error:
            judgement.is_broken, judgement.accepted = True, False
            judgement.reason = str(error)
            return False
        if verdict.score is not None:
            judgement.score = verdict.score
        if not verdict.accepted:
            judgement.accepted, judgement.filter_name = False, name_of(one)
            judgement.reason = verdict.reason
        return verdict.accepted

    async def _verdict(
        self,
        judgement: Judgement,
        one: AnyFilter,
        candidate: Candidate,
        *,
        ask: Ask,
        place: str = "",
    ) -> Verdict:
        """Return what a filter says, or what one says that is made of others.

        Args:
            judgement: Where memos go, and where those of an earlier judgement are.
            one: The filter.
            candidate: What it judges.
            ask: How a filter is asked that is not made of others.
            place: Where it stands in a combination that remembers; empty outside of one.
        """
        name = name_of(one)
        combination = combines(one)
        if judgement.is_again and place in judgement.answers:
            return judgement.answers[place]
        try:
            if combination is not None:
                # A part's failure comes out of here as it is, under the name of the part.
                verdict = await combination.combine(
                    candidate,
                    lambda part, _: self._verdict(
                        judgement, part, candidate, ask=ask, place=_place_of(part, one, place)
                    ),
                )
                return as_verdict(verdict, filter_name=name)
            again = compares_again(one) if judgement.is_again else None
            if again is not None and name in judgement.memos:
                verdict = await self._compare(name, partial(again, judgement.memos[name]))
            else:
                verdict = await ask(one, candidate)
        except (BrokenImageError, FilterFailed, RunStopped, CheckpointError):
            raise
        except anyio.get_cancelled_exc_class() as error:
            await anyio.lowlevel.checkpoint_if_cancelled()  # somebody ends the run
            raise FilterFailed(name, _sentence(name, error)) from error  # or something inside it
        except (Exception, SystemExit) as error:  # a filter may leave, the run does not
            raise FilterFailed(name, _sentence(name, error)) from error
        finally:
            candidate.forget_changes()
        if verdict.memo:
            judgement.memos[name] = verdict.memo
        if place and not remembers(one):
            judgement.answers[place] = verdict
        return verdict

    async def _compare(self, name: str, again: Callable[[], object]) -> Verdict:
        with self._deadline(name) as begin:
            result = await run_in_daemon(again, limiter=self._threads, on_start=begin)
        return as_verdict(result, filter_name=name)


class _Place:
    """How far a filter has come with the images it is told of."""

    def __init__(self) -> None:
        self.number = 0

    def tell_each(
        self,
        one: RemembersAccepted,
        told: Sequence[tuple[AcceptedImage, dict[str, bytes]]],
        *,
        name: str,
        every_seconds: float,
        on_progress: Callable[[], object],
    ) -> None:
        """Tell one filter of all of them, and now and then that it goes on; runs in a thread."""
        seen = one.seen
        said = time.monotonic()
        for self.number, (image, memos) in enumerate(told):
            seen(image, memos.get(name, b""))
            if time.monotonic() - said > every_seconds:
                on_progress()
                said = time.monotonic()


def _place_of(part: AnyFilter, whole: AnyFilter, place: str) -> str:
    """Return where a part stands; empty if what it says need not be known again."""
    combination = combines(whole)
    if combination is None or not (place or remembers(whole)):
        return ""
    nth = next((n for n, one in enumerate(combination.parts) if one is part), "?")
    return f"{place or name_of(whole)}/{nth}"


def _works_here(one: AnyFilter) -> bool:
    """Return whether a filter, with all its parts, only uses a thread: it waits for nobody."""
    return not worst_case_usd(one) and not any(
        is_async(part) or asks_model(part) for part in parts_of(one)
    )


def _sentence(name: str, error: BaseException) -> str:
    return f"Filter {name} raised {type(error).__name__}: {plain_text(str(error))}"
