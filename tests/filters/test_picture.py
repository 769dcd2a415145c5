from __future__ import annotations

import math
import random

import pytest
from PIL import Image, ImageDraw

from nanobatch.candidate import Verdict
from nanobatch.errors import BrokenImageError, ConfigError
from nanobatch.filters import NotBlank
from tests.filters.files import PNGS, RGB, candidate, noise, png, saved

FORMATS = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
}


def judged(image: Image.Image, file_format: str = "PNG", **options: object) -> Verdict:
    return NotBlank()(candidate(saved(image, file_format, **options)))


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [(file_format, mode) for file_format, modes in FORMATS.items() for mode in modes],
)
@pytest.mark.parametrize("colour", ["black", "white"])
def test_a_black_or_white_picture_is_blank_in_every_mode(
    file_format: str, mode: str, colour: str
) -> None:
    verdict = judged(Image.new("RGB", (64, 48), colour).convert(mode), file_format)

    assert verdict == Verdict.reject("blank picture (standard deviation 0.0 of 255, at least 4)")


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [(file_format, mode) for file_format, modes in FORMATS.items() for mode in modes],
)
def test_a_lively_picture_passes_in_every_mode(file_format: str, mode: str) -> None:
    assert judged(noise(mode, (64, 48)), file_format) == Verdict.accept()


def test_a_picture_of_one_colour_is_blank() -> None:
    assert not judged(Image.new("RGB", (64, 48), (200, 30, 90)), "JPEG").accepted


def test_nearly_black_with_faint_noise_is_blank() -> None:
    # Five equally frequent tones have a standard deviation of sqrt(2) = 1.4.
    picture = Image.frombytes("L", (100, 100), bytes(range(5)) * 2000)

    assert judged(picture).reason == "blank picture (standard deviation 1.4 of 255, at least 4)"


def test_an_empty_page_with_a_small_mark_is_blank() -> None:
    page = Image.new("L", (1000, 1000), 255)
    page.paste(0, (950, 950, 980, 980))

    # 900 of 1,000,000 pixels: the standard deviation alone, 255 x 0.03 = 7.6, would pass.
    assert judged(page).reason == "blank picture (99.91% of it is one tone, at most 99.90%)"


def test_a_mark_on_a_page_of_noisy_tones_is_still_a_mark_on_a_blank_page() -> None:
    page = Image.frombytes("L", (1000, 1000), bytes(248 + i % 8 for i in range(1_000_000)))
    page.paste(0, (950, 950, 980, 980))

    assert judged(page).reason == "blank picture (99.91% of it is one tone, at most 99.90%)"


@pytest.mark.parametrize("first", [0, 1, 2, 3])
@pytest.mark.parametrize(("marks", "passes"), [(1_048, False), (1_049, True)])
def test_what_counts_is_the_share_of_all_pixels_wherever_they_are(
    first: int, marks: int, passes: bool
) -> None:
    page = Image.new("RGB", (1024, 1024), (200, 200, 200))
    for n in range(marks):  # in every fourth row and column, some of which are looked at first
        page.putpixel((first + 4 * (n % 256), first + 4 * (n // 256)), (0, 0, 0))

    assert judged(page).accepted is passes


@pytest.mark.parametrize("first", [0, 1, 2, 3])
@pytest.mark.parametrize(("contrast", "passes"), [(15, False), (17, True)])
def test_the_standard_deviation_is_that_of_all_pixels(
    first: int, contrast: int, passes: bool
) -> None:
    page = Image.new("L", (1024, 1024), 128)
    for n in range(256 * 256):  # a sixteenth of all: it is the contrast divided by four
        page.putpixel((first + 4 * (n % 256), first + 4 * (n // 256)), 128 + contrast * (-1) ** n)

    assert NotBlank(max_tone_share=1)(candidate(saved(page, "PNG"))).accepted is passes


def test_a_small_drawing_on_an_empty_page_passes() -> None:
    page = Image.new("RGB", (1000, 1000), "white")
    ImageDraw.Draw(page).ellipse((450, 450, 550, 550), outline="black", width=4)

    # A ring of 4 px by 2 pi 50 px is about 1,250 pixels of the million.
    assert judged(page).accepted


def test_a_soft_gradient_passes() -> None:
    gradient = Image.new("RGB", (640, 360))
    draw = ImageDraw.Draw(gradient)
    for y in range(360):
        draw.line((0, y, 640, y), fill=(30 + y * 20 // 360, 40 + y * 24 // 360, 60 + y * 30 // 360))

    assert judged(gradient).accepted
    assert judged(gradient, "JPEG", quality=85).accepted


def test_a_dark_sky_with_stars_passes_at_every_size() -> None:
    # 4K too: sampling keeps the share of star pixels, averaging would wash them out.
    for side in (512, 1024, 3000):
        chance = random.Random(7)
        sky = Image.new("L", (side, side), 2)
        for _ in range(side * side // 300):
            sky.putpixel((chance.randrange(side), chance.randrange(side)), 255)

        assert judged(sky).accepted, side


def test_a_picture_in_two_colours_of_one_brightness_passes() -> None:
    # (150, 0, 0) and (0, 0, 255) have greys of 45 and 29, (150, 0, 43) and (0, 81, 20) both 50.
    picture = Image.new("RGB", (100, 100), (150, 0, 43))
    picture.paste((0, 81, 20), (0, 0, 50, 100))
    assert len(picture.convert("L").getcolors() or []) == 1

    assert judged(picture).accepted


def test_a_red_disc_on_white_passes_although_its_red_channel_is_flat() -> None:
    flag = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(flag).ellipse((100, 50, 200, 150), fill=(255, 0, 0))

    assert judged(flag).accepted


@pytest.mark.parametrize("ink", ["white", "black"])
def test_ink_on_a_transparent_ground_passes_whatever_its_colour(ink: str) -> None:
    picture = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    ImageDraw.Draw(picture).rectangle((20, 20, 60, 60), fill=ink)

    assert judged(picture).accepted


def test_a_fully_transparent_picture_is_blank_whatever_hides_in_it() -> None:
    hidden = noise("RGBA", (64, 48))
    hidden.putalpha(0)

    assert not judged(hidden, "PNG").accepted
    assert not judged(hidden, "WEBP", lossless=True, exact=True).accepted


def test_a_palette_picture_whose_only_ink_is_transparent_is_blank() -> None:
    picture = Image.new("P", (64, 48), 0)
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.paste(1, (10, 10, 40, 40))

    assert judged(picture).accepted
    assert not judged(picture, transparency=bytes([0, 0])).accepted


def test_16_bit_grey_is_judged_over_its_whole_range() -> None:
    ramp = b"".join((100 * x).to_bytes(2, "big") for x in range(640))
    flat = (40_000).to_bytes(2, "big") * 640

    bright = png(640, 4, rows=(b"\x00" + ramp) * 4, depth=16)
    upper_half = b"".join((32_768 + 50 * x).to_bytes(2, "big") for x in range(640))
    blank = png(640, 4, rows=(b"\x00" + flat) * 4, depth=16)
    brightest = png(640, 4, rows=(b"\x00" + upper_half) * 4, depth=16)
    # All above 255 is white to a decoder that clips; 256 steps of 1/256 tone are one tone.
    faint = png(640, 4, rows=(b"\x00" + b"\x80\x00\x80\xff" * 320) * 4, depth=16)

    assert NotBlank()(candidate(bright)).accepted
    assert NotBlank()(candidate(brightest)).accepted
    assert not NotBlank()(candidate(blank)).accepted
    assert not NotBlank()(candidate(faint)).accepted


def test_16_bit_colour_is_judged_too() -> None:
    assert not NotBlank()(candidate(PNGS["png-rgb-16"])).accepted

    row = b"\x00" + b"".join((100 * x).to_bytes(2, "big") * 3 for x in range(640))
    assert NotBlank()(candidate(png(640, 4, rows=row * 4, depth=16, colour_type=RGB))).accepted


@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 5000)])
def test_a_picture_of_any_shape_can_be_judged(size: tuple[int, int]) -> None:
    assert not judged(Image.new("RGB", size)).accepted


def test_judging_leaves_the_shared_picture_as_it_was() -> None:
    shared = candidate(PNGS["png-P-transparent"])
    before = (shared.image.mode, shared.image.size, shared.image.tobytes())

    NotBlank()(shared)

    assert (shared.image.mode, shared.image.size, shared.image.tobytes()) == before


def test_an_image_that_does_not_decode_is_broken_not_blank() -> None:
    with pytest.raises(BrokenImageError):
        NotBlank()(candidate(PNGS["png-RGB"][:60]))


def test_both_thresholds_can_be_switched_off() -> None:
    black = candidate(saved(Image.new("L", (64, 48)), "PNG"))

    assert NotBlank(min_standard_deviation=0, max_tone_share=1)(black).accepted


@pytest.mark.parametrize("deviation", [-1, math.nan, math.inf])
def test_a_standard_deviation_that_is_no_amount_is_refused(deviation: float) -> None:
    with pytest.raises(ConfigError, match=str(deviation)):
        NotBlank(min_standard_deviation=deviation)


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=str(share)):
        NotBlank(max_tone_share=share)
