"""Filters on the pixels: is there anything to be seen?"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import accumulate
from operator import mul
from typing import TYPE_CHECKING, Final

from nanobatch.candidate import Verdict
from nanobatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from PIL.Image import Image

    from nanobatch.candidate import Candidate

__all__ = ["NotBlank"]

_TONES: Final = 256

_TONE: Final = range(_TONES)
_TONE_SQUARED: Final = tuple(tone**2 for tone in _TONE)

_MAX_SIDE_PX: Final = 1024
"""Larger pictures are sampled: a blank one is blank in every sixteenth pixel too."""

_NEAR_TONES: Final = 8
"""Neighbouring tones that count as one: JPEG and film grain make some of a single one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotBlank:
    """Rejects pictures of one colour, and those with next to nothing on it.

    Looks at the tones of red, green and blue; one lively channel is enough to pass. So a soft
    gradient and a night sky with stars pass, while an empty page with a small mark does not.
    Transparent pictures are looked at on white and on black, and pass if either shows something.
    """

    name: str = field(default="not_blank", init=False, repr=False)

    min_standard_deviation: float = 4.0
    """Least standard deviation of a channel's tones, of 255, that passes.

    A gradient over 14 tones has 4.0, so this is about the faintest one an eye notices.
    """

    max_tone_share: float = 0.999
    """Largest share of pixels, 0 to 1, that may have one tone (give or take 4 of 255).

    At 0.999, 1,049 pixels of a 1024x1024 picture must differ: more than a 32x32 mark has.
    """

    def __post_init__(self) -> None:
        """Refuse what is no threshold.

        Raises:
            ConfigError: `min_standard_deviation` is negative or not finite, or `max_tone_share`
                is outside 0 to 1.
        """
        if not 0 <= self.min_standard_deviation < math.inf:
            raise ConfigError(
                "NotBlank: min_standard_deviation must be a finite number >= 0, "
                f"not {self.min_standard_deviation!r}."
            )
        if not 0 <= self.max_tone_share <= 1:
            raise ConfigError(
                f"NotBlank: max_tone_share must be from 0 to 1, not {self.max_tone_share!r}."
            )

    def __call__(self, candidate: Candidate, /) -> Verdict:
        """Accept a picture on which something can be seen.

        Raises:
            BrokenImageError: The pixels cannot be decoded.
        """
        channels = [
            histogram
            for picture in _as_seen(candidate.image)
            for histogram in _channel_histograms(picture)
        ]
        deviation = max(map(_standard_deviation, channels))
        if deviation < self.min_standard_deviation:
            return Verdict.reject(f"blank picture (standard deviation {deviation:.1f} of 255)")
        share = min(map(_tone_share, channels))
        if share > self.max_tone_share:
            return Verdict.reject(f"blank picture ({share:.2%} of it is one tone)")
        return Verdict.accept()


def _as_seen(image: Image) -> Iterator[Image]:
    """Yield the picture in mode `L` or `RGB`, sampled; if it is transparent, on white and black."""
    from PIL import Image as pillow  # noqa: N813, PLC0415 - heavy: imported when used

    shrink = max(1, max(image.size) / _MAX_SIDE_PX)
    size = (max(1, round(image.width / shrink)), max(1, round(image.height / shrink)))
    # Nearest pixels, not means: means would wash the stars out of a night sky.
    sample = image if size == image.size else image.resize(size, pillow.Resampling.NEAREST)
    if sample.mode.startswith("I"):  # 16 bits a pixel
        # Scaled first: `convert` would clip everything above 255 to white.
        yield sample.point(lambda tone: tone * (1 / 256)).convert("L")
    elif sample.has_transparency_data:
        picture = sample.convert("RGBA")
        for backdrop in ("white", "black"):
            below = pillow.new("RGBA", picture.size, backdrop)
            yield pillow.alpha_composite(below, picture).convert("RGB")
    elif sample.mode in ("L", "RGB"):
        yield sample  # as it is: a copy of 3 MB takes a millisecond
    else:
        yield sample.convert("L" if sample.mode == "1" else "RGB")


def _channel_histograms(picture: Image) -> list[list[int]]:
    counts = picture.histogram()
    return [counts[start : start + _TONES] for start in range(0, len(counts), _TONES)]


def _standard_deviation(histogram: Sequence[int]) -> float:
    pixels = sum(histogram)
    total = sum(map(mul, _TONE, histogram))
    squares = sum(map(mul, _TONE_SQUARED, histogram))
    return math.sqrt(pixels * squares - total**2) / pixels


def _tone_share(histogram: Sequence[int]) -> float:
    """Return the largest share of pixels within `_NEAR_TONES` neighbouring tones."""
    below = list(accumulate(histogram, initial=0))
    most = max(up_to - before for before, up_to in zip(below, below[_NEAR_TONES:], strict=False))
    return most / below[-1]
