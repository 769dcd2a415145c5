"""Judging the images of a checkpoint again, a few at a time, without touching anything."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from nanobatch.candidate import AcceptedImage, Candidate
from nanobatch.checkpoint import CandidateState
from nanobatch.cost import Stage
from nanobatch.errors import ConfigError, FilterError
from nanobatch.filters.protocol import name_of, remembers
from nanobatch.pipeline.ending import MAX_FILTER_FAILURES
from nanobatch.pipeline.judgement import Judgement
from nanobatch.pipeline.panel import FILTER_THREADS, FilterFailed, Panel
from nanobatch.pipeline.plan import asked_once_more
from nanobatch.report.judged import BROKEN, ReplayedCandidate, Unjudged, has_passed, read_image
from nanobatch.report.rules import SlotImages, draft_stands, keeps_verdict
from nanobatch.report.turns import Turn, in_order, turns_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from anyio import CancelScope
    from anyio.streams.memory import MemoryObjectReceiveStream

    from nanobatch.candidate import Verdict
    from nanobatch.checkpoint import CheckpointReader, KeptCandidate, Moment
    from nanobatch.filters import AnyFilter
    from nanobatch.job import Job
    from nanobatch.models import ModelRegistry

__all__ = ["Rejudging"]


class Rejudging:
    """Puts every image of a moment before the filters that are there now.

    As many images are in memory as there are threads for filters; of each image that was judged a
    small record stays.
    """

    def __init__(
        self,
        reader: CheckpointReader,
        moment: Moment,
        *,
        filters: Sequence[AnyFilter],
        finish_filters: Sequence[AnyFilter],
        registry: ModelRegistry,
        timeout_seconds: float,
    ) -> None:
        self.slots: dict[int, SlotImages] = {}
        """Every slot that got an image, by its number."""
        self._reader = reader
        self._moment = moment
        self._filters = {
            Stage.CANDIDATE: filters,
            Stage.DRAFT: filters,
            Stage.FINISH: finish_filters,
        }
        self._registry = registry
        self._panel = Panel(timeout_seconds=timeout_seconds)
        self._remembering = [
            one
            for one in (*filters, *(f for f in finish_filters if all(f is not o for o in filters)))
            if remembers(one)
        ]
        self._spares: list[int] = []
        self._rejected_late: set[int] = set()
        """Images that filters which remember rejected, in the run and again."""
        self._slot_of: dict[int, int] = {}
        self._turns: list[Turn] = []
        self._numbers: dict[str, int] = {}
        self._names: dict[int, tuple[str, int]] = {}
        """Job id and number of the image that a slot yielded."""
        self._judged: dict[int, Judgement] = {}
        self._failures = 0
        self._error: Exception | None = None

    async def judge(self) -> None:
        """Judge what can be judged; `slots` then holds every image with its new verdict.

        Raises:
            ConfigError: A filter charged for its judgement, or a draft's model is not known.
            FilterError: Filters failed ten times in a row, or one could not be told of an image.
            CheckpointError: The checkpoint cannot be read.
        """
        await self._judge_all(self._first_images())
        if self._remembering:
            for _, number, is_told in in_order(self._turns, self.slots.values()):
                if is_told:
                    await self._ask_once_more(number)
                    await self._tell(number)
                else:
                    await self._ask_in_turn(number)
        else:
            await self._judge_spares()

    def _first_images(self) -> Iterator[KeptCandidate]:
        """Note every image of the checkpoint and yield those that can be judged at once."""
        for kept in self._reader.kept_candidates(self._moment):
            image = self._note(kept)
            if image.state is CandidateState.SPARE:
                self._spares.append(image.number)
            else:
                yield kept

    def _note(self, kept: KeptCandidate) -> ReplayedCandidate:
        record = kept.record
        state = record.state
        is_accepted = state is CandidateState.ACCEPTED
        if is_accepted and (kept.accepted_line or 0) > self._moment.last_line:
            state, is_accepted = CandidateState.STAGED, False  # a run accepted it meanwhile
        slot = self.slots.get(record.slot)
        if slot is None:
            slot = self.slots[record.slot] = SlotImages(
                number=record.slot,
                job_id=record.job_id,
                tag=kept.job.tag,
                attempt=kept.attempt,
                stage=record.stage,
                tier=record.tier,
                model_id=record.model_id,
                parent=kept.parent,
                want=kept.job.want,
                best_of=kept.job.best_of,
            )
        slot.was_accepted = slot.was_accepted or is_accepted
        is_broken = state is CandidateState.BROKEN
        image = ReplayedCandidate(
            number=record.number,
            job_id=slot.job_id,
            tag=slot.tag,
            slot=slot.number,
            stage=slot.stage,
            tier=slot.tier,
            model_id=slot.model_id,
            state=state,
            path=record.path,
            passed_before=has_passed(state),
            passes_after=None,
            filter_before=BROKEN if is_broken else record.filter_name,
            filter_after="",
            reason="",
            score_before=record.score,
            score_after=None,
            unjudged=None,
        )
        slot.images.append(image)
        if kept.image_number is not None:
            self._names[slot.number] = (slot.job_id, kept.image_number)
        self._slot_of[image.number] = slot.number
        if self._remembering:
            self._turns += turns_of(kept, slot, image, is_accepted=is_accepted)
            numbers = self._numbers
            numbers[slot.job_id] = max(numbers.get(slot.job_id, 0), kept.image_number or 0)
        return image

    async def _judge_spares(self) -> None:
        """Judge further images of an answer, one after the other, while none before them passes."""
        waiting = self._spares
        while waiting:
            now: dict[int, int] = {}
            later: list[int] = []
            for number in waiting:
                if self._slot_of[number] in now:
                    later.append(number)
                elif self._is_needed(number):
                    now[self._slot_of[number]] = number
            await self._judge_all(map(self._reader.kept_candidate, now.values()))
            waiting = later

    def _is_needed(self, spare: int) -> bool:
        """Return whether a run would have looked at an image, which this one had no reason to.

        An image may pass, wait for the others of its group, and be rejected because one like it was
        accepted meanwhile: no run then goes back to what else there was in its answer.
        """
        slot = self.slots[self._slot_of[spare]]
        return not any(
            keeps_verdict(one) or one.number in self._rejected_late
            for one in slot.images
            if one.number < spare
        )

    async def _judge_all(self, wanted: Iterable[KeptCandidate]) -> None:
        """Let a few workers judge images that are read as they are needed."""
        send, receive = anyio.create_memory_object_stream["KeptCandidate"](0)
        async with anyio.create_task_group() as group:
            with receive:
                for _ in range(FILTER_THREADS):
                    group.start_soon(self._work, receive.clone(), group.cancel_scope)
            try:
                with send:
                    for kept in wanted:
                        await send.send(kept)
            except Exception as error:  # noqa: BLE001 - raised below, not inside a group
                self._stop(error, group.cancel_scope)
        if self._error is not None:
            raise self._error

    async def _work(
        self, receive: MemoryObjectReceiveStream[KeptCandidate], scope: CancelScope
    ) -> None:
        try:
            with receive:
                async for kept in receive:
                    await self._judge(kept)
        except Exception as error:  # noqa: BLE001 - raised when all workers are done
            self._stop(error, scope)

    def _stop(self, error: Exception, scope: CancelScope) -> None:
        self._error = self._error or error
        scope.cancel()

    async def _judge(self, kept: KeptCandidate) -> None:
        """Judge one image by the filters that need nobody's memory."""
        plain = [one for one in self._filters[kept.record.stage] if not remembers(one)]
        await self._judge_by(plain, kept, None)

    async def _judge_by(
        self, filters: Sequence[AnyFilter], kept: KeptCandidate, so_far: Judgement | None
    ) -> None:
        """Have one image judged, or go on with its judgement so far, and note the outcome."""
        number = kept.record.number
        content = await self._content(kept)
        if isinstance(content, Unjudged):
            self._keep_verdict(number, content)
            return
        candidate = self._candidate(kept, content)
        try:
            if so_far is None:
                judgement = await self._panel.judge(candidate, filters, ask=self._ask)
            else:
                judgement = so_far
                await self._panel.go_on(judgement, candidate, filters, ask=self._ask)
        except FilterFailed as failed:
            self._count_failure(failed)
            self._keep_verdict(number, Unjudged.FILTER_FAILED, str(failed))
            return
        if self._error is not None:
            raise self._error
        self._failures = 0
        if judgement.memos or judgement.answers:
            self._judged[number] = judgement
        self._put(
            replace(
                self._image(number),
                passes_after=judgement.accepted,
                filter_after=BROKEN if judgement.is_broken else judgement.filter_name,
                reason=judgement.reason,
                score_after=judgement.score,
            )
        )

    async def _ask_in_turn(self, number: int) -> None:
        """Let the filters that remember judge an image, when it is its turn."""
        image = self._image(number)
        if image.state is CandidateState.SPARE:
            if not self._is_needed(number):
                return
            await self._judge(self._reader.kept_candidate(number))
            image = self._image(number)
        filters = [one for one in self._filters[image.stage] if remembers(one)]
        if filters and image.unjudged is None and image.passes_after:
            so_far = self._judged.pop(number, Judgement(score=image.score_after))
            await self._judge_by(filters, self._reader.kept_candidate(number), so_far)
            if image.state is CandidateState.REJECTED and not keeps_verdict(self._image(number)):
                self._rejected_late.add(number)
        slot = self.slots[image.slot]
        if not (image.passed_before or slot.competes or image.stage is Stage.DRAFT):
            await self._tell(number)

    async def _ask_once_more(self, number: int) -> None:
        """Let the filters that remember compare an image that has waited, as a run does."""
        image = self._image(number)
        is_draft = image.stage is Stage.DRAFT
        if not (is_draft or self.slots[image.slot].competes):
            return
        filters = asked_once_more(
            self._filters[image.stage], self._filters[Stage.FINISH], is_fallback=is_draft
        )
        if filters and image.unjudged is None and image.passes_after:
            so_far = self._judged.pop(number, Judgement(score=image.score_after))
            so_far.is_again = True
            await self._judge_by(filters, self._reader.kept_candidate(number), so_far)

    async def _tell(self, number: int) -> None:
        """Tell the filters that remember of an image, if it would be accepted."""
        image, judged = self._image(number), self._judged.pop(number, Judgement())
        slot = self.slots[image.slot]
        is_first = slot.yields(keeps_verdict) is image
        if not (is_first and draft_stands(self.slots, slot.number, slot.parent, keeps_verdict)):
            return
        kept = self._reader.kept_candidate(number)
        record = kept.record
        nth = kept.image_number
        if nth is None or not slot.was_accepted:
            nth = self._numbers[slot.job_id] = self._numbers[slot.job_id] + 1
        accepted = AcceptedImage(
            job_id=record.job_id,
            number=nth,
            path=record.path or self._reader.root,
            sha256=record.sha256,
            mime_type=record.mime_type,
            width_px=record.width_px,
            height_px=record.height_px,
            model_id=record.model_id,
            tier=record.tier,
            usd=kept.usd,
            score=image.score_after,
            prompt=kept.job.prompt,
            slot=record.slot,
        )
        try:
            told = kept.memos if image.unjudged else judged.memos
            await self._panel.remember(self._remembering, accepted, told)
        except FilterFailed as failed:
            raise FilterError(
                f"{failed.sentence} It was told of the image {accepted.path.name}.",
                filter_name=failed.filter_name,
            ) from failed

    async def _content(self, kept: KeptCandidate) -> bytes | Unjudged:
        """Return the bytes of an image; a run may be giving the file another place just now."""
        record = kept.record
        for _ in range(2):
            if record.path is None:
                return Unjudged.NOT_KEPT
            content = await anyio.to_thread.run_sync(read_image, record.path, record.sha256)
            if content is not Unjudged.MISSING:
                return content
            record = self._reader.kept_candidate(record.number).record
        return Unjudged.MISSING

    def _candidate(self, kept: KeptCandidate, content: bytes) -> Candidate:
        record = kept.record
        return Candidate(
            job=self._judged_as(kept),
            image_bytes=content,
            mime_type=record.mime_type,
            sha256=record.sha256,
            width_px=record.width_px,
            height_px=record.height_px,
            model_id=record.model_id,
            tier=record.tier,
            slot=record.slot,
            usage=kept.usage,
            finishes=self._finished_by(kept),
        )

    def _finished_by(self, kept: KeptCandidate) -> tuple[str, int] | None:
        """Return the image that a person chose to have finished so; `None` for all others."""
        name = self._names.get(kept.parent or 0)
        return name if name is not None and name[0] != kept.record.job_id else None

    def _judged_as(self, kept: KeptCandidate) -> Job:
        """Return the job as filters see it: a draft is judged by the shape its model can draw."""
        job = kept.job
        if kept.record.stage is not Stage.DRAFT:
            return job
        size, aspect_ratio = self._registry[kept.record.model_id].nearest(
            job.size, job.aspect_ratio
        )
        return job.model_copy(update={"size": size, "aspect_ratio": aspect_ratio})

    async def _ask(self, one: AnyFilter, candidate: Candidate) -> Verdict:
        verdict = await self._panel.answer(one, candidate)
        if verdict.usd:
            self._error = ConfigError(
                f"Filter {name_of(one)} says that its judgement cost {verdict.usd} USD: a replay "
                "is free of charge and books nothing, so leave this filter out."
            )
        return verdict

    def _count_failure(self, failed: FilterFailed) -> None:
        self._failures += 1
        if self._failures >= MAX_FILTER_FAILURES:
            raise FilterError(
                f"{failed.sentence} That was failure {self._failures} in a row; nothing was "
                "changed. Fix the filter and replay again.",
                filter_name=failed.filter_name,
            ) from failed

    def _keep_verdict(self, number: int, why: Unjudged, reason: str = "") -> None:
        image = self._image(number)
        self._put(
            replace(
                image,
                passes_after=image.passed_before,
                filter_after=image.filter_before,
                reason=reason,
                score_after=image.score_before,
                unjudged=why,
            )
        )

    def _image(self, number: int) -> ReplayedCandidate:
        images = self.slots[self._slot_of[number]].images
        return next(one for one in images if one.number == number)

    def _put(self, image: ReplayedCandidate) -> None:
        images = self.slots[image.slot].images
        images[[one.number for one in images].index(image.number)] = image
