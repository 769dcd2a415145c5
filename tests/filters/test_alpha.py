from __future__ import annotations

import math

import pytest
from PIL import Image

from nanobatch.candidate import Verdict
from nanobatch.errors import ConfigError
from nanobatch.filters import Alpha
from tests.filters.files import PNGS, candidate, noise, saved


def judged(image: Image.Image, file_format: str = "PNG", **options: object) -> Verdict:
    return Alpha()(candidate(saved(image, file_format, **options)))


def holed(side: int, *, alpha: int = 0) -> Image.Image:
    """Return a picture of 100x100 px with a square one can see through."""
    picture = noise("RGBA", (100, 100))
    picture.paste((9, 9, 9, alpha), (0, 0, side, side))
    return picture


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_a_picture_without_alpha_passes(file_format: str) -> None:
    assert judged(noise(), file_format) == Verdict.accept()


def test_an_alpha_channel_that_is_opaque_does_no_harm() -> None:
    assert judged(noise("RGBA")) == Verdict.accept()


def test_what_one_can_see_through_is_rejected_with_its_share() -> None:
    # 20 x 20 of 10,000 pixels.
    assert judged(holed(20)) == Verdict.reject("transparent (4.0% of it, at most 0.1%)")


def test_a_thousandth_may_be_transparent() -> None:
    assert judged(holed(3)).accepted  # 9 of 10,000
    assert not judged(holed(4)).accepted  # 16 of 10,000


def test_nearly_opaque_is_opaque() -> None:
    assert judged(holed(100, alpha=250)).accepted
    assert not judged(holed(100, alpha=249)).accepted


def test_palettes_and_grey_with_alpha_are_judged_too() -> None:
    grey = noise("LA", (64, 64))
    grey.putalpha(40)

    assert not judged(grey).accepted
    assert not judged(Image.new("P", (64, 64), 0), transparency=0).accepted
    assert not judged(holed(50), "WEBP", lossless=True).accepted
    assert Alpha()(candidate(PNGS["png-P"])).accepted


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_what_is_no_share_is_refused(value: float) -> None:
    with pytest.raises(
        ConfigError, match=f"max_transparent_share must be from 0 to 1, not {value}"
    ):
        Alpha(max_transparent_share=value)
