"""A filter on composition: is the picture one scene, or the same scene two or three times?"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from operator import mul
from typing import TYPE_CHECKING, Final

from nanobatch.candidate import Verdict
from nanobatch.filters.threshold import check_thresholds

if TYPE_CHECKING:
    from PIL.Image import Image

    from nanobatch.candidate import Candidate

__all__ = ["NotTiled"]

_SIDE_PX: Final = 16
"""Side of the thumbnail of each part; in larger ones, copies that differ a little are unlike."""

_MAX_SHIFT_PX: Final = 1
"""How far the copies may be out of place, in pixels of the thumbnail: 6 % of a part."""

_HINT: Final = 0.1
"""Likeness below which no shift will make copies of two parts."""

_MIN_DEVIATION: Final = 3.0
"""Standard deviation of tones below which there is too little in a part to compare."""

_SPLITS: Final = ((2, "side by side"), (3, "side by side"), (2, "stacked"), (3, "stacked"))


@dataclass(frozen=True, slots=True, kw_only=True)
class NotTiled:
    """Rejects pictures that show their scene two or three times, side by side or stacked.

    That is what models make of shapes they have not learnt, for instance 4:1. Thumbnails of the
    parts are laid over each other. What is the same all along the row of parts, such as a sky over
    a sea, is taken out first, so an even landscape passes. The copies may be a little out of place
    and differ in brightness; mirrored ones pass, since reflections are wanted more often than not.
    A pattern that repeats on purpose is rejected, so leave the filter out for those.
    """

    name: str = field(default="not_tiled", init=False, repr=False)

    max_likeness: float = 0.65
    """Largest correlation, 0 to 1, that all neighbouring parts may have; 1 is the very same."""

    def __post_init__(self) -> None:
        """Refuse what is no correlation.

        Raises:
            ConfigError: `max_likeness` is outside 0 to 1.
        """
        check_thresholds(self, "max_likeness", upto=1)

    def __call__(self, candidate: Candidate, /) -> Verdict:
        """Accept a picture whose halves and thirds differ.

        Raises:
            BrokenImageError: The pixels cannot be decoded.
        """
        from nanobatch.filters.copies import small_grey  # noqa: PLC0415 - imports Pillow

        grey = candidate.derived(small_grey)
        for count, how in _SPLITS:
            parts = _parts(grey, count, is_stacked=how == "stacked")
            likeness = min(_likeness(one, other) for one, other in pairwise(parts))
            if likeness > self.max_likeness:
                return Verdict.reject(
                    f"the scene {count} times {how} "
                    f"(likeness {likeness:.2f}, at most {self.max_likeness:g})"
                )
        return Verdict.accept()


def _parts(grey: Image, count: int, *, is_stacked: bool) -> list[Image]:
    """Return thumbnails of the parts without what is the same all along their row; 128 is zero."""
    from PIL import Image, ImageChops  # noqa: PLC0415 - heavy: imported when used

    if is_stacked:
        grey = grey.transpose(Image.Transpose.TRANSPOSE)
    size = (count * _SIDE_PX, _SIDE_PX)
    row = grey.resize(size, Image.Resampling.BOX)
    mean = row.resize((1, _SIDE_PX), Image.Resampling.BOX).resize(size)
    rest = ImageChops.subtract(row, mean, offset=128)
    return [rest.crop((left, 0, left + _SIDE_PX, _SIDE_PX)) for left in range(0, size[0], _SIDE_PX)]


def _likeness(one: Image, other: Image) -> float:
    """Return the correlation of two thumbnails, laid over each other as well as they can be."""
    at, best = (0, 0), _correlation(one, other, 0, 0)
    while best > _HINT:
        x, y = at
        near = [
            (_correlation(one, other, *shift), shift)
            for shift in ((x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1))
            if max(map(abs, shift)) <= _MAX_SHIFT_PX
        ]
        likeness, shift = max(near)
        if likeness <= best:
            break
        at, best = shift, likeness
    return best


def _correlation(one: Image, other: Image, x: int, y: int) -> float:
    """Return the correlation of two thumbnails, the other one shifted by `x` and `y` pixels."""
    from PIL import ImageChops  # noqa: PLC0415 - heavy: imported when used

    left, top = max(0, x), max(0, y)
    right, bottom = _SIDE_PX + min(0, x), _SIDE_PX + min(0, y)
    here = one.crop((left, top, right, bottom))
    there = other.crop((left - x, top - y, right - x, bottom - y))
    variance, other_variance = _variance(here), _variance(there)
    if min(variance, other_variance) < _MIN_DEVIATION**2:
        return 0.0
    # Var(a - b) = Var(a) + Var(b) - 2 Cov(a, b), and half the difference fits into a byte.
    apart = 4 * _variance(ImageChops.subtract(here, there, scale=2, offset=128))
    return (variance + other_variance - apart) / 2 / math.sqrt(variance * other_variance)


_TONES: Final = tuple(range(256))
_SQUARES: Final = tuple(tone * tone for tone in _TONES)


def _variance(grey: Image) -> float:
    counts = grey.histogram()
    pixels = grey.width * grey.height
    mean: float = sum(map(mul, counts, _TONES)) / pixels
    mean_square: float = sum(map(mul, counts, _SQUARES)) / pixels
    return mean_square - mean**2
