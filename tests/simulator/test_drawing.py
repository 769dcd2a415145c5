"""What the pictures show, and that asking twice draws once."""

from __future__ import annotations

from random import Random

import pytest

from nanobatch.simulator.catalogue import MODELS, nearest_ratio, pixel_size
from nanobatch.simulator.drawing import PNG, Motif, choose, picture
from nanobatch.simulator.drawing.scenes import SCENES
from tests.simulator.wire import contrast


@pytest.mark.parametrize(
    ("prompt", "scene"),
    [
        ("Misty mountain peaks above a pine forest", "mountains"),
        ("northern lights in Norway", "aurora"),
        ("Ocean waves, a beach", "ocean"),
        ("Sahara sand dunes", "dunes"),
        ("Tokyo skyline with skyscrapers", "city"),
        ("abstract flowing gradient", "ribbons"),
        ("a nebula with two planets", "space"),
        ("botanical monstera leaves", "leaves"),
    ],
)
def test_the_words_of_a_prompt_choose_the_scene(prompt: str, scene: str) -> None:
    motif = choose(prompt, chance=Random(0), drawings=24)

    assert motif.scene == scene


def test_the_words_of_a_prompt_choose_the_mood() -> None:
    variations = {
        choose("dunes at night", chance=Random(n), drawings=48).variation for n in range(30)
    }

    moods = SCENES["dunes"].moods
    assert {moods[variation % len(moods)] for variation in variations} == {"night"}


@pytest.mark.parametrize("drawings", [1, 3, 8, 24, 30])
def test_there_are_never_more_motifs_than_drawings(drawings: int) -> None:
    rng = Random(5)
    words = ("aurora", "ocean", "desert", "city", "leaf", "x", "y", "z")
    prompts = [f"{rng.choice(words)} {n}" for n in range(900)]

    motifs = {choose(prompt, chance=rng, drawings=drawings) for prompt in prompts}

    assert len(motifs) <= drawings


@pytest.mark.parametrize("scene", sorted(SCENES))
def test_every_scene_has_something_to_see(scene: str) -> None:
    motif = Motif(scene=scene, variation=0)

    file = picture(motif, (192, 344), kind="good", tier="lite", mime_type=PNG)

    assert contrast(file.content) > 8


def test_a_picture_is_drawn_once_and_then_reused() -> None:
    motif = Motif(scene="ribbons", variation=1)

    first = picture(motif, (200, 200), kind="good", tier="lite", mime_type=PNG)
    second = picture(motif, (200, 200), kind="good", tier="lite", mime_type=PNG)
    quality = picture(motif, (200, 200), kind="good", tier="quality", mime_type=PNG)

    assert first is second
    assert quality.content != first.content


@pytest.mark.parametrize("drawer", MODELS.values(), ids=lambda drawer: drawer.id)
def test_every_ratio_of_every_model_has_a_size(drawer: object) -> None:
    ratios = drawer.aspect_ratios  # type: ignore[attr-defined]  # a parameter has no type

    for ratio in ratios:
        width, height = pixel_size(ratio, "1K")
        wide, high = (int(part) for part in ratio.split(":"))
        assert 0.9 < (width / height) / (wide / high) < 1.1
        assert 0.9e6 < width * height < 1.25e6
        assert nearest_ratio(width, height, among=ratios) == ratio
