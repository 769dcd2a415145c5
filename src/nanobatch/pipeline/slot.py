"""What happens to one slot: call, judge, regenerate once, keep, and what that means for its job."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from nanobatch.candidate import Candidate
from nanobatch.checkpoint import InHand, JobStatus, SlotState
from nanobatch.checkpoint.changes import NewFailure, NewSlot
from nanobatch.cost import Stage
from nanobatch.errors import BadRequestError, CheckpointError, FilterError, ModelGoneError, TransientError
from nanobatch.filters.protocol import remembers
from nanobatch.pipeline.caller import Order, Staged
from nanobatch.pipeline.control import Ended, RunStopped
from nanobatch.pipeline.judging import FilterFailed
from nanobatch.pipeline.progress import (
    MAX_UNSAFE_SLOTS,
    MAX_VOID_SLOTS,
    DrawStep,
    FinishStep,
    JudgeStep,
    PickStep,
)

if TYPE_CHECKING:
    from nanobatch.backend import Reply
    from nanobatch.candidate import AcceptedImage
    from nanobatch.checkpoint import Store
    from nanobatch.models import Tier, TokenUsage
    from nanobatch.pipeline.board import Board
    from nanobatch.pipeline.caller import Answer, Caller
    from nanobatch.pipeline.control import Control
    from nanobatch.pipeline.judging import Judge, Judgement
    from nanobatch.pipeline.keeping import Keeper
    from nanobatch.pipeline.plan import Draw, Plan
    from nanobatch.pipeline.progress import JobProgress, Step
    from nanobatch.policy import StopRule

__all__ = ["SlotWalker"]

MAX_FILTER_FAILURES = 10
"""Filter failures in a row that end the run."""

# Source: reference page "Gemini image API: facts" 2.1, collected 2026-11-23, unverified.
PROHIBITED = frozenset(
    {"SAFETY", "PROHIBITED_CONTENT", "IMAGE_PROHIBITED_CONTENT", "BLOCKLIST", "SPII"}
)
UNSAFE = "IMAGE_SAFETY"


class _Verdict(Enum):
    """What the images of one answer, or of one slot, came to."""

    PASSED = auto()
    REJECTED = auto()
    BROKEN = auto()
    """None of them is a readable image, or there is none."""
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class _Outcome:
    verdict: _Verdict
    reason: str = ""
    is_unsafe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    """One slot on its way."""

    job: JobProgress
    row: NewSlot
    draft: InHand | None = None
    """What is being finished; `None` for candidates and drafts."""


class SlotWalker:
    """Walks slots from their step to their end; used by all workers of one run."""

    def __init__(
        self,
        *,
        plan: Plan,
        caller: Caller,
        judge: Judge,
        keeper: Keeper,
        store: Store,
        board: Board,
        control: Control,
        stop: StopRule,
        finish_fallback: bool,
    ) -> None:
        self._plan = plan
        self._caller = caller
        self._judge = judge
        self._keeper = keeper
        self._store = store
        self._board = board
        self._control = control
        self._stop = stop
        self._finish_fallback = finish_fallback
        self._memory = anyio.Lock()
        self._judged = 0
        self._passed = 0
        self._filter_failures = 0

    async def walk(self, step: Step) -> None:
        """Do one step, up to the end of its slot.

        Raises:
            RunStopped: The run ends; whatever was paid for is in the checkpoint.
            CheckpointError: The disk refused.
        """
        match step:
            case PickStep():
                await self._accept_pick(step)
            case JudgeStep():
                await self._judge_leftovers(step)
            case FinishStep():
                await self._keeper.pick(step.draft, step.unpicked)
                await self._fill(self._new_slot(step.job, step.draw, step.draft), step.draw)
            case DrawStep():
                await self._fill(self._new_slot(step.job, step.draw), step.draw)
        self._board.touch(step.job)

    def _new_slot(self, job: JobProgress, draw: Draw, draft: InHand | None = None) -> _Slot:
        row = NewSlot(
            number=self._store.new_slot(),
            job=job.taken.number,
            attempt=job.taken.attempt,
            allowance=job.taken.allowance,
            stage=draw.stage,
            tier=draw.tier,
            model_id=draw.model.id,
            parent=draft.slot if draft else None,
        )
        return _Slot(job=job, row=row, draft=draft)

    async def _fill(self, slot: _Slot, draw: Draw) -> None:
        """Call for a slot's candidate, twice if the first answer is empty or broken."""
        draft: bytes | None = None
        if slot.draft is not None:
            draft = await anyio.to_thread.run_sync(self._store.files.read, slot.draft.file)
            if draft is None:
                raise CheckpointError(
                    f"The draft {slot.draft.file} is missing from the checkpoint: restore it, or "
                    "give the job a new id."
                )
        order = Order(
            slot=slot.row,
            request=draw.request(slot.job.job, references=slot.job.references, draft=draft),
            model=draw.model,
            job_id=slot.job.job.id,
        )
        is_billed = False
        outcome = _Outcome(_Verdict.BROKEN)
        try:
            for is_new_slot in (True, False):
                answer = await self._caller.call(order, is_new_slot=is_new_slot)
                is_billed = is_billed or answer.is_billed
                outcome = await self._judge_answer(slot, answer)
                if outcome.verdict is not _Verdict.BROKEN:
                    break
        except FilterFailed as error:
            await self._hold(slot, error)
        except (TransientError, BadRequestError, ModelGoneError) as fault:
            await self._end_without_answer(slot, fault, is_billed=is_billed)
        else:
            await self._end(slot, outcome, is_billed=is_billed)

    async def _judge_answer(self, slot: _Slot, answer: Answer) -> _Outcome:
        reply, model_id = answer.reply, slot.row.model_id
        if answer.images:
            return await self._judge_images(slot, answer.images, usage=reply.usage)
        kind, message = "empty", _what_came(reply)
        is_refused = bool(reply.block_reason) or reply.finish_reason in PROHIBITED
        await self._keeper.fail(
            slot.job,
            NewFailure(
                job=slot.row.job,
                slot=slot.row.number,
                kind="refused" if is_refused else kind,
                message=message,
                model_id=model_id,
                usd_nano=answer.settlement.usd_nano,
                is_final=is_refused,
            ),
        )
        verdict = _Verdict.REFUSED if is_refused else _Verdict.BROKEN
        return _Outcome(verdict, message, is_unsafe=reply.finish_reason == UNSAFE)

    async def _judge_images(
        self, slot: _Slot, images: tuple[Staged, ...], *, usage: TokenUsage | None
    ) -> _Outcome:
        """Judge the candidate of an answer, and its spares as long as none has passed."""
        outcome: _Outcome | None = None
        with self._control.in_flight():
            worst = _Outcome(_Verdict.BROKEN)
            for staged in images:
                one = await self._judge_image(slot, staged, usage=usage)
                if one.verdict is _Verdict.PASSED:
                    worst = one
                    break
                if one.verdict is _Verdict.REJECTED or not worst.reason:
                    worst = one
            outcome = worst
        if outcome is None:
            raise RunStopped  # the drain's deadline passed: it is judged when the run goes on
        return outcome

    async def _judge_image(
        self, slot: _Slot, staged: Staged, *, usage: TokenUsage | None
    ) -> _Outcome:
        row, job = slot.row, slot.job
        candidate = Candidate(
            job=job.job,
            image_bytes=staged.image,
            mime_type=staged.row.mime_type,
            sha256=staged.row.sha256,
            width_px=staged.row.width_px,
            height_px=staged.row.height_px,
            model_id=row.model_id,
            tier=row.tier,
            slot=row.number,
            usage=usage,
        )
        is_finish = row.stage is Stage.FINISH
        filters = self._plan.finish_filters if is_finish else self._plan.filters
        plain = [one for one in filters if not remembers(one)]
        judgement = await self._judge.judge(candidate, plain, job_number=row.job)
        if len(plain) == len(filters) or not judgement.accepted:
            return await self._keep(slot, candidate, staged, judgement)
        remembering = [one for one in filters if remembers(one)]
        async with self._memory:  # until the verdict is durable, nobody else is compared
            await self._judge.go_on(judgement, candidate, remembering, job_number=row.job)
            return await self._keep(slot, candidate, staged, judgement)

    async def _keep(
        self, slot: _Slot, candidate: Candidate, staged: Staged, judgement: Judgement
    ) -> _Outcome:
        """Make the verdict on a candidate durable."""
        self._filter_failures = 0
        job, row = slot.job, slot.row
        if not judgement.accepted:
            await self._keeper.reject(job, candidate, staged, judgement)
            verdict = _Verdict.BROKEN if judgement.is_broken else _Verdict.REJECTED
            return _Outcome(verdict, judgement.reason)
        is_accepted_now = row.stage is Stage.FINISH or (
            row.stage is Stage.CANDIDATE and job.job.best_of == 1
        )
        if is_accepted_now:
            image = await self._keeper.accept(job, staged, judgement)
            await self._remember(slot, image, judgement.memos)
            job.delivered += 1
        else:
            in_hand = InHand(
                candidate=staged.row.number,
                slot=row.number,
                stage=row.stage,
                file=f"staging/{staged.row.file}",
                score=judgement.score,
            )
            await self._keeper.keep(job, candidate, staged, judgement)
            job.keep(in_hand)
        return _Outcome(_Verdict.PASSED)

    async def _remember(
        self, slot: _Slot, image: AcceptedImage, memos: dict[str, bytes]
    ) -> None:
        """Tell the filters that remember; the image is accepted whatever they do."""
        try:
            await self._judge.remember(self._plan.all_filters, image, memos)
        except FilterFailed as error:
            await self._filter_failed(slot.job, slot.row, error)

    async def _accept_pick(self, step: PickStep) -> None:
        job = step.job
        with anyio.CancelScope(shield=True):
            async with self._memory:
                image, memos = await self._keeper.accept_in_hand(job, step.best, step.unpicked)
                job.delivered += 1
                job.picking -= 1
                await self._judge.remember(self._plan.all_filters, image, memos)

    async def _judge_leftovers(self, step: JudgeStep) -> None:
        """Judge what an earlier run has paid for."""
        first = step.leftovers[0]
        job = step.job
        row = NewSlot(
            number=first.slot,
            job=job.taken.number,
            attempt=job.taken.attempt,
            allowance=job.taken.allowance,
            stage=first.stage,
            tier=first.tier,
            model_id=first.model_id,
            parent=first.parent,
        )
        draft = next((one for one in job.taken.in_hand if one.slot == first.parent), None)
        slot = _Slot(job=job, row=row, draft=draft)
        images: list[Staged] = []
        for one in step.leftovers:
            image = await anyio.to_thread.run_sync(self._store.files.read, f"staging/{one.file}")
            images.append(Staged(row=one.row, image=image or b""))
        try:
            outcome = await self._judge_images(slot, tuple(images), usage=None)
        except FilterFailed as error:
            await self._hold(slot, error)
        else:
            await self._end(slot, outcome, is_billed=True)

    async def _end(self, slot: _Slot, outcome: _Outcome, *, is_billed: bool) -> None:
        """Write down how a slot ended that got an answer, and count it."""
        job, row = slot.job, slot.row
        is_passed = outcome.verdict is _Verdict.PASSED
        if not is_passed:
            state = SlotState.REJECTED if is_billed else SlotState.VOID
            await self._keeper.end_slot(row.number, state, spent=slot.draft)
            await self._fall_back(slot, outcome)
        job.land(row.stage, is_billed=is_billed, is_passed=is_passed)
        job.unsafe_streak = job.unsafe_streak + 1 if outcome.is_unsafe else 0
        if outcome.verdict is _Verdict.REFUSED:
            job.close(JobStatus.REFUSED, outcome.reason, is_final=True)
        elif job.unsafe_streak >= MAX_UNSAFE_SLOTS:
            reason = f"{job.unsafe_streak} slots in a row were refused as unsafe: {outcome.reason}"
            job.close(JobStatus.REFUSED, reason, is_final=True)
        elif not is_billed:
            self._count_void(job, outcome.reason)
        self._count_judged(is_passed=is_passed)

    async def _fall_back(self, slot: _Slot, outcome: _Outcome) -> None:
        """After a rejected finish: deliver the draft if that was asked for."""
        job, draft = slot.job, slot.draft
        if draft is None:
            return
        if job.has_one_finish:
            job.close(JobStatus.STOPPED, f"The finished image was rejected: {outcome.reason}")
        elif self._finish_fallback:
            image, memos = await self._keeper.accept_in_hand(job, draft)
            await self._remember(slot, image, memos)
            job.delivered += 1

    async def _end_without_answer(
        self,
        slot: _Slot,
        fault: TransientError | BadRequestError | ModelGoneError,
        *,
        is_billed: bool,
    ) -> None:
        """Write down how a slot ended whose last call failed, and count it."""
        job, row = slot.job, slot.row
        state = SlotState.REJECTED if is_billed else SlotState.VOID
        is_spent = is_billed and slot.draft is not None
        await self._keeper.end_slot(row.number, state, spent=slot.draft if is_spent else None)
        job.land(row.stage, is_billed=is_billed)
        if slot.draft is not None and not is_spent:
            job.picks.insert(0, slot.draft)
        if isinstance(fault, BadRequestError):
            job.close(JobStatus.FAILED, str(fault), is_final=True)
        elif isinstance(fault, ModelGoneError):
            self._lose_tier(row.tier, fault)
        elif not is_billed:
            self._count_void(job, str(fault))

    async def _hold(self, slot: _Slot, error: FilterFailed) -> None:
        """Leave an image in `staging/` that no filter could judge; nothing is bought instead."""
        job, row = slot.job, slot.row
        await self._filter_failed(job, row, error)
        job.held[row.stage] += 1
        job.held_reason = f"{error} The image waits in staging and is judged by the next run."
        job.land(row.stage, is_billed=False)

    async def _filter_failed(self, job: JobProgress, row: NewSlot, error: FilterFailed) -> None:
        await self._keeper.fail(
            job,
            NewFailure(
                job=row.job,
                slot=row.number,
                kind="filter_error",
                message=str(error),
                model_id=row.model_id,
            ),
        )
        self._filter_failures += 1
        if self._filter_failures >= MAX_FILTER_FAILURES:
            self._control.abort(
                FilterError(
                    f"{error} That was failure {self._filter_failures} in a row; the images wait "
                    "in staging. Fix the filter and run again.",
                    filter_name=error.filter_name,
                )
            )

    def _count_void(self, job: JobProgress, reason: str) -> None:
        job.void_streak += 1
        if job.void_streak >= MAX_VOID_SLOTS:
            job.close(
                JobStatus.FAILED, f"{job.void_streak} slots in a row had no answer: {reason}"
            )

    def _count_judged(self, *, is_passed: bool) -> None:
        self._judged += 1
        self._passed += is_passed
        if self._passed == 0 and self._judged >= self._stop.hopeless_slots:
            self._control.stop(
                Ended.HOPELESS,
                f"None of the first {self._judged} candidates passed: fix the prompts or the "
                "filters before spending more.",
            )

    def _lose_tier(self, tier: Tier, fault: ModelGoneError) -> None:
        self._board.gone |= {tier}
        if self._board.gone >= self._plan.models.keys():
            self._control.stop(Ended.MODEL, str(fault))


def _what_came(reply: Reply) -> str:
    """Say what an answer without an image said."""
    words = [word for word in (reply.block_reason, reply.finish_reason) if word]
    if reply.block_reason:
        what = f"The prompt was blocked ({', '.join(words)})."
    else:
        what = f"The answer holds no image ({', '.join(words) or 'no reason given'})."
    return f"{what} {reply.text[:300]}".strip()
