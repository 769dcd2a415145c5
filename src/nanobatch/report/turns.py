"""When filters that remember are asked about an image and told of it, as near the run as can be."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

from nanobatch.cost import Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nanobatch.checkpoint import KeptCandidate
    from nanobatch.report.judged import ReplayedCandidate
    from nanobatch.report.rules import SlotImages

__all__ = ["Turn", "in_order", "turns_of"]

Turn: TypeAlias = tuple[float, int, bool]
"""Ledger line, number of the image, and whether filters are told of it, after they were asked."""


def turns_of(
    kept: KeptCandidate, slot: SlotImages, image: ReplayedCandidate, *, is_accepted: bool
) -> Iterator[Turn]:
    """Yield when filters that remember are asked about an image, and when they are told of it.

    What was accepted keeps its place in the order of acceptance, what passed and waited comes when
    it arrived, and everything else at the end. So the same filters come to the same verdicts, if
    all they do with what they remember is to reject.
    """
    accepted_at = kept.accepted_line or kept.settled_line
    if not is_accepted:
        yield (kept.settled_line if image.passed_before else math.inf, image.number, False)
        return
    waited = slot.competes or slot.stage is Stage.DRAFT
    yield (kept.settled_line if waited else accepted_at, image.number, False)
    yield (accepted_at, image.number, True)


def in_order(turns: Sequence[Turn], slots: Iterable[SlotImages]) -> list[Turn]:
    """Return turns in their order.

    What was rejected before another image of its answer passed comes just before filters are told
    of that one, or of its finish: until then nobody knows which of the two the slot yields.
    """
    slots = list(slots)
    told_at = {number: line for line, number, is_told in turns if is_told}
    needed_at: dict[int, float] = {}
    for slot in slots:
        lines = [told_at[one.number] for one in slot.images if one.number in told_at]
        for number in (slot.number, slot.parent):
            if lines and number is not None:
                needed_at[number] = min(*lines, needed_at.get(number, math.inf))
    asked_at = {number: line for line, number, is_told in turns if not is_told}
    for slot in slots:
        passed = next((one.number for one in slot.images if one.passed_before), 0)
        for one in slot.images:
            if one.number < passed:
                asked_at[one.number] = needed_at.get(slot.number, math.inf)
    return sorted(
        (line if is_told else asked_at[number], number, is_told) for line, number, is_told in turns
    )
