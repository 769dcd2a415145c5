"""A filter on detail: is anything in the picture sharp?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from nanobatch.candidate import Verdict
from nanobatch.filters.threshold import check_thresholds

if TYPE_CHECKING:
    from PIL.Image import Image

    from nanobatch.candidate import Candidate

__all__ = ["Sharpness"]

_FAR_PX: Final = 8
"""Over this distance even a blurred edge shows most of its contrast."""

_STRONGEST: Final = 0.0005
"""Share of the pixels, for each pixel of distance, that is looked at: the strongest edges.

An edge that shows in one difference of neighbours shows in eight over eight pixels.
"""

_MIN_STEP: Final = 16
"""Contrast, in tones of 255, below which nothing counts as an edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharpness:
    """Rejects pictures in which nothing is sharp: blurred ones, and those of soft shades only.

    Compares how much the strongest edges change from one pixel to the next with how much they
    change over eight pixels, on a copy of 512x512 px or as many: all of it at a hard edge, an
    eighth on an even slope. So contrast does not matter, and one sharp thing before a blurred
    background is enough. The score is that share: larger is sharper.
    """

    name: str = field(default="sharpness", init=False, repr=False)

    min_sharpness: float = 0.4
    """Least share, 0 to 1, of an edge's contrast that must lie between neighbouring pixels."""

    def __post_init__(self) -> None:
        """Refuse what is no share.

        Raises:
            ConfigError: `min_sharpness` is outside 0 to 1.
        """
        check_thresholds(self, "min_sharpness", upto=1)

    def __call__(self, candidate: Candidate, /) -> Verdict:
        """Accept a picture with something sharp in it.

        Raises:
            BrokenImageError: The pixels cannot be decoded.
        """
        from nanobatch.filters.copies import small_grey  # noqa: PLC0415 - imports Pillow

        grey = candidate.derived(small_grey)
        sharpness = min(1.0, _step(grey, 1) / max(_step(grey, _FAR_PX), _MIN_STEP))
        if sharpness < self.min_sharpness:
            return Verdict.reject(
                f"blurred (sharpness {sharpness:.2f}, at least {self.min_sharpness:g})",
                score=sharpness,
            )
        return Verdict.accept(score=sharpness)


def _step(grey: Image, distance_px: int) -> int:
    """Return the difference over a distance, across or down, that the strongest edges exceed."""
    from PIL import ImageChops  # noqa: PLC0415 - heavy: imported when used

    width, height = grey.size
    across, down = min(distance_px, width - 1), min(distance_px, height - 1)
    counts = [0] * 256
    for x, y in ((across, 0), (0, down)):
        one = grey.crop((x, y, width, height))
        other = grey.crop((0, 0, width - x, height - y))
        for tone, count in enumerate(ImageChops.difference(one, other).histogram()):
            counts[tone] += count
    left = sum(counts) * _STRONGEST * distance_px
    for tone in range(255, 0, -1):
        left -= counts[tone]
        if left < 0:
            return tone
    return 0
