from __future__ import annotations

import math

import pytest
from PIL import Image, ImageDraw

from nanobatch.candidate import Verdict
from nanobatch.errors import ConfigError
from nanobatch.filters import NoBorders
from tests.filters.files import candidate, grain, saved


def judged(image: Image.Image, file_format: str = "PNG", **thresholds: float) -> Verdict:
    return NoBorders(**thresholds)(candidate(saved(image, file_format)))


def between(*, across: int = 0, down: int = 0, colour: str = "black") -> Image.Image:
    """Return a picture of 400x200 px between bars of so many pixels."""
    picture = Image.new("RGB", (400, 200), colour)
    picture.paste(grain((400 - 2 * across, 200 - 2 * down)), (across, down))
    return picture


def test_a_picture_that_fills_its_file_passes() -> None:
    assert judged(between()) == Verdict.accept()


@pytest.mark.parametrize("colour", ["black", "white", "#802020"])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_letterbox_pillarbox_and_frame_are_rejected(colour: str, file_format: str) -> None:
    # 16 of 200 and 32 of 400 px are 8 %; both end with a block of a JPEG.
    assert judged(between(down=16, colour=colour), file_format).reason == (
        "borders above and below (8.0% each, at most 1.2%)"
    )
    assert judged(between(across=32, colour=colour), file_format).reason == (
        "borders left and right (8.0% each, at most 1.2%)"
    )
    assert not judged(between(across=16, down=16, colour=colour), file_format).accepted


def test_the_thinner_of_two_bars_counts() -> None:
    picture = Image.new("RGB", (400, 200))
    picture.paste(grain((400, 150)), (0, 10))  # 10 px above, 40 px below

    assert judged(picture).reason == "borders above and below (5.0% each, at most 1.2%)"


def test_bars_of_the_share_that_is_allowed_pass() -> None:
    assert judged(between(down=10), max_border_share=0.05).accepted
    assert not judged(between(down=11), max_border_share=0.05).accepted


def test_a_thing_on_white_paper_passes() -> None:
    page = Image.new("RGB", (400, 200), "white")
    ImageDraw.Draw(page).ellipse((100, 40, 300, 160), fill="black")

    assert judged(page).accepted


def test_a_poster_on_white_paper_is_framed() -> None:
    page = Image.new("RGB", (400, 200), "white")
    page.paste(grain((300, 140)), (50, 30))

    assert not judged(page).accepted


def test_one_bar_alone_passes() -> None:
    assert judged(between().crop((0, 0, 400, 200))).accepted
    ground = grain((400, 200))
    ground.paste("black", (0, 160, 400, 200))

    assert judged(ground).accepted


def test_bars_of_two_tones_are_sky_and_ground() -> None:
    landscape = grain((400, 200))
    landscape.paste("#c0d0f0", (0, 0, 400, 40))
    landscape.paste("#203010", (0, 160, 400, 200))

    assert judged(landscape).accepted


def test_a_bar_that_fades_is_none() -> None:
    """One tone a line: the tenth line is another one, all at once, but the ninth was not one."""
    shade = Image.new("L", (1, 400))
    for y in range(400):
        shade.putpixel((0, y), min(y, 399 - y))

    assert judged(shade.resize((400, 400))).accepted


def test_a_flat_picture_has_no_borders() -> None:
    assert judged(Image.new("RGB", (400, 200))).accepted


def test_a_picture_seen_through_at_its_sides_is_framed_in_white() -> None:
    picture = between(down=20).convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 400, 20))
    picture.paste((0, 0, 0, 0), (0, 180, 400, 200))

    assert judged(picture).reason.startswith("borders above and below (10.0%")


@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 5000), (2, 3)])
def test_a_picture_of_any_shape_can_be_judged(size: tuple[int, int]) -> None:
    assert judged(Image.new("RGB", size)).accepted


@pytest.mark.parametrize("value", [-0.1, 0.6, math.nan])
def test_what_is_no_share_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match=rf"max_border_share must be from 0 to 0\.5, not {value}"):
        NoBorders(max_border_share=value)
