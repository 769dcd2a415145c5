"""Filters on width and height: is the picture large enough, and of the shape that was asked for?"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanobatch.candidate import Verdict
from nanobatch.errors import BrokenImageError, ConfigError

if TYPE_CHECKING:
    from nanobatch.candidate import Candidate

__all__ = ["AspectRatio", "MinSize"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MinSize:
    """Rejects pictures narrower or lower than wanted; width and height are not interchangeable."""

    name: str = field(default="min_size", init=False, repr=False)

    width_px: int = 512
    """Smallest width that passes, in pixels of the file, >= 1."""

    height_px: int = 512
    """Smallest height that passes, in pixels of the file, >= 1."""

    def __post_init__(self) -> None:
        """Refuse what is no size.

        Raises:
            ConfigError: `width_px` or `height_px` is below 1.
        """
        if min(self.width_px, self.height_px) < 1:
            raise ConfigError(
                "MinSize: width_px and height_px must be >= 1, "
                f"not {self.width_px!r} and {self.height_px!r}."
            )

    def __call__(self, candidate: Candidate, /) -> Verdict:
        """Accept a picture of at least `width_px` by `height_px`."""
        if candidate.width_px < self.width_px or candidate.height_px < self.height_px:
            return Verdict.reject(
                f"picture too small ({candidate.width_px}x{candidate.height_px} px, "
                f"at least {self.width_px}x{self.height_px})"
            )
        return Verdict.accept()


@dataclass(frozen=True, slots=True, kw_only=True)
class AspectRatio:
    """Rejects pictures of another shape than the job's `aspect_ratio`.

    Never compares pixels exactly: models round to their own grid, and `16:9` may come as 1408x768,
    which is 3.1 % wider. The default tolerance lies between that and the 6.7 % from one ratio on
    offer to the next (4:5 to 3:4).
    """

    name: str = field(default="aspect_ratio", init=False, repr=False)

    tolerance: float = 0.05
    """How far the ratio may be off, relative, >= 0: 0.05 lets 5 % too wide or too high pass."""

    def __post_init__(self) -> None:
        """Refuse what is no tolerance.

        Raises:
            ConfigError: `tolerance` is negative or not finite.
        """
        if not 0 <= self.tolerance < math.inf:
            raise ConfigError(
                f"AspectRatio: tolerance must be a finite number >= 0, not {self.tolerance!r}."
            )

    def __call__(self, candidate: Candidate, /) -> Verdict:
        """Accept a picture of about the shape the job asks for.

        Raises:
            BrokenImageError: The file has no readable header.
        """
        if not candidate.width_px or not candidate.height_px:
            raise BrokenImageError("The image has no readable header.")
        wanted_width, wanted_height = map(int, candidate.job.aspect_ratio.split(":"))
        # Cross products: in whole numbers an exact ratio is exact.
        across = candidate.width_px * wanted_height
        down = candidate.height_px * wanted_width
        if max(across, down) > min(across, down) * (1 + self.tolerance):
            return Verdict.reject(
                f"wrong aspect ratio ({candidate.width_px}x{candidate.height_px} px is "
                f"{candidate.width_px / candidate.height_px:.2f}, "
                f"{candidate.job.aspect_ratio} is {wanted_width / wanted_height:.2f})"
            )
        return Verdict.accept()
