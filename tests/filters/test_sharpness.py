from __future__ import annotations

import math

import pytest
from PIL import Image, ImageFilter

from nanobatch.candidate import Verdict
from nanobatch.errors import ConfigError
from nanobatch.filters import Sharpness
from tests.filters.files import candidate, grain, saved


def judged(image: Image.Image) -> Verdict:
    return Sharpness()(candidate(saved(image, "PNG")))


def steps(*tones: int) -> Image.Image:
    """A grey picture of 400x400 px that goes through these tones, column by column."""
    picture = Image.new("L", (400, 400), tones[0])
    for number, tone in enumerate(tones):
        picture.paste(tone, (200 + number, 0, 400, 400))
    return picture


def test_a_hard_edge_is_as_sharp_as_can_be() -> None:
    assert judged(steps(0, 200)) == Verdict.accept(score=1.0)


def test_the_score_is_the_share_of_the_contrast_between_two_pixels() -> None:
    # From 40 to 200 in steps of 40: 40 of 160.
    assert judged(steps(40, 80, 120, 160, 200)).score == 40 / 160
    # From 0 to 250 in steps of 10: over eight pixels it is 80.
    soft = steps(*range(0, 251, 10))
    assert judged(soft) == Verdict.reject("blurred (sharpness 0.12, at least 0.4)", score=0.125)


def test_contrast_does_not_matter() -> None:
    assert judged(steps(100, 120)).score == judged(steps(0, 250)).score == 1.0


def test_the_direction_of_an_edge_does_not_matter() -> None:
    upright = steps(40, 80, 120, 160, 200)

    assert judged(upright.rotate(90)).score == judged(upright).score


def test_shades_without_any_edge_are_not_sharp() -> None:
    # Nothing changes by more than a tone a pixel, where less than 16 is no edge: 1 of 16.
    shade = Image.linear_gradient("L")

    assert judged(shade).score == 1 / 16


def test_a_flat_picture_is_not_sharp() -> None:
    assert judged(Image.new("L", (64, 64), 9)).score == 0


def test_one_sharp_thing_before_a_blurred_background_is_enough() -> None:
    background = grain((400, 400)).filter(ImageFilter.GaussianBlur(6))
    assert not judged(background).accepted

    # 0.05 % of 2 x 160,000 differences are 160, and a square of 50 px has 200 along its sides.
    background.paste((255, 255, 255), (180, 180, 210, 210))  # 30 px: 120
    assert not judged(background).accepted
    background.paste((255, 255, 255), (180, 180, 230, 230))
    assert judged(background).accepted


def test_the_same_picture_twice_as_large_is_as_sharp() -> None:
    small = steps(0, 0, 60, 120, 120).resize((512, 512), Image.Resampling.NEAREST)
    large = small.resize((1024, 1024), Image.Resampling.NEAREST)

    assert judged(large).score == judged(small).score


@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 5000), (2, 2)])
def test_a_picture_of_any_shape_can_be_judged(size: tuple[int, int]) -> None:
    assert judged(Image.new("RGB", size)).score == 0


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_what_is_no_share_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match=f"min_sharpness must be from 0 to 1, not {value}"):
        Sharpness(min_sharpness=value)
