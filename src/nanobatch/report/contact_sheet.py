"""Contact sheets: the images that change sides, small and side by side, to be looked at."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

    from nanobatch.report.judged import ReplayedCandidate

__all__ = ["contact_sheet"]

_GAP_PX: Final = 8
_LINE_PX: Final = 14
_LINES: Final = 4
_LETTER_PX: Final = 6
_FORMATS: Final = ("PNG", "JPEG", "WEBP")


def contact_sheet(
    rows: Sequence[tuple[str, str, Sequence[ReplayedCandidate]]], *, columns: int, side_px: int
) -> Image:
    """Return groups of images, each under its title, in a frame of its colour.

    Args:
        rows: Title, colour and images of each group.
        columns: Images next to each other, >= 1.
        side_px: Longer side of a thumbnail, >= 1.
    """
    from PIL import Image, ImageDraw  # noqa: PLC0415 - heavy: imported when used

    cell = (side_px + _GAP_PX, side_px + _LINES * _LINE_PX + _GAP_PX)
    heights = [_LINE_PX + _GAP_PX + -(-len(images) // columns) * cell[1] for _, _, images in rows]
    sheet = Image.new("RGB", (columns * cell[0] + _GAP_PX, sum(heights) + _GAP_PX), "white")
    draw = ImageDraw.Draw(sheet)
    top = _GAP_PX
    for (title, colour, images), height in zip(rows, heights, strict=True):
        draw.text((_GAP_PX, top), title, fill="black")
        for number, image in enumerate(images):
            left = _GAP_PX + number % columns * cell[0]
            above = top + _LINE_PX + _GAP_PX + number // columns * cell[1]
            small = _thumbnail(image, side_px)
            sheet.paste(small, (left, above))
            draw.rectangle(
                (left - 2, above - 2, left + small.width + 1, above + small.height + 1),
                outline=colour,
                width=2,
            )
            words = f"{image.job_id}, slot {image.slot}\n{image.reason}".encode("ascii", "replace")
            lines = [
                line
                for paragraph in words.decode().splitlines()
                for line in textwrap.wrap(paragraph, max(1, side_px // _LETTER_PX))
            ]
            draw.text(
                (left, above + side_px + 3), "\n".join(lines[:_LINES]), fill="black", spacing=2
            )
        top += height
    return sheet


def _thumbnail(image: ReplayedCandidate, side_px: int) -> Image:
    """Return the image, small; grey if its file is gone by now."""
    from PIL import Image, ImageOps  # noqa: PLC0415 - heavy: imported when used

    from nanobatch.filters.copies import plain  # noqa: PLC0415 - as above

    try:
        with Image.open(image.path or "", formats=_FORMATS) as opened:
            opened.draft("RGB", (side_px, side_px))
            small = ImageOps.contain(plain(opened).convert("RGBA"), (side_px, side_px))
    except Exception:  # noqa: BLE001 - Pillow raises SyntaxError, struct.error, ...
        return Image.new("RGB", (side_px, side_px), "#b0b0b0")
    below = Image.new("RGBA", small.size, "white")
    return Image.alpha_composite(below, small).convert("RGB")
