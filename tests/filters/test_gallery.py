"""A small part of the gallery of `nox -s filters`: what each filter is there for, it sees."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, cast

import pytest

from benchmarks.filters.faults import FAULTS
from benchmarks.filters.gallery import GOOD, labelled
from benchmarks.filters.table import TECHNICAL
from nanobatch.errors import BrokenImageError
from nanobatch.simulator.drawing.scenes import SCENES, Motif, paint

if TYPE_CHECKING:
    from PIL import Image

    from nanobatch import Candidate, Verdict, filters

BY_NAME = {one.name: one for one in TECHNICAL}


def drawing(scene: str) -> Image.Image:
    return paint(Motif(scene=scene, variation=11), (400, 300), tier="lite")


def passes(judge: filters.Filter, judged: Candidate) -> bool:
    try:
        return cast("Verdict", judge(judged)).accepted
    except BrokenImageError:
        return False


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_of_the_simulator_passes_all_technical_filters(scene: str) -> None:
    good = labelled(drawing(scene), scene, "", GOOD, is_held_out=True).candidate

    assert [one.name for one in TECHNICAL if not passes(one, good)] == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_picture_with_a_fault_is_rejected_by_the_filter_for_it(fault: str) -> None:
    good = drawing("city")
    chance = Random(fault)

    for _ in range(4):
        picture, detail = FAULTS[fault](good, chance)
        faulty = labelled(picture, "city", detail, fault, wanted=good.size, is_held_out=True)

        assert not passes(BY_NAME[fault], faulty.candidate), detail
