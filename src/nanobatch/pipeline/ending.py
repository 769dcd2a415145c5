"""How a slot ends: what that means for its job, its tier and the run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import anyio

from nanobatch.checkpoint import JobStatus, SlotState
from nanobatch.checkpoint.changes import NewFailure
from nanobatch.cost import Stage
from nanobatch.errors import BadRequestError, FilterError, ModelGoneError
from nanobatch.pipeline.control import Ended
from nanobatch.pipeline.judgement import Judgement
from nanobatch.pipeline.judging import FilterFailed
from nanobatch.pipeline.outcome import SlotVerdict
from nanobatch.pipeline.plan import asked_once_more
from nanobatch.pipeline.progress import MAX_UNSAFE_SLOTS, MAX_VOID_SLOTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nanobatch.candidate import AcceptedImage
    from nanobatch.checkpoint import InHand
    from nanobatch.checkpoint.lessons import Era
    from nanobatch.errors import TransientError
    from nanobatch.models import Tier
    from nanobatch.pipeline.bills import SlotBills
    from nanobatch.pipeline.board import Board
    from nanobatch.pipeline.control import Control
    from nanobatch.pipeline.judging import Judge
    from nanobatch.pipeline.keeping import Keeper
    from nanobatch.pipeline.outcome import SlotOutcome, WalkedSlot
    from nanobatch.pipeline.plan import Plan
    from nanobatch.pipeline.progress import JobProgress
    from nanobatch.policy import StopRule

__all__ = ["SlotEnder"]

MAX_FILTER_FAILURES = 10
"""Filter failures in a row that end the run."""

MAX_BAD_REQUESTS = 20
"""Requests in a row refused as bad, with no answer between them, that end the run: then it is not
the prompts. Jobs that a bad request has ended stay ended, so the others must not follow."""


class SlotEnder:
    """Writes down how slots end and draws the consequences; used by all workers of one run."""

    def __init__(
        self,
        *,
        plan: Plan,
        judge: Judge,
        keeper: Keeper,
        board: Board,
        control: Control,
        stop: StopRule,
        era: Era,
        bills: SlotBills,
        finish_fallback: bool,
    ) -> None:
        self._plan = plan
        self._judge = judge
        self._keeper = keeper
        self._board = board
        self._control = control
        self._stop = stop
        self._era = era
        self._bills = bills
        self._finish_fallback = finish_fallback
        self._judged = Counter[Stage]()
        self._passed = Counter[Stage]()
        self._rejections: dict[Stage, Counter[tuple[str, str]]] = {}
        self._filter_failures = 0
        self._bad_requests = 0

    def filters_work(self) -> None:
        """Note that the filters could judge a candidate."""
        self._filter_failures = 0

    async def remember(
        self, job: JobProgress, image: AcceptedImage, memos: dict[str, bytes]
    ) -> None:
        """Tell the filters that remember; the image is accepted whatever they do."""
        try:
            await self._judge.remember(self._plan.all_filters, image, memos)
        except FilterFailed as error:
            await self._filter_failed(job, error, slot=image.slot, model_id=image.model_id)

    async def end(self, slot: WalkedSlot, outcome: SlotOutcome, *, is_billed: bool) -> None:
        """Write down how a slot ended that got an answer, and count it."""
        job, row = slot.job, slot.row
        is_passed = outcome.verdict is SlotVerdict.PASSED
        if is_billed:
            self._bad_requests = 0
        if is_passed:
            self._land(slot, is_billed=is_billed, is_passed=True)
        else:
            await self._end_with_nothing(slot, outcome.reason, is_billed=is_billed)
        job.unsafe_streak = job.unsafe_streak + 1 if outcome.is_unsafe else 0
        if outcome.verdict is SlotVerdict.REFUSED:
            job.close(JobStatus.REFUSED, outcome.reason, is_final=True)
        elif job.unsafe_streak >= MAX_UNSAFE_SLOTS:
            reason = f"{job.unsafe_streak} slots in a row were refused as unsafe: {outcome.reason}"
            job.close(JobStatus.REFUSED, reason, is_final=True)
        elif not is_billed:
            self._count_void(slot, outcome.reason)
        if is_billed and outcome.verdict is not SlotVerdict.REFUSED:
            self._count_judged(row.stage, outcome)

    async def _end_with_nothing(self, slot: WalkedSlot, reason: str, *, is_billed: bool) -> None:
        """Write down that a slot yielded nothing, and what that means for the draft it had."""
        job, row, draft = slot.job, slot.row, slot.draft
        state = SlotState.REJECTED if is_billed else SlotState.VOID
        if draft is None:
            await self._keeper.end_slot(row.number, state)
        elif not is_billed:
            await self._keeper.end_slot(row.number, state)
            job.picks.insert(0, draft)
        elif self._finish_fallback and not job.has_one_finish:
            is_accepted = await self.accept_waiting(
                job,
                draft,
                lambda memos: self._keeper.fall_back(job, draft, memos, failed=row.number),
                is_fallback=True,
            )
            if not is_accepted:
                await self._keeper.end_slot(row.number, state)
        else:
            await self._keeper.end_slot(row.number, state, spent=draft)
        if job.has_one_finish and is_billed and row.stage is Stage.FINISH:
            job.close(JobStatus.STOPPED, f"The finished image was rejected: {reason}")
        self._land(slot, is_billed=is_billed)

    async def end_without_answer(
        self,
        slot: WalkedSlot,
        fault: TransientError | BadRequestError | ModelGoneError,
        *,
        is_billed: bool,
    ) -> None:
        """Write down how a slot ended whose last call failed, and count it."""
        job, row = slot.job, slot.row
        await self._end_with_nothing(slot, str(fault), is_billed=is_billed)
        if isinstance(fault, BadRequestError):
            job.close(JobStatus.FAILED, str(fault), is_final=True)
            self._count_bad_request(fault)
        elif isinstance(fault, ModelGoneError):
            self._lose_tier(row.tier, fault)
        elif not is_billed:
            self._count_void(slot, str(fault))

    async def hold(self, slot: WalkedSlot, error: FilterFailed) -> None:
        """Leave an image in `staging/` that no filter could judge; nothing is bought instead."""
        job, row = slot.job, slot.row
        await self._filter_failed(job, error, slot=row.number, model_id=row.model_id)
        job.held[row.stage] += 1
        job.held_reason = (
            f"{error.sentence} The image waits in staging and is judged by the next run."
        )
        self._land(slot, is_billed=False, is_held=True)

    async def accept_waiting(
        self,
        job: JobProgress,
        kept: InHand,
        accept: Callable[[str | None], Awaitable[AcceptedImage]],
        *,
        is_fallback: bool = False,
    ) -> bool:
        """Accept a candidate that has waited, if the filters that remember still let it pass.

        Meanwhile other images were accepted. One that does not pass any more is rejected; one that
        a filter could not judge is left in hand for the next run.

        Args:
            job: Its job.
            kept: The candidate.
            accept: Makes it durable, with what filters want to remember of it, if that changed.
            is_fallback: Whether it is a draft in place of its finish. Left in hand it counts as a
                finish, so that it is not finished a second time in this run.

        Raises:
            RunStopped: The run ends first.
        """
        plan = self._plan
        remembering = asked_once_more(plan.filters, plan.finish_filters, is_fallback=is_fallback)
        with self._control.in_flight():
            async with self._judge.memory:
                judgement = Judgement()
                try:
                    if remembering:
                        candidate, judgement = await self._keeper.waiting(job, kept)
                        await self._judge.go_on(
                            judgement, candidate, remembering, job_number=job.taken.number
                        )
                except FilterFailed as error:
                    await self._filter_failed(job, error, slot=kept.slot, model_id="")
                    job.held[Stage.FINISH if is_fallback else kept.stage] += 1
                    job.held_reason = (
                        f"{error.sentence} The image waits in staging for the next run."
                    )
                    return False
                with anyio.CancelScope(shield=True):  # what is accepted is told to everybody
                    if not judgement.accepted:
                        await self._keeper.reject_waiting(job, kept, judgement)
                        job.taken.passed[kept.stage] = job.taken.passed.get(kept.stage, 0) - 1
                        return False
                    image = await accept(judgement.memos_json if remembering else None)
                    await self.remember(job, image, judgement.memos)
                job.delivered += 1
                return True

    async def _filter_failed(
        self, job: JobProgress, error: FilterFailed, *, slot: int, model_id: str
    ) -> None:
        await self._keeper.fail(
            job,
            NewFailure(
                job=job.taken.number,
                slot=slot,
                kind="filter_error",
                message=str(error),
                model_id=model_id,
            ),
        )
        self._filter_failures += 1
        if self._filter_failures >= MAX_FILTER_FAILURES:
            self._control.abort(
                FilterError(
                    f"{error.sentence} That was failure {self._filter_failures} in a row; the "
                    "images wait in staging. Fix the filter and run again.",
                    filter_name=error.filter_name,
                )
            )

    def _land(
        self,
        slot: WalkedSlot,
        *,
        is_billed: bool,
        is_passed: bool = False,
        is_held: bool = False,
    ) -> None:
        row = slot.row
        usd_nano = self._bills.close(row.number)
        slot.job.land(
            row.stage,
            row.tier,
            is_billed=is_billed,
            is_passed=is_passed,
            is_held=is_held,
            usd_nano=usd_nano if self._era.prices(row) and not slot.by_batch else None,
            teaches=self._era.covers(row),
        )

    def _count_bad_request(self, fault: BadRequestError) -> None:
        self._bad_requests += 1
        if self._bad_requests >= MAX_BAD_REQUESTS:
            self._control.stop(
                Ended.HOPELESS,
                f"The last {self._bad_requests} requests were all refused as bad, so it may not be "
                f"the prompts: {fault} Fix what they have in common and run again.",
            )

    def _count_void(self, slot: WalkedSlot, reason: str) -> None:
        """Count a slot that the provider failed; those of one batch job all fail together."""
        job = slot.job
        if slot.by_batch:
            return  # the rounds are counted: what is missing after them is drawn at once
        job.void_streak += 1
        if job.void_streak >= MAX_VOID_SLOTS:
            job.close(JobStatus.FAILED, f"{job.void_streak} slots in a row had no answer: {reason}")

    def _count_judged(self, stage: Stage, outcome: SlotOutcome) -> None:
        """Count a judged slot; each stage has to prove itself, good drafts save no finishes."""
        self._judged[stage] += 1
        if outcome.verdict is SlotVerdict.PASSED:
            self._passed[stage] += 1
        if self._passed[stage]:
            return
        self._rejections.setdefault(stage, Counter()).update([_why(outcome)])
        if self._judged[stage] >= self._stop.hopeless_slots:
            self._control.stop(
                Ended.HOPELESS,
                f"None of the first {self._judged[stage]} slots passed (stage {stage}). "
                f"{_most_common(self._rejections[stage])} Fix the prompts or the filters before "
                "spending more.",
            )

    def _lose_tier(self, tier: Tier, fault: ModelGoneError) -> None:
        self._board.gone |= {tier}
        if self._board.gone >= self._plan.models.keys():
            self._control.stop(Ended.MODEL, str(fault))


def _why(outcome: SlotOutcome) -> tuple[str, str]:
    """Return the filter that rejected a slot and its reason, without figures in brackets."""
    return outcome.filter_name, outcome.reason.partition(" (")[0]


def _most_common(rejections: Counter[tuple[str, str]]) -> str:
    """Say which filter rejected most, how many, and what it said most often."""
    by_filter = Counter[str]()
    for (name, _), slots in rejections.items():
        by_filter[name] += slots
    name, slots = by_filter.most_common(1)[0]
    reasons = Counter({why: n for (one, why), n in rejections.items() if one == name and why})
    who = f"{name} rejected {slots}" if name else f"No readable image came in {slots}"
    if not reasons:
        return f"{who} of them."
    reason, count = reasons.most_common(1)[0]
    return f"{who} of them, most often with the reason: {reason.rstrip('.')} ({count})."
