"""Filters on the pixels: is there anything to be seen, and can one see through it?"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import accumulate
from operator import mul
from typing import TYPE_CHECKING, Final

from nanobatch.candidate import Verdict
from nanobatch.errors import ConfigError
from nanobatch.filters.threshold import check_thresholds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanobatch.candidate import Candidate

__all__ = ["Alpha", "NotBlank"]

_OPAQUE: Final = 250
"""Alpha, of 255, from which a pixel counts as opaque: lossy formats make 255 a little less."""

_TONE: Final = range(256)
_TONE_SQUARED: Final = tuple(tone**2 for tone in _TONE)

_NEAR_TONES: Final = 16
"""Neighbouring tones that count as one: JPEG makes as many of one around a mark, grain fewer."""


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
    """Largest share of pixels, 0 to 1, that may have one tone (give or take 8 of 255).

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
        from nanobatch.filters.copies import few_tones, tone_histograms  # noqa: PLC0415 - Pillow

        if self._must_pass(*few_tones(candidate)):
            return Verdict.accept()
        channels = candidate.derived(tone_histograms)
        deviation = max(map(_standard_deviation, channels))
        if deviation < self.min_standard_deviation:
            return Verdict.reject(
                f"blank picture (standard deviation {deviation:.1f} of 255, "
                f"at least {self.min_standard_deviation:g})"
            )
        share = min(map(_tone_share, channels))
        if share > self.max_tone_share:
            return Verdict.reject(
                f"blank picture ({share:.2%} of it is one tone, at most {self.max_tone_share:.2%})"
            )
        return Verdict.accept()

    def _must_pass(self, counted: float, channels: Sequence[Sequence[int]]) -> bool:
        """Return whether a picture passes whatever tones its other pixels have.

        The variance of all pixels is at least `counted` times that of the counted ones, and the
        share outside of any range of tones at least `counted` times theirs.

        Args:
            counted: The share of its pixels whose tones are known, above 0, to 1.
            channels: How many of them have each tone, by channel.
        """
        return any(
            _standard_deviation(one) * math.sqrt(counted) >= self.min_standard_deviation
            for one in channels
        ) and any((1 - _tone_share(one)) * counted >= 1 - self.max_tone_share for one in channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alpha:
    """Rejects pictures one can see through, for those who want none.

    An alpha channel by itself does no harm; what counts is how many pixels are not opaque.
    """

    name: str = field(default="alpha", init=False, repr=False)

    max_transparent_share: float = 0.001
    """Largest share of pixels, 0 to 1, whose alpha may be below 250 of 255."""

    def __post_init__(self) -> None:
        """Refuse what is no share.

        Raises:
            ConfigError: `max_transparent_share` is outside 0 to 1.
        """
        check_thresholds(self, "max_transparent_share", upto=1)

    def __call__(self, candidate: Candidate, /) -> Verdict:
        """Accept an opaque picture.

        Raises:
            BrokenImageError: The pixels cannot be decoded.
        """
        from nanobatch.filters.copies import sample  # noqa: PLC0415 - imports Pillow

        seen = candidate.derived(sample)
        if seen.mode != "RGBA":
            return Verdict.accept()
        share = sum(seen.getchannel("A").histogram()[:_OPAQUE]) / (seen.width * seen.height)
        if share > self.max_transparent_share:
            return Verdict.reject(
                f"transparent ({share:.1%} of it, at most {self.max_transparent_share:.1%})"
            )
        return Verdict.accept()


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
