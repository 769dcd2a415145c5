"""Dunes: lit slopes against shadowed ones, under an empty sky."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageChops

from nanobatch.simulator.drawing.canvas import (
    Colour,
    Point,
    Size,
    add_light,
    clouds,
    disc,
    finish_surface,
    glow,
    gradient,
    hexed,
    mix,
    outline,
    ramp,
    smooth_line,
    stars,
)

if TYPE_CHECKING:
    from random import Random

__all__ = ["MOODS", "draw"]


class _Palette(NamedTuple):
    top: Colour
    horizon: Colour
    sun: Colour
    lit: Colour
    shade: Colour
    stars: int


_PALETTES = {
    "sunset": _Palette(
        hexed("3d2c66"), hexed("ff9e6b"), hexed("fff0cc"), hexed("f0925a"), hexed("4a1f3d"), 0
    ),
    "day": _Palette(
        hexed("2d86c9"), hexed("d9ecee"), hexed("fffbe6"), hexed("f1c584"), hexed("a8653c"), 0
    ),
    "night": _Palette(
        hexed("060b26"), hexed("3c5b92"), hexed("eef3ff"), hexed("7187b5"), hexed("0e1736"), 600
    ),
    "dawn": _Palette(
        hexed("7f8fc9"), hexed("ffd8c9"), hexed("fff6e0"), hexed("eebc9f"), hexed("7d4f6d"), 0
    ),
}
MOODS = tuple(_PALETTES)
_STEPS = 160


def draw(size: Size, rng: Random, mood: str) -> Image.Image:
    """Return one desert landscape."""
    palette = _PALETTES[mood]
    width, height = size
    unit = min(size) / 1000
    horizon = rng.uniform(0.5, 0.58)
    picture = gradient(size, [(0, palette.top), (horizon, palette.horizon), (1, palette.horizon)])
    if palette.stars:
        picture = stars(picture, rng, count=palette.stars, bottom=horizon)
    sun = (width * rng.uniform(0.2, 0.8), height * horizon * rng.uniform(0.5, 0.8))
    dim = mix((0, 0, 0), palette.sun, 0.55)
    picture = add_light(picture, glow(size, sun, 900 * unit, power=2.6), dim)
    picture = add_light(picture, glow(size, sun, 220 * unit, power=2.2), dim)
    picture.paste(palette.sun, mask=disc(size, sun, rng.uniform(50, 80) * unit))
    sand = clouds(size, rng, cells=(60, 160), octaves=2)
    sand = sand.point([max(0, (v - 100) // 3) for v in range(256)])
    layers = 6
    for layer in range(layers):
        _dune(picture, rng, palette, horizon=horizon, depth=layer / (layers - 1), sand=sand)
    return finish_surface(picture, rng)


def _dune(
    picture: Image.Image,
    rng: Random,
    palette: _Palette,
    *,
    horizon: float,
    depth: float,
    sand: Image.Image,
) -> None:
    size = picture.size
    width, height = size
    base = height * (horizon + 0.03 + (0.86 - horizon) * depth**1.35)
    reach = height * (0.02 + 0.06 * depth)
    wave = smooth_line(rng, _STEPS + 1, waves=1.5 - 0.75 * depth)
    crest: list[Point] = [
        (width * i / _STEPS, base - reach * _peaked(v)) for i, v in enumerate(wave)
    ]
    air = 0.75 * (1 - depth) ** 1.3
    lit = mix(mix(palette.lit, (255, 244, 220), 0.1 * depth), palette.horizon, air)
    shade = mix(palette.shade, palette.horizon, air)
    top = (base - reach) / height
    body = outline(size, [[*crest, (width, height), (0, height)]])
    slope = gradient(
        size,
        [(0, lit), (top, lit), (min(1.0, top + 0.16 + 0.2 * depth), mix(lit, shade, 0.72)),
         (1, mix(lit, shade, 0.9))],
    )  # fmt: skip
    slope = add_light(slope, sand, mix((0, 0, 0), lit, 0.35 * depth))
    picture.paste(slope, mask=body)
    shadows = outline(size, _lee_sides(rng, crest, size, reach=reach))
    shadows = ImageChops.multiply(shadows, body)
    fade = ramp(size, [(0, 255), (top, 255), (min(1.0, top + 0.2 + 0.2 * depth), 110), (1, 90)])
    picture.paste(shade, mask=ImageChops.multiply(shadows, fade))


def _peaked(value: float) -> float:
    """Turn a calm wave into a dune's: broad valleys, narrower crests."""
    return 2 * math.pow((value + 1) / 2, 1.5) - 1


def _lee_sides(rng: Random, crest: list[Point], size: Size, *, reach: float) -> list[list[Point]]:
    """Return the shadowed face right of every summit: a crescent that runs out below."""
    shapes: list[list[Point]] = []
    last = len(crest) - 1
    for summit in range(1, last):
        x, y = crest[summit]
        if not crest[summit - 1][1] >= y < crest[summit + 1][1]:
            continue
        valley = next((i for i in range(summit + 1, last) if crest[i][1] > crest[i + 1][1]), last)
        end_x, end_y = crest[valley]
        if end_y - y < 0.35 * reach:  # a mere ripple casts no shadow worth drawing
            continue
        fall = max(1.25 * (end_y - y), reach * rng.uniform(1.6, 2.6), size[1] * 0.02)
        tip = (x - (end_x - x) * rng.uniform(0.15, 0.7), y + fall)
        edge = [_curve((x, y), (x - 0.1 * (x - tip[0]), y + 0.62 * fall), tip, i / 32)
                for i in range(33)]  # fmt: skip
        belly = (x + 0.42 * (end_x - x), max(end_y, y + 0.86 * fall))
        hem = [_curve((end_x, end_y), belly, tip, i / 32) for i in range(33)]
        shapes.append([*crest[summit : valley + 1], *hem, *reversed(edge)])
    return shapes


def _curve(start: Point, bend: Point, end: Point, t: float) -> Point:
    x, y = (
        (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
        for a, b, c in zip(start, bend, end, strict=True)
    )
    return x, y
