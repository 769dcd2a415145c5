from __future__ import annotations

import math

import pytest
from PIL import Image, ImageDraw, ImageOps

from nanobatch.candidate import Verdict
from nanobatch.errors import ConfigError
from nanobatch.filters import NotTiled
from tests.filters.files import candidate, grain, saved

ONE_SCENE = Image.new("L", (120, 120), 90)
ImageDraw.Draw(ONE_SCENE).polygon((20, 100, 45, 15, 80, 100), fill=240)
ImageDraw.Draw(ONE_SCENE).ellipse((85, 20, 105, 40), fill=10)


def judged(image: Image.Image, **thresholds: float) -> Verdict:
    return NotTiled(**thresholds)(candidate(saved(image, "PNG")))


def laid(*parts: Image.Image, is_stacked: bool = False) -> Image.Image:
    """Return pictures of 120x120 px side by side or stacked."""
    count = len(parts)
    row = Image.new("L", (120, 120 * count) if is_stacked else (120 * count, 120))
    for number, part in enumerate(parts):
        row.paste(part, (0, 120 * number) if is_stacked else (120 * number, 0))
    return row


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(("is_stacked", "how"), [(False, "side by side"), (True, "stacked")])
def test_copies_are_counted_and_their_likeness_is_one(
    *, count: int, is_stacked: bool, how: str
) -> None:
    tiled = laid(*[ONE_SCENE] * count, is_stacked=is_stacked)

    assert judged(tiled) == Verdict.reject(
        f"the scene {count} times {how} (likeness 1.00, at most 0.65)"
    )


def test_one_scene_passes() -> None:
    assert judged(ONE_SCENE) == Verdict.accept()


def test_different_scenes_side_by_side_pass() -> None:
    assert judged(laid(ONE_SCENE, ONE_SCENE.rotate(180))).accepted


def test_a_third_part_that_differs_makes_it_no_copies() -> None:
    assert judged(laid(ONE_SCENE, ONE_SCENE, ONE_SCENE.rotate(180))).accepted


def test_a_copy_that_is_darker_and_a_little_out_of_place_is_a_copy() -> None:
    shifted = Image.new("L", (120, 120), 90)
    shifted.paste(ONE_SCENE, (7, 0))  # one pixel of a thumbnail of 16
    darker = shifted.point(lambda tone: tone * 0.5)

    assert not judged(laid(ONE_SCENE, darker)).accepted


@pytest.mark.parametrize("turn", [0, 90])
def test_bands_that_run_through_are_no_copies(turn: int) -> None:
    """Sky, sea and beach: every part of such a picture looks the same."""
    bands = Image.new("L", (300, 120), 200)
    bands.paste(60, (0, 50, 300, 90))
    bands.paste(230, (0, 90, 300, 120))

    assert judged(bands.rotate(turn, expand=True)).accepted


def test_a_mirrored_scene_passes() -> None:
    assert judged(laid(ONE_SCENE, ImageOps.mirror(ONE_SCENE))).accepted


def test_noise_is_not_like_other_noise() -> None:
    assert judged(grain((120, 120))).accepted


def test_nothing_is_not_like_nothing() -> None:
    assert judged(Image.new("L", (120, 120), 7)).accepted


def test_the_threshold_can_be_switched_off() -> None:
    assert judged(laid(ONE_SCENE, ONE_SCENE), max_likeness=1).accepted


@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 5000), (2, 3)])
def test_a_picture_of_any_shape_can_be_judged(size: tuple[int, int]) -> None:
    assert judged(Image.new("RGB", size)).accepted


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_what_is_no_correlation_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match=f"max_likeness must be from 0 to 1, not {value}"):
        NotTiled(max_likeness=value)
