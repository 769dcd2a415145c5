"""Ribbons: abstract layers of colour that flow over each other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageDraw

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
    outline,
    smooth_line,
    soften,
)

if TYPE_CHECKING:
    from random import Random

__all__ = ["MOODS", "draw"]

_PALETTES: dict[str, tuple[Colour, ...]] = {
    "sunset": tuple(hexed(c) for c in ("2a0a4a", "7a1e6c", "d63a6e", "ff7a52", "ffc15e")),
    "blue": tuple(hexed(c) for c in ("04103a", "0b3a8c", "1f78e0", "39c0f0", "b4f1ee")),
    "neon": tuple(hexed(c) for c in ("120338", "4a12a8", "9b2cf0", "f04fc8", "6ef0ff")),
    "green": tuple(hexed(c) for c in ("03201f", "0a4f48", "168f6b", "7fd07a", "f2e8a0")),
    "dawn": tuple(hexed(c) for c in ("5a6ac8", "a98be0", "f0a8d0", "ffcdb2", "fff0d2")),
}
MOODS = tuple(_PALETTES)
_STEPS = 120


def draw(size: Size, rng: Random, mood: str) -> Image.Image:
    """Return one abstract picture."""
    hues = _PALETTES[mood]
    width, height = size
    unit = min(size) / 1000
    tilt = rng.choice((-1, 1)) * rng.uniform(0.12, 0.34)
    picture = gradient(
        size, [(0, hues[0]), (0.6, hues[1]), (1, hues[2])], angle=rng.uniform(-40, 40)
    )
    at = (width * rng.uniform(0.2, 0.8), height * rng.uniform(0.1, 0.3))
    picture = add_light(
        picture, glow(size, at, max(size) * 0.6, power=2), mix((0, 0, 0), hues[3], 0.5)
    )
    layers = 6
    for layer in range(layers):
        place = layer / (layers - 1)
        wave = smooth_line(rng, _STEPS + 1, waves=rng.uniform(0.6, 1.2))
        crest: list[Point] = [
            (
                width * i / _STEPS,
                height * (0.2 + 0.68 * place + tilt * (i / _STEPS - 0.5) + 0.11 * v),
            )
            for i, v in enumerate(wave)
        ]
        body = outline(size, [[*crest, (width, height * 1.5), (0, height * 1.5)]])
        shadow = ImageChops.offset(soften(body, 34 * unit), 0, round(-14 * unit))
        picture.paste(
            mix(hues[0], (0, 0, 0), 0.5), mask=shadow.point([v * 2 // 5 for v in range(256)])
        )
        first, second = _hue(hues, place * 0.85 + 0.05), _hue(hues, place * 0.85 + 0.35)
        top = min(y for _, y in crest) / height
        picture.paste(
            gradient(
                size,
                [(0, second), (max(0.0, top), second), (min(1.0, top + 0.42), first),
                 (1, mix(first, hues[0], 0.3))],
                angle=math.degrees(math.atan(tilt)) * rng.uniform(0.6, 2.2),
            ),
            mask=body,
        )  # fmt: skip
        _rim(picture, crest, mix(second, (255, 255, 255), 0.45), unit)
    picture = _threads(picture, rng, mix(hues[4], (255, 255, 255), 0.3), tilt)
    return finish_surface(picture, rng, vignette=0.12)


def _hue(hues: tuple[Colour, ...], place: float) -> Colour:
    spot = max(0.0, min(1.0, place)) * (len(hues) - 1)
    index = min(len(hues) - 2, int(spot))
    return mix(hues[index], hues[index + 1], spot - index)


def _rim(picture: Image.Image, crest: list[Point], colour: Colour, unit: float) -> None:
    """Light the upper edge of a layer."""
    lower = [(x, y + 2.4 * unit) for x, y in reversed(crest)]
    edge = outline(picture.size, [[*crest, *lower]])
    picture.paste(colour, mask=edge.point([v // 3 for v in range(256)]))


def _threads(picture: Image.Image, rng: Random, colour: Colour, tilt: float) -> Image.Image:
    """Add a sheaf of fine lines between two waves, brightest where they meet."""
    width, height = picture.size
    fine = 2
    sheet = Image.new("L", (width * fine, height * fine))
    pen = ImageDraw.Draw(sheet)
    middle = rng.uniform(0.35, 0.65)
    first = smooth_line(rng, _STEPS + 1, waves=0.9)
    second = smooth_line(rng, _STEPS + 1, waves=1.3)
    lines = 34
    for line in range(lines):
        share = line / (lines - 1)
        points = [
            (
                width * fine * i / _STEPS,
                height * fine
                * (middle + tilt * (i / _STEPS - 0.5) + 0.14 * (a + (b - a) * share)),
            )
            for i, (a, b) in enumerate(zip(first, second, strict=True))
        ]  # fmt: skip
        pen.line(points, fill=round(150 * (0.25 + 0.75 * math.sin(math.pi * share))), width=fine)
    return add_light(picture, sheet.reduce(fine).point([v // 2 for v in range(256)]), colour)
