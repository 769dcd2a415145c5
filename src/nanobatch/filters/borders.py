"""A filter on the edges: does the picture fill its file, or does it stand between bars?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from nanobatch.candidate import Verdict
from nanobatch.filters.threshold import check_thresholds

if TYPE_CHECKING:
    from PIL.Image import Image

    from nanobatch.candidate import Candidate

__all__ = ["NoBorders"]

_SAME_TONES: Final = 8
"""Distance of tones that counts as the same: JPEG makes some of a single one."""

_STRAY_SHARE: Final = 0.02
"""Share of a line of a bar that may differ from it."""

_DRIFT_TONES: Final = 3
"""How far a line near the end of a bar may be from the first: in a shade it is nearly 8 away."""

_EDGE_SHARE: Final = 0.5
"""Share of the line behind a bar that must differ from it: a bar ends all at once."""

_EDGE_LINES: Final = 8
"""Lines in which it must end: JPEG blurs an edge over a block of eight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoBorders:
    """Rejects pictures between two bars of one tone, or in a frame: letterbox, pillarbox, frame.

    A bar begins at a side, is even all along, ends in a straight line, and has a twin of the same
    tone on the other side. So a thing on white paper passes, as do a plain sky and a dark ground.
    Bars with a pattern or a shade, a single bar, and a bar of the tone of the picture beside it
    are not seen.
    """

    name: str = field(default="no_borders", init=False, repr=False)

    max_border_share: float = 0.012
    """Largest share of width or height, 0 to 0.5, that each of two bars may take."""

    def __post_init__(self) -> None:
        """Refuse what is no share.

        Raises:
            ConfigError: `max_border_share` is outside 0 to 0.5.
        """
        check_thresholds(self, "max_border_share", upto=0.5)

    def __call__(self, candidate: Candidate, /) -> Verdict:
        """Accept a picture that reaches the sides of its file.

        Raises:
            BrokenImageError: The pixels cannot be decoded.
        """
        from PIL import Image  # noqa: PLC0415 - heavy: imported when used

        from nanobatch.filters.copies import small_grey  # noqa: PLC0415 - imports Pillow

        grey = candidate.derived(small_grey)
        for what, picture in (
            ("above and below", grey),
            ("left and right", grey.transpose(Image.Transpose.TRANSPOSE)),
        ):
            share = _bar_lines(picture) / picture.height
            if share > self.max_border_share:
                return Verdict.reject(
                    f"borders {what} ({share:.1%} each, at most {self.max_border_share:.1%})"
                )
        return Verdict.accept()


def _bar_lines(grey: Image) -> int:
    """Return the height of the smaller of two bars above and below; 0 if they are not twins."""
    last = grey.height - 1
    tones = (_median(grey, 0), _median(grey, last))
    if abs(tones[0] - tones[1]) > _SAME_TONES:
        return 0
    shares = _differing_shares(grey, tones[0])
    above, below = _depth(shares), _depth(shares[::-1])
    # Not the very last line of a bar: there, JPEG shows something of the picture.
    inner = (_median(grey, above * 3 // 4), _median(grey, last - below * 3 // 4))
    drift = max(abs(tone - other) for tone, other in zip(tones, inner, strict=True))
    return min(above, below) if drift <= _DRIFT_TONES else 0


def _median(grey: Image, line: int) -> int:
    row = sorted(grey.crop((0, line, grey.width, line + 1)).tobytes())
    return row[len(row) // 2]


def _differing_shares(grey: Image, tone: int) -> list[float]:
    """Return of each line what share of it has another tone."""
    from PIL import Image  # noqa: PLC0415 - heavy: imported when used

    differs = grey.point([255 * (abs(other - tone) > _SAME_TONES) for other in range(256)])
    lines = differs.resize((1, grey.height), Image.Resampling.BOX)
    return [share / 255 for share in lines.tobytes()]


def _depth(shares: list[float]) -> int:
    """Return how many lines a bar has that begins at the first; 0 if it ends gradually or never."""
    depth = next((line for line, share in enumerate(shares) if share > _STRAY_SHARE), None)
    if depth is None or max(shares[depth : depth + _EDGE_LINES]) < _EDGE_SHARE:
        return 0
    return depth
