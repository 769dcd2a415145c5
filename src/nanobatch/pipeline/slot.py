"""What happens to one slot: call, judge, regenerate once, keep, and what that means for its job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from nanobatch.backend.faults import EMPTY, REFUSED, UNSAFE, fault_of_reply
from nanobatch.backend.foreign import plain_text
from nanobatch.candidate import Candidate
from nanobatch.checkpoint import InHand
from nanobatch.checkpoint.changes import NewFailure, NewSlot
from nanobatch.cost import Stage
from nanobatch.errors import BadRequestError, ModelGoneError, TransientError
from nanobatch.filters.container import remember_fault
from nanobatch.filters.protocol import remembers
from nanobatch.pipeline.caller import Order
from nanobatch.pipeline.control import RunStopped
from nanobatch.pipeline.judging import FilterFailed
from nanobatch.pipeline.outcome import SlotOutcome, SlotVerdict, WalkedSlot
from nanobatch.pipeline.settling import Purchase, Staged
from nanobatch.pipeline.steps import DrawStep, FinishStep, JudgeStep, LandStep, PickStep

if TYPE_CHECKING:
    from nanobatch.backend import Reply
    from nanobatch.checkpoint import Leftover, Store
    from nanobatch.models import TokenUsage
    from nanobatch.pipeline.batch.post import Post
    from nanobatch.pipeline.bills import SlotBills
    from nanobatch.pipeline.board import Board
    from nanobatch.pipeline.caller import Caller
    from nanobatch.pipeline.control import Control
    from nanobatch.pipeline.ending import SlotEnder
    from nanobatch.pipeline.judgement import Judgement
    from nanobatch.pipeline.judging import Judge
    from nanobatch.pipeline.keeping import Keeper
    from nanobatch.pipeline.outcome import Arrival
    from nanobatch.pipeline.plan import Draw, Plan
    from nanobatch.pipeline.progress import JobProgress
    from nanobatch.pipeline.settling import Answer
    from nanobatch.pipeline.steps import Step

__all__ = ["SlotWalker"]


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
        ender: SlotEnder,
        bills: SlotBills,
        post: Post | None,
    ) -> None:
        self._plan = plan
        self._caller = caller
        self._judge = judge
        self._keeper = keeper
        self._store = store
        self._board = board
        self._control = control
        self._ender = ender
        self._bills = bills
        self._post = post

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
            case LandStep():
                await self._land(step.arrival)
            case FinishStep():
                await self._keeper.pick(step.draft, step.unpicked)
                await self._begin(step, step.draft)
            case DrawStep():
                await self._begin(step)
        self._board.touch(step.job)

    async def _begin(self, step: DrawStep | FinishStep, draft: InHand | None = None) -> None:
        """Fill a new slot now, or order what fills it."""
        slot = self._new_slot(step.job, step.draw, draft, by_batch=step.round is not None)
        order = await self._order(slot, step.draw)
        if step.round is None or self._post is None:
            await self._fill(slot, order)
        else:
            await self._post.put(slot, order, in_round=step.round, is_new_slot=True)

    def _new_slot(
        self, job: JobProgress, draw: Draw, draft: InHand | None, *, by_batch: bool
    ) -> WalkedSlot:
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
        return WalkedSlot(job=job, row=row, draft=draft, by_batch=by_batch)

    async def _order(self, slot: WalkedSlot, draw: Draw, *, by_batch: bool | None = None) -> Order:
        """Return what to call for; a finish shows its draft."""
        draft: bytes | None = None
        if slot.draft is not None:
            draft = await self._read(slot.draft.file, slot.draft.sha256)
        return Order(
            what=Purchase(
                slot=slot.row,
                model=draw.model,
                job_id=slot.job.job.id,
                by_batch=slot.by_batch if by_batch is None else by_batch,
            ),
            request=draw.request(slot.job.job, references=slot.job.references, draft=draft),
        )

    async def _fill(
        self,
        slot: WalkedSlot,
        order: Order,
        *,
        calls: tuple[bool, ...] = (True, False),
        is_billed: bool = False,
    ) -> None:
        """Call for a slot's candidate, twice if the first answer is empty or broken.

        Args:
            slot: The slot.
            order: What to call for.
            calls: For each call it may take, whether the slot has no row yet.
            is_billed: Whether a call of it was billed before.
        """
        outcome = SlotOutcome(SlotVerdict.BROKEN)
        try:
            for is_new_slot in calls:
                answer = await self._caller.call(order, is_new_slot=is_new_slot)
                is_billed = is_billed or answer.is_billed
                outcome = await self._judge_answer(slot, answer)
                if outcome.verdict is not SlotVerdict.BROKEN:
                    break
        except FilterFailed as error:
            await self._ender.hold(slot, error)
        except (TransientError, BadRequestError, ModelGoneError) as fault:
            await self._ender.end_without_answer(slot, fault, is_billed=is_billed)
        else:
            await self._ender.end(slot, outcome, is_billed=is_billed)

    async def _judge_answer(self, slot: WalkedSlot, answer: Answer) -> SlotOutcome:
        if answer.images:
            return await self._judge_images(slot, answer.images, usage=answer.reply.usage)
        return await self._judge_nothing(slot, answer.reply, usd_nano=answer.settlement.usd_nano)

    async def _judge_nothing(self, slot: WalkedSlot, reply: Reply, *, usd_nano: int) -> SlotOutcome:
        """Write down that an answer has no image, and return what that comes to."""
        fault, message = fault_of_reply(reply) or EMPTY, _what_came(reply)
        is_refused = fault is REFUSED
        await self._keeper.fail(
            slot.job,
            NewFailure(
                job=slot.row.job,
                slot=slot.row.number,
                kind=fault.kind,
                message=message,
                model_id=slot.row.model_id,
                usd_nano=usd_nano,
                is_final=is_refused,
            ),
        )
        verdict = SlotVerdict.REFUSED if is_refused else SlotVerdict.BROKEN
        return SlotOutcome(verdict, message, is_unsafe=fault is UNSAFE)

    async def _land(self, arrival: Arrival) -> None:
        """Judge what a batch job brought; empty or broken, it is asked for once more."""
        slot = arrival.slot
        is_over = await self._judge_arrival(arrival)
        if is_over and slot.job.orders is not None:
            slot.job.orders.land(slot.row.stage)

    async def _judge_arrival(self, arrival: Arrival) -> bool:
        """Return whether the slot is over."""
        slot, is_billed = arrival.slot, arrival.is_billed
        fault = arrival.fault
        if isinstance(fault, TransientError | BadRequestError | ModelGoneError):
            await self._ender.end_without_answer(slot, fault, is_billed=is_billed)
            return True
        if fault is not None:  # an account's: the run ends, and the slot with it
            raise RunStopped
        try:
            if arrival.images:
                outcome = await self._judge_staged(slot, arrival.images)
            else:
                outcome = await self._judge_nothing(slot, arrival.reply, usd_nano=arrival.usd_nano)
        except FilterFailed as error:
            await self._ender.hold(slot, error)
            return True
        draw = self._draw_again(slot)
        if outcome.verdict is SlotVerdict.BROKEN and arrival.is_first and draw is not None:
            return await self._ask_again(slot, draw, is_billed=is_billed)
        await self._ender.end(slot, outcome, is_billed=is_billed)
        return True

    def _draw_again(self, slot: WalkedSlot) -> Draw | None:
        """Return what to ask for once more; `None` if it cannot be, or not at a full price."""
        orders = slot.job.orders
        if orders is not None and not orders.asks_again(slot.row.stage):
            return None
        return self._plan.draw_again(slot.job.job, slot.row)

    async def _ask_again(self, slot: WalkedSlot, draw: Draw, *, is_billed: bool) -> bool:
        """Ask with the next order, or at once; return whether the slot is over."""
        orders = slot.job.orders
        round_ = None if orders is None else orders.again(slot.row.stage)
        order = await self._order(slot, draw, by_batch=round_ is not None)
        if round_ is not None and self._post is not None:
            await self._post.put(slot, order, in_round=round_, is_new_slot=False)
            return False
        await self._fill(slot, order, calls=(False,), is_billed=is_billed)
        return True

    async def _judge_images(
        self, slot: WalkedSlot, images: tuple[Staged, ...], *, usage: TokenUsage | None
    ) -> SlotOutcome:
        """Judge the candidate of an answer, and its spares as long as none has passed."""
        outcome = SlotOutcome(SlotVerdict.BROKEN)
        with self._control.in_flight():
            for staged in images:
                one = await self._judge_image(slot, staged, usage=usage)
                if one.verdict is SlotVerdict.PASSED:
                    return one
                if one.verdict is SlotVerdict.REJECTED or not outcome.reason:
                    outcome = one
        return outcome

    async def _judge_image(
        self, slot: WalkedSlot, staged: Staged, *, usage: TokenUsage | None
    ) -> SlotOutcome:
        row = slot.row
        candidate = Candidate(
            job=slot.job.judged_as(row.stage),
            image_bytes=staged.image,
            mime_type=staged.row.mime_type,
            sha256=staged.row.sha256,
            width_px=staged.row.width_px,
            height_px=staged.row.height_px,
            model_id=row.model_id,
            tier=row.tier,
            slot=row.number,
            usage=usage,
            finishes=slot.job.finishes,
        )
        if staged.seal is not None:
            remember_fault(candidate, staged.fault)
        is_finish = row.stage is Stage.FINISH
        filters = self._plan.finish_filters if is_finish else self._plan.filters
        plain = [one for one in filters if not remembers(one)]
        judgement = await self._judge.judge(candidate, plain, job_number=row.job)
        if len(plain) == len(filters) or not judgement.accepted:
            if judgement.accepted:
                candidate.forget_picture()  # nobody looks at it again, and the disk may be slow
            return await self._keep(slot, candidate, staged, judgement)
        remembering = [one for one in filters if remembers(one)]
        async with self._judge.memory:  # until the verdict is durable, nobody else is compared
            await self._judge.go_on(judgement, candidate, remembering, job_number=row.job)
            return await self._keep(slot, candidate, staged, judgement)

    async def _keep(
        self, slot: WalkedSlot, candidate: Candidate, staged: Staged, judgement: Judgement
    ) -> SlotOutcome:
        """Make the verdict on a candidate durable."""
        self._ender.filters_work()
        job, row = slot.job, slot.row
        if not judgement.accepted:
            await self._keeper.reject(job, candidate, staged, judgement)
            verdict = SlotVerdict.BROKEN if judgement.is_broken else SlotVerdict.REJECTED
            return SlotOutcome(verdict, judgement.reason, judgement.filter_name)
        competes = row.stage is Stage.DRAFT or (
            row.stage is Stage.CANDIDATE and job.job.best_of > 1
        )
        if not competes and job.takes_more:
            job.picking += 1
            try:
                with anyio.CancelScope(shield=True):  # what is accepted is told to everybody
                    image = await self._keeper.accept(job, staged, judgement)
                    await self._ender.remember(job, image, judgement.memos)
                job.delivered += 1
            finally:
                job.picking -= 1
        else:
            in_hand = InHand(
                candidate=staged.row.number,
                slot=row.number,
                stage=row.stage,
                file=f"staging/{staged.row.file}",
                sha256=staged.row.sha256,
                score=judgement.score,
            )
            await self._keeper.keep(job, candidate, staged, judgement)
            job.keep(in_hand)
        return SlotOutcome(SlotVerdict.PASSED)

    async def _accept_pick(self, step: PickStep) -> None:
        job = step.job
        try:
            is_accepted = await self._ender.accept_waiting(
                job,
                step.best,
                lambda memos: self._keeper.accept_in_hand(job, step.best, memos, step.unpicked),
            )
            if not is_accepted:
                job.groups[:0] = step.unpicked  # they wait for another one
        finally:
            job.picking -= 1

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
        slot = WalkedSlot(job=job, row=row, draft=draft, by_batch=first.by_batch)
        self._bills.begin(first.slot, first.usd_nano, first.unknown_nano)
        try:
            outcome = await self._judge_staged(slot, step.leftovers)
        except FilterFailed as error:
            await self._ender.hold(slot, error)
        else:
            await self._ender.end(slot, outcome, is_billed=True)

    async def _judge_staged(self, slot: WalkedSlot, leftovers: tuple[Leftover, ...]) -> SlotOutcome:
        """Judge images that lie in `staging/` and nowhere else."""
        images: list[Staged] = []
        for one in leftovers:
            image = await self._read(f"staging/{one.row.file}", one.row.sha256)
            images.append(Staged(row=one.row, image=image))
        return await self._judge_images(slot, tuple(images), usage=None)

    async def _read(self, file: str, sha256: str) -> bytes:
        files = self._store.files
        return await anyio.to_thread.run_sync(lambda: files.read(file, sha256=sha256))


def _what_came(reply: Reply) -> str:
    """Say what an answer without an image said."""
    words = [word for word in (reply.block_reason, reply.finish_reason) if word]
    if reply.block_reason:
        what = f"The prompt was blocked ({', '.join(words)})."
    else:
        what = f"The answer holds no image ({', '.join(words) or 'no reason given'})."
    return plain_text(f"{what} {reply.text[:300]}")
