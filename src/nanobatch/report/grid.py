"""A filter that asks another one at every threshold of a grid, while the image is there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from nanobatch.candidate import Verdict
from nanobatch.checkpoint import CandidateState
from nanobatch.filters.protocol import name_of
from nanobatch.pipeline.judgement import Judgement
from nanobatch.report.judged import BROKEN
from nanobatch.report.rules import keeps_verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nanobatch.candidate import Candidate
    from nanobatch.filters import AnyFilter
    from nanobatch.pipeline.panel import Panel
    from nanobatch.report.judged import ReplayedCandidate
    from nanobatch.report.rules import SlotImages

__all__ = ["Answers", "GridFilter", "at_threshold"]

Answers: TypeAlias = "list[tuple[Judgement, ...]]"
"""What became of each image that was judged, at each threshold in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridFilter:
    """Rejects every image, and keeps what it would be at each threshold.

    As nothing passes, a replay shows it the further images of an answer too. The reason of its
    rejection is the place of the answer in `answers`.
    """

    before: Sequence[AnyFilter]
    """The filters that are asked first, once an image; what they reject is rejected everywhere."""
    grid: Sequence[AnyFilter]
    """The filter at each threshold."""
    panel: Panel
    answers: Answers
    charges: list[str]
    """Filters that charged for a judgement: none of them may."""

    name: ClassVar[str] = "tune"

    async def __call__(self, candidate: Candidate) -> Verdict:
        """Ask all filters.

        Raises:
            FilterFailed: One of them raised or took too long.
        """
        first = Judgement()
        await self.panel.go_on(first, candidate, self.before, ask=self._ask)
        judgements = [first] * len(self.grid)
        if first.accepted:
            judgements = [replace(first, memos={}) for _ in self.grid]
            for judgement, one in zip(judgements, self.grid, strict=True):
                await self.panel.go_on(judgement, candidate, [one], ask=self._ask)
        self.answers.append(tuple(judgements))  # nothing is awaited from here on
        return Verdict.reject(str(len(self.answers) - 1))

    async def _ask(self, one: AnyFilter, candidate: Candidate) -> Verdict:
        verdict = await self.panel.answer(one, candidate)
        if verdict.usd:
            self.charges.append(f"Filter {name_of(one)} says that it cost {verdict.usd} USD")
        return verdict


def at_threshold(
    slots: Mapping[int, SlotImages], answers: Answers, place: int
) -> dict[int, SlotImages]:
    """Return the slots with the verdicts at one threshold of the grid.

    Args:
        slots: As a replay with `GridFilter` left them.
        answers: What the filter kept.
        place: Which threshold, from 0.
    """
    return {
        number: replace(slot, images=_judged_images(slot.images, answers, place))
        for number, slot in slots.items()
    }


def _judged_images(
    images: Sequence[ReplayedCandidate], answers: Answers, place: int
) -> list[ReplayedCandidate]:
    """Return the images of a slot; a further one counts only while none before it passes."""
    judged = {image.number: _judged(image, answers, place) for image in images}
    for number in sorted(judged):
        image = judged[number]
        if image.state is CandidateState.SPARE and any(
            keeps_verdict(judged[other]) for other in judged if other < number
        ):
            judged[number] = replace(
                image,
                passes_after=None,
                filter_after="",
                reason="",
                score_after=None,
                unjudged=None,
            )
    return [judged[image.number] for image in images]


def _judged(image: ReplayedCandidate, answers: Answers, place: int) -> ReplayedCandidate:
    if image.filter_after != GridFilter.name or image.unjudged is not None:
        return image  # a broken container, or it could not be judged
    judgement = answers[int(image.reason)][place]
    return replace(
        image,
        passes_after=judgement.accepted,
        filter_after=BROKEN if judgement.is_broken else judgement.filter_name,
        reason=judgement.reason,
        score_after=judgement.score,
    )
