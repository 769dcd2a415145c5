"""What a picture looks like, in 64 bits: those of pictures that look alike differ little."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

__all__ = ["HASH_BITS", "perceptual_hash"]

HASH_BITS: Final = 64

_SIDE_PX: Final = 32
_KEPT: Final = 8
"""Frequencies kept in each direction: shapes down to an eighth of the picture, no texture."""
_DECIMALS: Final = 6
"""Finer differences between frequencies are the noise of floating point, on flat pictures."""


def perceptual_hash(image: Image) -> int:
    """Return the `phash` of a picture, 0 to 2**64 - 1, the first bit highest.

    The picture is made grey and 32x32 pixels large, transformed to frequencies (DCT-II), and of
    the 8x8 lowest each gives one bit: whether it is above their median. So size, format,
    compression, noise, brightness and contrast hardly count, and neither does colour.
    Transparent pictures are seen on white.

    The bits are those of `phash` in ImageHash 4.3.2, but for pictures that are transparent, or
    symmetric to the last bit, where that hash is noise.

    Source: C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010,
    section 3.2.1, by way of https://github.com/JohannesBuchner/imagehash.
    """
    from PIL.Image import Resampling  # noqa: PLC0415 - heavy: imported when used

    small = _grey(image).resize((_SIDE_PX, _SIDE_PX), Resampling.LANCZOS)
    tones = small.tobytes()
    columns = [tones[x::_SIDE_PX] for x in range(_SIDE_PX)]
    down = [_frequencies(column) for column in columns]
    across = [_frequencies(row) for row in zip(*down, strict=True)]
    found = [round(value, _DECIMALS) for row in across for value in row]
    ranked = sorted(found)
    median = (ranked[HASH_BITS // 2 - 1] + ranked[HASH_BITS // 2]) / 2
    bits = 0
    for value in found:
        bits = bits << 1 | (value > median)
    return bits


def _grey(image: Image) -> Image:
    if image.mode.startswith("I"):  # 16 bits a pixel: `convert` would clip what is above 255
        return image.point(lambda tone: tone * (1 / 256)).convert("L")
    if image.has_transparency_data:
        from PIL import Image as pillow  # noqa: N813, PLC0415 - as above

        picture = image.convert("RGBA")
        white = pillow.new("RGBA", picture.size, "white")
        return pillow.alpha_composite(white, picture).convert("L")
    return image.convert("L")


def _frequencies(tones: Sequence[float]) -> list[float]:
    return [
        math.fsum(tone * wave for tone, wave in zip(tones, waves, strict=True))
        for waves in _waves()
    ]


@cache
def _waves() -> tuple[tuple[float, ...], ...]:
    return tuple(
        tuple(math.cos(math.pi * k * (2 * n + 1) / (2 * _SIDE_PX)) for n in range(_SIDE_PX))
        for k in range(_KEPT)
    )
