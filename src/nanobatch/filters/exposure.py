"""A filter on light: is the picture too dark, too bright or too faint to see what is in it?"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from nanobatch.candidate import Verdict
from nanobatch.filters.threshold import check_thresholds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanobatch.candidate import Candidate

__all__ = ["Exposure"]

_TAIL: Final = 0.001
"""Share of pixels, at either end, that may be darker or brighter: less than a sky has stars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Rejects pictures that are dark all over, bright all over, or all of nearly one tone.

    Looks at the darkest and the brightest tone of red, green and blue, apart from 0.1 % of the
    pixels at either end. So a night scene with a few lights passes, as do snow with a few trees
    and a drawing on white paper. What it does not see is a picture that is badly exposed but has
    both ends of the scale. Transparent pictures are looked at on white and on black together.
    """

    name: str = field(default="exposure", init=False, repr=False)

    min_highlight: float = 64
    """Tone, 0 to 255, that the brightest pixels of some channel must reach; below is too dark."""

    max_shadow: float = 192
    """Tone, 0 to 255, that the darkest pixels of some channel must reach; above is too bright."""

    min_contrast: float = 40
    """Least distance, 0 to 255, of the darkest and the brightest pixels of some channel."""

    def __post_init__(self) -> None:
        """Refuse what is no tone.

        Raises:
            ConfigError: A threshold is outside 0 to 255.
        """
        check_thresholds(self, "min_highlight", "max_shadow", "min_contrast", upto=255)

    def __call__(self, candidate: Candidate, /) -> Verdict:
        """Accept a picture that is neither too dark, nor too bright, nor too faint.

        Raises:
            BrokenImageError: The pixels cannot be decoded.
        """
        from nanobatch.filters.copies import tone_histograms  # noqa: PLC0415 - imports Pillow

        ends = [_ends(histogram) for histogram in candidate.derived(tone_histograms)]
        highlight = max(brightest for _, brightest in ends)
        if highlight < self.min_highlight:
            return Verdict.reject(
                f"too dark (brightest tone {highlight} of 255, at least {self.min_highlight:g})"
            )
        shadow = min(darkest for darkest, _ in ends)
        if shadow > self.max_shadow:
            return Verdict.reject(
                f"too bright (darkest tone {shadow} of 255, at most {self.max_shadow:g})"
            )
        contrast = max(brightest - darkest for darkest, brightest in ends)
        if contrast < self.min_contrast:
            return Verdict.reject(
                f"low contrast ({contrast} tones of 255, at least {self.min_contrast:g})"
            )
        return Verdict.accept()


def _ends(histogram: Sequence[int]) -> tuple[int, int]:
    """Return the darkest and the brightest tone, apart from the pixels of the tails."""
    upto = list(accumulate(histogram))
    tail = upto[-1] * _TAIL
    darkest = next(tone for tone, count in enumerate(upto) if count > tail)
    brightest = next(tone for tone, count in enumerate(upto) if count >= upto[-1] - tail)
    return darkest, brightest
