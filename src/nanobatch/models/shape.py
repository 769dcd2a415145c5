"""Sizes and aspect ratios as numbers, so that the nearest one a model makes can be found."""

from __future__ import annotations

import re
from fractions import Fraction

from nanobatch.errors import ConfigError

__all__ = ["edge_px", "ratio_distance", "width_per_height"]

_SIZE = re.compile(r"(?P<number>[1-9][0-9]{0,4})(?P<kilo>K?)")
_RATIO = re.compile(r"(?P<width>[1-9][0-9]{0,3}):(?P<height>[1-9][0-9]{0,3})")


def edge_px(size: str) -> int:
    """Return the edge of a square image of this size, in pixels: 512 for `"512"`, 2048 for `"2K"`.

    Raises:
        ConfigError: This is no size name.
    """
    match = _SIZE.fullmatch(size)
    if match is None:
        raise ConfigError(f"{size!r} is no image size; sizes are written 512, 1K, 2K or 4K.")
    return int(match["number"]) * (1024 if match["kilo"] else 1)


def width_per_height(aspect_ratio: str) -> Fraction:
    """Return an aspect ratio as an exact number: 16/9 for `"16:9"`.

    Raises:
        ConfigError: This is no aspect ratio.
    """
    match = _RATIO.fullmatch(aspect_ratio)
    if match is None:
        raise ConfigError(
            f"{aspect_ratio!r} is no aspect ratio; ratios are written width:height, such as 16:9."
        )
    return Fraction(int(match["width"]), int(match["height"]))


def ratio_distance(one: str, other: str) -> Fraction:
    """Return how far two aspect ratios lie apart: 1 if equal, 2 if one is twice as wide.

    It orders like the difference of the logarithms, but exactly: 2:3 and 3:2 are equally far
    from 1:1.
    """
    quotient = width_per_height(one) / width_per_height(other)
    return max(quotient, 1 / quotient)
