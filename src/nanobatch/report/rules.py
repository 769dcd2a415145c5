"""Which slots yield an accepted image, given which images pass: the rules of a replay.

They follow what a run does, as far as the images that exist allow:

- A slot yields at most one image, the first of its answer that passes.
- A finish counts only while the draft it was made from passes: the run would not have bought it
  otherwise. Drafts that pass only now count for nothing, no finish of them exists. A draft takes
  the place of its failed finish only where it did so in the run.
- Of a job with `best_of` = n, every n passing images in the order of their arrival yield one, the
  best score. If the same images pass with the same scores as in the run, its choice stands.
- What passed in the run and was not needed takes no part, unless its job has fewer images now than
  it wants.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from nanobatch.checkpoint import CandidateState
from nanobatch.cost import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from nanobatch.models import Tier
    from nanobatch.report.judged import ReplayedCandidate

__all__ = [
    "Passes",
    "SlotImages",
    "accepted_slots",
    "draft_stands",
    "fails_if_unjudged",
    "keeps_verdict",
    "passes_if_unjudged",
]

Passes: TypeAlias = "Callable[[ReplayedCandidate], bool]"
"""Says of an image whether it passes."""

_WAITING = (CandidateState.PASSED, CandidateState.UNPICKED)


@dataclass(slots=True, kw_only=True)
class SlotImages:
    """A slot, what it was for, and the images it got."""

    number: int
    job_id: str
    tag: str
    attempt: int
    stage: Stage
    tier: Tier
    model_id: str
    parent: int | None
    """The slot of the draft it finishes."""
    want: int
    best_of: int
    was_accepted: bool = False
    images: list[ReplayedCandidate] = field(default_factory=list["ReplayedCandidate"])
    """In the order in which a run judges them."""

    @property
    def competes(self) -> bool:
        """Whether its image has to be the best of a group."""
        return self.stage is Stage.CANDIDATE and self.best_of > 1

    @property
    def is_waiting(self) -> bool:
        """Whether its image passed in the run and was not needed."""
        return not self.was_accepted and any(one.state in _WAITING for one in self.images)

    def yields(self, passes: Passes) -> ReplayedCandidate | None:
        """Return its first image that passes."""
        return next(filter(passes, self.images), None)


def keeps_verdict(image: ReplayedCandidate) -> bool:
    """Return whether an image passes now; one that could not be judged passes if it did before."""
    return bool(image.passes_after)


def fails_if_unjudged(image: ReplayedCandidate) -> bool:
    """Return whether an image passes now, if all that could not be judged fail."""
    return image.unjudged is None and bool(image.passes_after)


def passes_if_unjudged(image: ReplayedCandidate) -> bool:
    """Return whether an image passes now, if all that could not be judged pass.

    A broken one never does: no filter decides about that.
    """
    if image.unjudged is None or image.state is CandidateState.BROKEN:
        return bool(image.passes_after)
    return True


def accepted_slots(slots: Mapping[int, SlotImages], passes: Passes) -> set[int]:
    """Return the slots that yield an accepted image; see the module's docstring for the rules."""
    finishes = [slot for slot in slots.values() if slot.stage is Stage.FINISH]
    drafts = [slot for slot in slots.values() if slot.stage is Stage.DRAFT and slot.was_accepted]
    candidates = [slot for slot in slots.values() if slot.stage is Stage.CANDIDATE]
    passing = [slot for slot in candidates if not slot.competes and slot.yields(passes) is not None]
    finished = [slot for slot in finishes if _is_finished(slots, slot, passes)]
    has_finish = {slot.parent for slot in finished}
    accepted = {slot.number for slot in (*finished, *passing) if not slot.is_waiting}
    accepted |= {
        slot.number
        for slot in drafts
        if slot.number not in has_finish and slot.yields(passes) is not None
    }
    groups: dict[tuple[str, int], list[SlotImages]] = {}
    for slot in candidates:
        if slot.competes:
            groups.setdefault((slot.job_id, slot.attempt), []).append(slot)
    for group in groups.values():
        accepted |= _winners(group, passes)
    images_of_job = Counter(slots[number].job_id for number in accepted)
    for slot in (*finished, *passing):
        if slot.is_waiting and images_of_job[slot.job_id] < slot.want:
            images_of_job[slot.job_id] += 1
            accepted.add(slot.number)
    return accepted


def draft_stands(
    slots: Mapping[int, SlotImages], number: int, parent: int | None, passes: Passes
) -> bool:
    """Return whether the draft passes that a slot was made from; true of a slot without one.

    A draft that left no trace counts as passing: it did when it was finished.

    Args:
        slots: The slots that got images.
        number: The slot.
        parent: The slot of its draft.
        passes: Says of an image whether it passes.
    """
    draft = slots.get(parent or 0)
    if draft is None or draft.number >= number:  # a draft comes first: no circle is followed
        return True
    used = [one for one in draft.images if one.passed_before]
    is_passing = not used or any(map(passes, used))
    return is_passing and draft_stands(slots, draft.number, draft.parent, passes)


def _is_finished(slots: Mapping[int, SlotImages], slot: SlotImages, passes: Passes) -> bool:
    return slot.yields(passes) is not None and draft_stands(slots, slot.number, slot.parent, passes)


def _winners(group: Iterable[SlotImages], passes: Passes) -> set[int]:
    """Return the slots whose images win the best-of groups of one job."""
    slots = list(group)
    before = [
        (image.number, image.score_before)
        for slot in slots
        for image in slot.images
        if image.passed_before
    ]
    passing = [(slot, image) for slot in slots if (image := slot.yields(passes)) is not None]
    passing.sort(key=lambda one: one[1].number)
    if sorted(before) == [(image.number, image.score_after) for _, image in passing]:
        return {slot.number for slot in slots if slot.was_accepted}
    winners: set[int] = set()
    size = slots[0].best_of
    for start in range(0, len(passing) - size + 1, size):
        best, _ = max(passing[start : start + size], key=lambda one: _rank(one[1]))
        winners.add(best.number)
    return winners


def _rank(image: ReplayedCandidate) -> float:
    """Return what an image is compared by: no score is the lowest."""
    return float("-inf") if image.score_after is None else image.score_after
