from __future__ import annotations

import math

import pytest
from PIL import Image, ImageDraw

from nanobatch.candidate import Verdict
from nanobatch.errors import ConfigError
from nanobatch.filters import Exposure
from tests.filters.files import candidate, png, saved


def judged(image: Image.Image, **thresholds: float) -> Verdict:
    return Exposure(**thresholds)(candidate(saved(image, "PNG")))


def ramp(darkest: int, brightest: int) -> Image.Image:
    """A grey picture whose rows go from one tone to another, a row for each."""
    tones = range(darkest, brightest + 1)
    return Image.frombytes("L", (100, len(tones)), b"".join(bytes([tone]) * 100 for tone in tones))


def test_a_picture_over_the_whole_scale_passes() -> None:
    assert judged(ramp(0, 255)) == Verdict.accept()


def test_the_brightest_tone_decides_what_is_too_dark() -> None:
    assert judged(ramp(0, 63)) == Verdict.reject("too dark (brightest tone 63 of 255, at least 64)")
    assert judged(ramp(0, 64)).accepted


def test_the_darkest_tone_decides_what_is_too_bright() -> None:
    assert judged(ramp(193, 255)) == Verdict.reject(
        "too bright (darkest tone 193 of 255, at most 192)"
    )
    assert judged(ramp(192, 255)).accepted


def test_the_distance_of_both_decides_what_is_too_faint() -> None:
    assert judged(ramp(100, 139)) == Verdict.reject("low contrast (39 tones of 255, at least 40)")
    assert judged(ramp(100, 140)).accepted


def test_a_thousandth_of_the_pixels_is_no_light() -> None:
    night = Image.new("L", (100, 100), 5)
    night.paste(255, (0, 0, 10, 1))  # 10 of 10,000

    assert judged(night).reason == "too dark (brightest tone 5 of 255, at least 64)"
    night.putpixel((50, 50), 255)
    assert judged(night).accepted


def test_a_drawing_on_white_paper_is_not_too_bright() -> None:
    page = Image.new("RGB", (1000, 1000), "white")
    ImageDraw.Draw(page).ellipse((450, 450, 550, 550), outline="black", width=4)

    assert judged(page).accepted


def test_one_channel_is_enough() -> None:
    # The luminance of pure blue is 29 of 255.
    blue = Image.new("RGB", (100, 100), (0, 0, 20))
    blue.paste((0, 0, 255), (0, 0, 50, 100))

    assert judged(blue).accepted


@pytest.mark.parametrize("ink", ["white", "black"])
def test_ink_on_a_transparent_ground_passes_whatever_its_colour(ink: str) -> None:
    picture = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    ImageDraw.Draw(picture).rectangle((20, 20, 60, 60), fill=ink)

    assert judged(picture).accepted


def test_16_bit_grey_is_judged_over_its_whole_range() -> None:
    # 63 x 256 = 16,128 and 64 x 256 = 16,384 of 65,536.
    dark, bright = (
        png(640, 4, rows=(b"\x00" + tone.to_bytes(2, "big") * 320 + bytes(640)) * 4, depth=16)
        for tone in (16_383, 16_384)
    )

    assert Exposure()(candidate(dark)).reason.startswith("too dark (brightest tone 63 ")
    assert Exposure()(candidate(bright)).accepted


def test_the_thresholds_can_be_moved_and_switched_off() -> None:
    assert judged(ramp(100, 139), min_contrast=39).accepted
    assert not judged(ramp(0, 200), min_highlight=201).accepted
    off = {"min_highlight": 0, "max_shadow": 255, "min_contrast": 0}
    assert judged(Image.new("L", (9, 9)), **off).accepted


@pytest.mark.parametrize("name", ["min_highlight", "max_shadow", "min_contrast"])
@pytest.mark.parametrize("value", [-1, 256, math.nan])
def test_what_is_no_tone_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"Exposure: {name} must be from 0 to 255, not {value}"):
        Exposure(**{name: value})
