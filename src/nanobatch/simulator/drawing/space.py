"""Space: a nebula, thousands of stars, and a planet lit from one side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageChops, ImageDraw

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
    soften,
    stars,
)

if TYPE_CHECKING:
    from random import Random

__all__ = ["MOODS", "draw"]


class _Palette(NamedTuple):
    dark: Colour
    gas: tuple[Colour, Colour, Colour]
    planet: tuple[Colour, Colour, Colour]
    air: Colour


_PALETTES = {
    "violet": _Palette(
        hexed("05031a"), (hexed("5a1e9e"), hexed("c23a9b"), hexed("2a66d8")),
        (hexed("4a2a7a"), hexed("d98ab8"), hexed("f6d9c4")), hexed("c9a2ff"),
    ),
    "blue": _Palette(
        hexed("020818"), (hexed("0f4f8f"), hexed("1fb0b8"), hexed("5a48c8")),
        (hexed("12345f"), hexed("4fa3c8"), hexed("e6f2f0")), hexed("86d4ff"),
    ),
    "sunset": _Palette(
        hexed("120509"), (hexed("8f2a2f"), hexed("e0803a"), hexed("5a2a6e")),
        (hexed("5f2418"), hexed("d9804a"), hexed("f9dfb0")), hexed("ffb98a"),
    ),
}  # fmt: skip
MOODS = tuple(_PALETTES)


def draw(size: Size, rng: Random, mood: str) -> Image.Image:
    """Return one view of deep space."""
    palette = _PALETTES[mood]
    picture = gradient(size, [(0, palette.dark), (1, mix(palette.dark, palette.gas[0], 0.25))])
    picture = stars(picture, rng, count=1400, bottom=4, brightness=0.75)
    picture = _nebula(picture, rng, palette)
    picture = stars(picture, rng, count=260, bottom=4)
    picture = _bright_stars(picture, rng)
    width, height = size
    unit = min(size) / 1000
    radius = rng.uniform(250, 400) * unit
    side = rng.choice((-1, 1))
    centre = (
        width * (0.5 + side * rng.uniform(0.05, 0.3)),
        height * rng.uniform(0.6, 0.76),
    )
    _planet(picture, rng, palette, centre=centre, radius=radius, side=-side)
    moon = (width * (0.5 - side * rng.uniform(0.12, 0.33)), height * rng.uniform(0.16, 0.36))
    _planet(picture, rng, palette, centre=moon, radius=radius * rng.uniform(0.12, 0.24), side=-side)
    return finish_surface(picture, rng, grain=3, vignette=0.15)


def _nebula(picture: Image.Image, rng: Random, palette: _Palette) -> Image.Image:
    size = picture.size
    width, height = size
    lean = rng.choice((-1, 1)) * rng.uniform(0.2, 0.5)
    band = Image.new("L", (width // 8, height // 8))
    pen = ImageDraw.Draw(band)
    middle = rng.uniform(0.3, 0.5)
    wide = 0.26
    pen.polygon(
        [(0, (middle - lean - wide) * height / 8), (width / 8, (middle + lean - wide) * height / 8),
         (width / 8, (middle + lean + wide) * height / 8),
         (0, (middle - lean + wide) * height / 8)],
        fill=235,
    )  # fmt: skip
    band = soften(band, max(width, height) / 8 * 0.1).resize(size, Image.Resampling.BICUBIC)
    cells = (2.2 * width / max(size), 2.2 * height / max(size))
    for index, hue in enumerate(palette.gas):
        gas = clouds(size, rng, cells=(cells[0] + 1, cells[1] + 1), octaves=5)
        gas = gas.point([round(255 * max(0, (v - 92) / 163) ** 1.25) for v in range(256)])
        gas = ImageChops.multiply(gas, band)
        picture = add_light(picture, gas, mix(hue, (255, 255, 255), 0.12 * index))
    dust = clouds(size, rng, cells=(cells[0] * 2, cells[1] * 2), octaves=5)
    dust = dust.point([min(210, max(0, (v - 140) * 4)) for v in range(256)])
    picture.paste(palette.dark, mask=ImageChops.multiply(dust, band))
    core = glow(size, (width * rng.uniform(0.35, 0.65), height * middle), width * 0.7, power=2.6)
    return add_light(picture, core, mix((0, 0, 0), palette.gas[1], 0.6))


def _bright_stars(picture: Image.Image, rng: Random) -> Image.Image:
    size = picture.size
    unit = min(size) / 1000
    light = Image.new("L", size)
    for _ in range(7):
        x, y = rng.random() * size[0], rng.random() * size[1] * 0.6
        reach = rng.uniform(10, 38) * unit
        light = ImageChops.lighter(light, glow(size, (x, y), reach, power=3))
        pen = ImageDraw.Draw(light)
        for step in range(15, -1, -1):
            level = round(210 * (1 - step / 16) ** 2.2)
            far = reach * 1.5 * (step + 1) / 16
            pen.line((x - far, y, x + far, y), fill=level)
            pen.line((x, y - far, x, y + far), fill=level)
    return add_light(picture, light, (235, 240, 255))


def _planet(
    picture: Image.Image,
    rng: Random,
    palette: _Palette,
    *,
    centre: Point,
    radius: float,
    side: int,
) -> None:
    span = math.ceil(radius * 2)
    box = (round(centre[0] - radius), round(centre[1] - radius))
    ground = _bands((span, span), rng, palette)
    # Light: a large glow off to one side and above, multiplied onto the ball.
    sun = (radius * (1 + 0.62 * side), radius * 0.42)
    light = glow((span, span), sun, radius * 1.9, power=1.5)
    light = light.point([min(255, 6 + round(v * 1.4)) for v in range(256)])
    ground = ImageChops.multiply(ground, Image.merge("RGB", (light,) * 3))
    edge = glow((span, span), (radius, radius), radius, power=1)
    rim = edge.point([max(0, 255 - v * 6) for v in range(256)])
    rim = ImageChops.multiply(rim, light)
    ground = add_light(ground, rim, palette.air)
    halo = glow(picture.size, centre, radius * 1.22, power=1)
    start = round(255 * (1 - 1 / 1.22))
    halo = halo.point([round(120 * min(1, v / start) ** 2) for v in range(256)])
    lit = glow(
        picture.size, (centre[0] + radius * 0.75 * side, centre[1] - radius * 0.7),
        radius * 1.6, power=1.2,
    )  # fmt: skip
    air = add_light(picture, ImageChops.multiply(halo, lit), palette.air)
    picture.paste(air)
    picture.paste(ground, box, disc((span, span), (radius, radius), radius))


def _bands(size: Size, rng: Random, palette: _Palette) -> Image.Image:
    """Return a gas giant's surface: warped bands, tilted."""
    span = size[0]
    belts = clouds((span, span), rng, cells=(0.9, 7), octaves=5)
    storm = clouds((span, span), rng, cells=(3, 8), octaves=5)
    belts = Image.blend(belts, storm, 0.28)
    dark, middle, bright = palette.planet
    table = [mix(dark, middle, v / 128) if v < 128 else mix(middle, bright, (v - 128) / 127)
             for v in range(256)]  # fmt: skip
    surface = Image.merge(
        "RGB", [belts.point([colour[part] for colour in table]) for part in range(3)]
    )
    angle = rng.uniform(-28, 28)
    turned = surface.rotate(angle, Image.Resampling.BILINEAR)
    inset = span * 0.16  # the corners of the turned square are empty
    box = (inset, inset, span - inset, span - inset)
    return turned.resize(size, Image.Resampling.BICUBIC, box=box)
