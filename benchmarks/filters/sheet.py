"""Contact sheets: rows of thumbnails with a name each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageOps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["contact_sheet"]

_SIDE = 128
_GAP = 6
_NAME_HEIGHT = 16


def contact_sheet(rows: Mapping[str, Sequence[Image.Image]]) -> Image.Image:
    """Return one picture with a named row of thumbnails for each entry.

    Transparent pictures are laid on a chessboard.
    """
    columns = max(map(len, rows.values()))
    height = _NAME_HEIGHT + _SIDE + _GAP
    sheet = Image.new("RGB", (columns * (_SIDE + _GAP), len(rows) * height), "#dcdcdc")
    draw = ImageDraw.Draw(sheet)
    for number, (name, pictures) in enumerate(rows.items()):
        top = number * height
        draw.text((2, top + 2), name, fill="black")
        for column, picture in enumerate(pictures):
            small = ImageOps.contain(picture.convert("RGBA"), (_SIDE, _SIDE))
            left = column * (_SIDE + _GAP) + (_SIDE - small.width) // 2
            below = _chessboard(small.size)
            below.alpha_composite(small)
            sheet.paste(below, (left, top + _NAME_HEIGHT + (_SIDE - small.height) // 2))
    return sheet


def _chessboard(size: tuple[int, int]) -> Image.Image:
    board = Image.new("RGBA", size, "white")
    draw = ImageDraw.Draw(board)
    for x in range(0, size[0], 8):
        for y in range(x // 8 % 2 * 8, size[1], 16):
            draw.rectangle((x, y, x + 7, y + 7), fill="#b8b8b8")
    return board
