"""A filter that rejects pictures which are nearly grey."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from PIL import ImageStat

from nanobatch import ConfigError, Verdict

if TYPE_CHECKING:
    from nanobatch import Candidate

__all__ = ["Colourful"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Colourful:
    """Rejects pictures whose mean saturation is low.

    A frozen dataclass, so that a checkpoint notices when `least` changes.
    """

    name: str = field(default="colourful", init=False, repr=False)

    least: float = 16.0
    """Lowest mean saturation that passes, 0 to 255."""

    def __post_init__(self) -> None:
        """Refuse what is no saturation.

        Raises:
            ConfigError: `least` is outside 0 to 255.
        """
        if not 0 <= self.least <= 255:  # noqa: PLR2004 - the scale of the channel
            raise ConfigError(f"Colourful: least must be from 0 to 255, not {self.least!r}.")

    def __call__(self, candidate: Candidate, /) -> Verdict:
        """Accept what has colour; the score is the mean saturation."""
        small = candidate.image.resize((64, 64)).convert("RGB").convert("HSV")
        saturation = ImageStat.Stat(small).mean[1]
        if saturation < self.least:
            return Verdict.reject(f"nearly grey (mean saturation {saturation:.0f} of 255)")
        return Verdict.accept(score=saturation)
