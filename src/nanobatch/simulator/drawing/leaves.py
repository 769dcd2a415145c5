"""Leaves: a botanical pattern, layer over layer, each leaf with veins and a shadow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageDraw, ImageFilter

from nanobatch.simulator.drawing.canvas import (
    Colour,
    Point,
    Size,
    add_light,
    finish_surface,
    glow,
    gradient,
    hexed,
    mix,
)

if TYPE_CHECKING:
    from random import Random

__all__ = ["MOODS", "draw"]


class _Palette(NamedTuple):
    dark: Colour
    leaves: tuple[Colour, ...]
    accent: Colour
    light: Colour


_PALETTES = {
    "green": _Palette(
        hexed("03140f"), (hexed("0f4a34"), hexed("1c6b45"), hexed("2f8a55"), hexed("0d3b3a")),
        hexed("9ccf6a"), hexed("c8f0a8"),
    ),
    "sunset": _Palette(
        hexed("1a0a12"), (hexed("6e2436"), hexed("a8433a"), hexed("d9793f"), hexed("4a1c38")),
        hexed("f2bf6a"), hexed("ffdca0"),
    ),
    "night": _Palette(
        hexed("040a1c"), (hexed("12355a"), hexed("1c5470"), hexed("2c7480"), hexed("1a2a5c")),
        hexed("7fc4c0"), hexed("a8e4ff"),
    ),
    "dawn": _Palette(
        hexed("2f3f3c"), (hexed("6d8f78"), hexed("8fae8b"), hexed("b8c9a2"), hexed("c99a8f")),
        hexed("e8c9b4"), hexed("fff2d8"),
    ),
}  # fmt: skip
MOODS = tuple(_PALETTES)
_LAYERS = 4
_SPLIT_SHARE = 0.4
"""Share of leaves with slits."""
_ACCENT_SHARE = 0.16
"""Share of leaves in the accent colour."""


def draw(size: Size, rng: Random, mood: str) -> Image.Image:
    """Return one pattern of leaves."""
    palette = _PALETTES[mood]
    width, height = size
    unit = min(size) / 1000
    picture = gradient(size, [(0, mix(palette.dark, palette.leaves[0], 0.35)), (1, palette.dark)])
    for layer in range(_LAYERS):
        depth = layer / (_LAYERS - 1)
        stamps = [_stamp(rng, palette, depth=depth, unit=unit) for _ in range(5)]
        area = width * height / (1000 * unit) ** 2
        for _ in range(round((17 - 2 * layer) * area)):
            leaf = rng.choice(stamps)
            x = rng.uniform(-0.05, 1.05) * width
            y = rng.uniform(-0.05, 1.05) * height
            # Leaves hang outwards from the middle, with some freedom.
            out = math.degrees(math.atan2(y - height * 0.45, x - width * 0.5)) + 90
            _place(picture, leaf, (x, y), turn=-out + rng.gauss(0, 45), unit=unit)
        if layer < _LAYERS - 1:  # all but the front layer sink into the dark, out of focus
            veil = Image.new("RGB", size, palette.dark)
            picture = Image.blend(picture, veil, 0.34 - 0.09 * layer)
            picture = picture.filter(ImageFilter.BoxBlur((2.6 - 1.2 * layer) * unit))
    sun = (width * rng.uniform(0.1, 0.9), -0.05 * height)
    shine = glow(size, sun, max(size) * 0.8, power=1.8)
    picture = add_light(picture, shine, mix((0, 0, 0), palette.light, 0.3))
    return finish_surface(picture, rng, grain=3, vignette=0.35)


def _stamp(rng: Random, palette: _Palette, *, depth: float, unit: float) -> Image.Image:
    """Return one upright leaf as an RGBA image, its foot at the bottom middle."""
    fine = 2
    tall = rng.uniform(300, 470) * unit * (0.85 + 0.3 * depth)
    wide = tall * rng.uniform(0.3, 0.52)
    box = (max(16, round(wide * fine)), max(32, round(tall * fine)))
    colour = rng.choice(palette.leaves)
    if rng.random() < _ACCENT_SHARE:
        colour = mix(colour, palette.accent, 0.75)
    colour = mix(palette.dark, colour, 0.55 + 0.45 * depth)
    left, right = _halves(box, bulge=rng.uniform(0.3, 0.5), tip=rng.uniform(0.7, 1.3))
    bright = mix(colour, palette.light, 0.2)
    body = gradient(
        box, [(0, mix(bright, palette.light, 0.12)), (1, mix(colour, palette.dark, 0.4))]
    )
    shade = gradient(box, [(0, colour), (1, mix(colour, palette.dark, 0.6))])
    half = Image.new("L", box)
    ImageDraw.Draw(half).polygon(right, fill=255)
    body.paste(shade, mask=half)
    mask = Image.new("L", box)
    ImageDraw.Draw(mask).polygon([*left, *reversed(right)], fill=255)
    _veins(body, rng, mix(bright, palette.light, 0.3), fine=fine, unit=unit)
    if rng.random() < _SPLIT_SHARE:
        _split(mask, rng)
    body.putalpha(mask)
    return body.reduce(fine)


def _halves(box: Size, *, bulge: float, tip: float) -> tuple[list[Point], list[Point]]:
    """Return both edges of a leaf from tip to foot, the middle rib as their common side."""
    width, height = box
    steps = 40
    left: list[Point] = []
    right: list[Point] = []
    for step in range(steps + 1):
        t = step / steps
        reach = math.sin(math.pi * t ** (0.6 + bulge)) ** tip * width / 2
        left.append((width / 2 - reach, t * height))
        right.append((width / 2 + reach, t * height))
    return [(width / 2, 0), *left], [(width / 2, 0), *right, (width / 2, height)]


def _veins(leaf: Image.Image, rng: Random, colour: Colour, *, fine: int, unit: float) -> None:
    width, height = leaf.size
    lines = Image.new("L", leaf.size)
    pen = ImageDraw.Draw(lines)
    thick = max(1, round(1.3 * fine * unit))
    for index in range(13):
        y = height * (0.1 + 0.82 * index / 13)
        rise = height * rng.uniform(0.1, 0.14)
        for side in (-1, 1):
            points = [
                (width / 2 + side * width / 2 * t, y + rise * (0.25 - t) * (0.6 + 0.8 * t))
                for t in (i / 10 for i in range(11))
            ]
            pen.line(points, fill=120, width=thick)
    pen.line((width / 2, 0, width / 2, height), fill=230, width=thick * 2)
    leaf.paste(colour, mask=lines.point([v // 2 for v in range(256)]))


def _split(mask: Image.Image, rng: Random) -> None:
    """Cut slits from the edge towards the rib, as a monstera has them."""
    width, height = mask.size
    pen = ImageDraw.Draw(mask)
    for index in range(6):
        y = height * (0.2 + 0.66 * index / 6)
        for side in (-1, 1):
            inner = width / 2 + side * width * rng.uniform(0.1, 0.17)
            outer = width / 2 + side * width * 0.56
            drop = height * rng.uniform(0.02, 0.05)
            lift = height * 0.05
            pen.polygon(
                [(inner, y), (outer, y - lift - drop * 0.7), (outer, y - lift + drop * 0.7)], fill=0
            )


def _place(picture: Image.Image, leaf: Image.Image, at: Point, *, turn: float, unit: float) -> None:
    turned = leaf.rotate(turn, Image.Resampling.BILINEAR, expand=True)
    x, y = round(at[0] - turned.width / 2), round(at[1] - turned.height / 2)
    alpha = turned.getchannel("A")
    soft = alpha.reduce(4).filter(ImageFilter.GaussianBlur(4 * unit)).resize(alpha.size)
    drop = round(10 * unit)
    picture.paste((0, 0, 0), (x + drop, y + 2 * drop), soft.point([v // 2 for v in range(256)]))
    picture.paste(turned.convert("RGB"), (x, y), alpha)
