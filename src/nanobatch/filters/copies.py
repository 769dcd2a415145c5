"""The small copies of a picture that the filters share: all of them together cost little more.

Get them with `candidate.derived(small_grey)`, so that each is made once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from PIL import Image as pillow  # noqa: N813 - the module; the class has its name

if TYPE_CHECKING:
    from PIL.Image import Image

    from nanobatch.candidate import Candidate

__all__ = ["TONES", "few_tones", "plain", "sample", "small_grey", "tone_histograms"]

TONES: Final = 256

_SAMPLE_PIXELS: Final = 1024 * 1024
"""Larger pictures are sampled: a blank one is blank in every sixteenth pixel too."""

_FEW_PIXELS: Final = 256 * 256
"""What shows of most pictures that they are not blank, in a quarter of the time."""

_GREY_PIXELS: Final = 512 * 512
"""What a grey copy has at most; 1 % of a side is still five pixels."""


def sample(candidate: Candidate) -> Image:
    """Return every nth pixel of the picture in mode `L`, `RGB` or, if it has any alpha, `RGBA`.

    Nearest pixels, not means: means would wash the stars out of a night sky.
    """
    picture = candidate.image
    size = _size(picture, _SAMPLE_PIXELS)
    return plain(
        picture.resize(size, pillow.Resampling.NEAREST) if size != picture.size else picture
    )


def small_grey(candidate: Candidate) -> Image:
    """Return the picture in mode `L`, each pixel the mean of those it stands for.

    A transparent picture is seen on white.
    """
    picture = candidate.image
    size = _size(picture, _GREY_PIXELS)
    if picture.has_transparency_data:
        small = plain(picture).resize(size, pillow.Resampling.BOX, reducing_gap=1.0)
        return pillow.alpha_composite(pillow.new("RGBA", size, "white"), small).convert("L")
    grey = plain(picture).convert("L")
    return grey.resize(size, pillow.Resampling.BOX, reducing_gap=1.0)  # whole steps are fast


def tone_histograms(candidate: Candidate) -> list[list[int]]:
    """Return how often each tone occurs in each channel of the sample.

    A transparent picture is seen on white and on black, which gives six channels.
    """
    seen = candidate.derived(sample)
    if seen.mode != "RGBA":
        return _channels(seen.histogram())
    return [
        channel
        for backdrop in ("white", "black")
        for channel in _channels(
            pillow.alpha_composite(pillow.new("RGBA", seen.size, backdrop), seen)
            .convert("RGB")
            .histogram()
        )
    ]


def few_tones(candidate: Candidate) -> tuple[float, list[list[int]]]:
    """Return which share of the sample's pixels was counted, and their tones in each channel.

    Each is counted once at most. No channels are counted where there are few pixels anyway, and
    in a transparent picture.
    """
    seen = candidate.derived(sample)
    step = math.isqrt(seen.width * seen.height // _FEW_PIXELS)
    if step < 2 or seen.mode == "RGBA":  # noqa: PLR2004 - every pixel
        return 1.0, []
    size = (max(1, seen.width // step), max(1, seen.height // step))
    few = seen.resize(size, pillow.Resampling.NEAREST)
    return few.width * few.height / (seen.width * seen.height), _channels(few.histogram())


def _size(picture: Image, pixels: int) -> tuple[int, int]:
    """Return the size of a copy of so many pixels, or that of the picture if it is smaller."""
    shrink = max(1.0, math.sqrt(picture.width * picture.height / pixels))
    return (max(1, round(picture.width / shrink)), max(1, round(picture.height / shrink)))


def plain(picture: Image) -> Image:
    """Return a picture of any mode in `L`, `RGB` or `RGBA`, 8 bits a channel; perhaps itself.

    Pillow's own `convert` makes nearly all of a picture of 16 bits white.
    """
    if picture.mode.startswith("I"):  # 16 bits a pixel
        # Scaled first: `convert` would clip everything above 255 to white.
        return picture.point(lambda tone: tone * (1 / 256)).convert("L")
    if picture.has_transparency_data:
        return picture if picture.mode == "RGBA" else picture.convert("RGBA")
    if picture.mode in ("L", "RGB"):
        return picture
    return picture.convert("L" if picture.mode == "1" else "RGB")


def _channels(counts: list[int]) -> list[list[int]]:
    return [counts[start : start + TONES] for start in range(0, len(counts), TONES)]
