"""Pictures that look alike or not: colour fields on three scales, the same for the same number."""

from __future__ import annotations

import random

from PIL import Image

_SIDES = (4, 9, 21)


def look(number: int, size: tuple[int, int] = (256, 256)) -> Image.Image:
    """Return a picture of its own for every number, with large, middling and small shapes."""
    chance = random.Random(number)
    picture = Image.new("RGB", size)
    for share, side in zip((1.0, 0.5, 0.33), _SIDES, strict=True):
        colours = Image.frombytes("RGB", (side, side), chance.randbytes(3 * side * side))
        layer = colours.resize(size, Image.Resampling.BICUBIC)
        picture = Image.blend(picture, layer, share)
    return picture
