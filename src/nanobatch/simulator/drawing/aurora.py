"""Aurora: curtains of light over snow mountains and their reflection in a still lake."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageChops, ImageOps

from nanobatch.simulator.drawing.canvas import (
    Colour,
    Point,
    Size,
    add_light,
    clouds,
    finish_surface,
    gradient,
    hexed,
    mix,
    noise_line,
    outline,
    points_of,
    ramp,
    smooth_line,
    stars,
)
from nanobatch.simulator.drawing.mountains import pine

if TYPE_CHECKING:
    from random import Random

__all__ = ["MOODS", "draw"]


class _Palette(NamedTuple):
    top: Colour
    low: Colour
    curtain: Colour
    crown: Colour
    snow: Colour


_PALETTES = {
    "night": _Palette(
        hexed("030719"), hexed("0e3a4a"), hexed("3cf2a2"), hexed("6a5cff"), hexed("a9cfdf")
    ),
    "violet": _Palette(
        hexed("0a0520"), hexed("2b2a63"), hexed("59e6c8"), hexed("e04fd0"), hexed("b5b9e6")
    ),
    "blue": _Palette(
        hexed("020a1e"), hexed("0f3f6b"), hexed("45d7ff"), hexed("3f5bff"), hexed("aecdf0")
    ),
}
MOODS = tuple(_PALETTES)


def draw(size: Size, rng: Random, mood: str) -> Image.Image:
    """Return one aurora landscape."""
    palette = _PALETTES[mood]
    height = size[1]
    shore = rng.uniform(0.7, 0.76)
    picture = gradient(size, [(0, palette.top), (shore, palette.low), (1, palette.low)])
    picture = stars(picture, rng, count=700, bottom=shore, brightness=0.9)
    for layer in range(3):
        foot = height * (shore - 0.12 - 0.13 * layer + rng.uniform(-0.03, 0.03))
        light, crown = _curtain(size, rng, foot=foot, tall=height * rng.uniform(0.3, 0.5))
        strength = (1.0, 0.75, 0.5)[layer]
        picture = add_light(picture, light, mix((0, 0, 0), palette.curtain, strength))
        picture = add_light(picture, crown, mix((0, 0, 0), palette.crown, strength))
    haze = ramp(size, [(0, 0), (shore - 0.3, 0), (shore, 110), (1, 110)])
    picture = add_light(picture, haze, mix((0, 0, 0), palette.curtain, 0.35))
    _peaks(picture, rng, palette, shore=shore)
    _lake(picture, rng, palette, shore=shore)
    _pines(picture, rng)
    return finish_surface(picture, rng, grain=3)


def _curtain(
    size: Size, rng: Random, *, foot: float, tall: float
) -> tuple[Image.Image, Image.Image]:
    """Return the light of one curtain and of its crown: rays that stand on a winding line."""
    width, height = size
    strips = 192
    rays = Image.new("L", (width // 2, 1))
    fine = noise_line(rng, width // 2, cells=width / 60, octaves=4, roughness=0.7)
    broad = smooth_line(rng, width // 2, waves=1.3)
    rays.putdata(
        [max(0, min(255, round(150 + 120 * b + 70 * f))) for f, b in zip(fine, broad, strict=True)]
    )
    rays = rays.resize((width, height), Image.Resampling.BILINEAR)
    body = ramp(size, [(0, 0), (0.3, 18), (0.6, 90), (0.86, 255), (0.93, 150), (1, 0)])
    crown = ramp(size, [(0, 0), (0.15, 60), (0.5, 170), (0.8, 40), (1, 0)])
    wave = smooth_line(rng, strips + 1, waves=rng.uniform(1.0, 1.8))
    reach = smooth_line(rng, strips + 1, waves=2.2)
    low = [foot + 0.09 * height * value for value in wave]
    high = [y - tall * (1 + 0.3 * r) for y, r in zip(low, reach, strict=True)]
    light = Image.new("L", size)
    top = Image.new("L", size)
    for index in range(strips):
        left, right = width * index // strips, width * (index + 1) // strips
        box = (left, round(high[index]), right, round(low[index]))
        tall_now = max(2, box[3] - box[1])
        source = (left, 0, right, height)
        for target, shape in ((light, body), (top, crown)):
            part = shape.resize((right - left, tall_now), Image.Resampling.BOX, box=source)
            target.paste(part, (left, box[1]))
    return ImageChops.multiply(_melt(light), rays), ImageChops.multiply(_melt(top), rays)


def _melt(mask: Image.Image) -> Image.Image:
    """Smooth the steps between the strips."""
    small = mask.reduce(4)
    return small.resize(mask.size, Image.Resampling.BICUBIC)


def _peaks(picture: Image.Image, rng: Random, palette: _Palette, *, shore: float) -> None:
    size = picture.size
    width, height = size
    for layer in range(2):
        base = height * (shore - 0.045 + 0.04 * layer)
        reach = height * (0.14 - 0.075 * layer)
        line = noise_line(rng, width // 3, cells=2.2 + layer, octaves=8, roughness=0.5)
        crest = points_of(line, size, lambda v, b=base, r=reach: b - v * r)  # type: ignore[misc]
        mask = outline(size, [[*crest, (width, height), (0, height)]])
        shadow = mix(palette.low, palette.top, 0.45 + 0.25 * layer)
        snow = mix(palette.low, palette.snow, 0.62 - 0.22 * layer)
        relief = clouds(size, rng, cells=(26, 22), octaves=4)
        relief = relief.point([max(0, min(255, round((v - 105) * 4))) for v in range(256)])
        top = (base - reach) / height
        fade = ramp(size, [(0, 255), (top, 255), (top + 0.17, 60), (top + 0.24, 0), (1, 0)])
        ground = Image.new("RGB", size, shadow)
        ground.paste(snow, mask=ImageChops.multiply(relief, fade))
        picture.paste(ground, mask=mask)


def _lake(picture: Image.Image, rng: Random, palette: _Palette, *, shore: float) -> None:
    width, height = picture.size
    line = round(height * shore)
    deep = height - line
    above = picture.crop((0, max(0, line - deep), width, line))
    mirror = ImageOps.flip(above).resize((width, deep), Image.Resampling.BILINEAR)
    ripples = 40
    for row in range(ripples):
        top = round(deep * (row / ripples) ** 1.4)
        bottom = round(deep * ((row + 1) / ripples) ** 1.4)
        shift = round(math.sin(row * 1.9) * rng.uniform(0, 0.004) * width)
        if bottom > top:
            strip = mirror.crop((0, top, width, bottom))
            mirror.paste(ImageChops.offset(strip, shift, 0), (0, top))
    mirror = Image.blend(mirror, Image.new("RGB", mirror.size, palette.top), 0.3)
    glint = clouds((width, deep), rng, cells=(2, 40), octaves=3)
    glint = glint.point([max(0, min(90, round((v - 165) * 1.4))) for v in range(256)])
    mirror = add_light(mirror, glint, mix(palette.low, palette.curtain, 0.5))
    picture.paste(mirror, (0, line))


def _pines(picture: Image.Image, rng: Random) -> None:
    size = picture.size
    width, height = size
    unit = min(size) / 1000
    shapes: list[list[Point]] = []
    for side in (-1, 1):
        for _ in range(15):
            off = rng.random() ** 1.6 * 0.36
            x = width * (off if side < 0 else 1 - off)
            tall = rng.uniform(110, 300) * unit * (1.15 - 2.1 * off)
            shapes.append(pine(rng, (x, height * (0.985 - 0.02 * rng.random())), max(40, tall)))
    bank = [
        height * (0.955 + 0.035 * math.sin(math.pi * i / 40)) + rng.uniform(0, 4) * unit
        for i in range(41)
    ]
    ground = [(width * i / 40, y) for i, y in enumerate(bank)]
    shapes.append([*ground, (float(width), float(height)), (0.0, float(height))])
    picture.paste((3, 8, 16), mask=outline(size, shapes))
