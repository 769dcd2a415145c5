"""Ocean: a low sun, its glitter on the swell, and a beach of foam in front."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageChops

from nanobatch.simulator.drawing.canvas import (
    Colour,
    Size,
    add_light,
    clouds,
    disc,
    finish_surface,
    glow,
    gradient,
    hexed,
    mix,
    ramp,
    stars,
)

if TYPE_CHECKING:
    from random import Random

__all__ = ["MOODS", "draw"]


class _Palette(NamedTuple):
    top: Colour
    middle: Colour
    horizon: Colour
    sun: Colour
    far: Colour
    near: Colour
    stars: int


_PALETTES = {
    "sunset": _Palette(
        hexed("2a2358"), hexed("d4586c"), hexed("ffc27d"), hexed("fff0c4"),
        hexed("c0737a"), hexed("16284e"), 0,
    ),
    "day": _Palette(
        hexed("1f78c8"), hexed("7cc0ea"), hexed("e4f4f4"), hexed("fffdf0"),
        hexed("58b4c9"), hexed("075a83"), 0,
    ),
    "night": _Palette(
        hexed("040a22"), hexed("15315f"), hexed("4a76a8"), hexed("eef5ff"),
        hexed("2f5680"), hexed("030c20"), 450,
    ),
    "dawn": _Palette(
        hexed("6d83c0"), hexed("e5b0c4"), hexed("ffe3cf"), hexed("fff8e6"),
        hexed("cfa9bd"), hexed("355b86"), 0,
    ),
}  # fmt: skip
MOODS = tuple(_PALETTES)


def draw(size: Size, rng: Random, mood: str) -> Image.Image:
    """Return one seascape."""
    palette = _PALETTES[mood]
    width, height = size
    horizon = rng.uniform(0.46, 0.56)
    sun = (width * rng.uniform(0.3, 0.7), height * (horizon - rng.uniform(0.03, 0.1)))
    picture = _sky(size, rng, palette, horizon=horizon, sun=sun)
    line = round(height * horizon)
    picture.paste(_sea((width, height - line), rng, palette, sun_x=sun[0]), (0, line))
    haze = ramp(size, [(0, 0), (horizon - 0.03, 0), (horizon, 120), (horizon + 0.035, 0), (1, 0)])
    picture.paste(palette.horizon, mask=haze)
    return finish_surface(picture, rng)


def _sky(
    size: Size, rng: Random, palette: _Palette, *, horizon: float, sun: tuple[float, float]
) -> Image.Image:
    unit = min(size) / 1000
    picture = gradient(
        size,
        [(0, palette.top), (horizon * 0.6, palette.middle), (horizon, palette.horizon),
         (1, palette.horizon)],
    )  # fmt: skip
    if palette.stars:
        picture = stars(picture, rng, count=palette.stars, bottom=horizon)
    dim = mix((0, 0, 0), palette.sun, 0.5)
    picture = add_light(picture, glow(size, sun, 1000 * unit, power=2.6), dim)
    shape = clouds(size, rng, cells=(1.4, 6), octaves=6)
    lit = shape.point([max(0, min(255, round((v - 118) * 2.2))) for v in range(256)])
    core = shape.point([max(0, min(255, round((v - 150) * 2))) for v in range(256)])
    band = ramp(size, [(0, 90), (horizon * 0.45, 200), (horizon * 0.85, 120), (horizon, 0), (1, 0)])
    picture.paste(mix(palette.horizon, palette.sun, 0.45), mask=ImageChops.multiply(lit, band))
    picture.paste(
        mix(palette.middle, palette.top, 0.35),
        mask=ImageChops.multiply(core, band).point([v * 3 // 5 for v in range(256)]),
    )
    picture = add_light(picture, glow(size, sun, 240 * unit, power=2.4), dim)
    picture.paste(palette.sun, mask=disc(size, sun, 52 * unit))
    return picture


def _sea(size: Size, rng: Random, palette: _Palette, *, sun_x: float) -> Image.Image:
    sea = gradient(size, [(0, palette.far), (0.35, mix(palette.far, palette.near, 0.6)),
                          (1, palette.near)])  # fmt: skip
    swell = _in_perspective(size, rng, rows=30)
    dark = swell.point([max(0, min(255, (118 - v) * 3)) for v in range(256)])
    light = swell.point([max(0, min(255, (v - 138) * 3)) for v in range(256)])
    sea.paste(
        mix(palette.near, (0, 0, 0), 0.35),
        mask=dark.point([v * 2 // 5 for v in range(256)]),
    )
    strength = ramp(size, [(0, 60), (0.3, 120), (1, 80)])
    sea.paste(mix(palette.far, palette.horizon, 0.6), mask=ImageChops.multiply(light, strength))
    glitter = _in_perspective(size, rng, rows=52)
    glitter = glitter.point([max(0, min(255, (v - 132) * 7)) for v in range(256)])
    path = _light_path(size, centre=sun_x)
    fade = ramp(size, [(0, 255), (0.45, 210), (0.95, 70), (1, 40)])
    path = ImageChops.multiply(path, fade)
    sea = add_light(sea, path.point([v // 4 for v in range(256)]), palette.sun)
    return add_light(sea, ImageChops.multiply(glitter, path), palette.sun)


def _light_path(size: Size, *, centre: float) -> Image.Image:
    """Return where the sun glitters: a soft-edged path that widens towards the viewer."""
    width, height = size
    path = Image.new("L", (width // 4, height // 4))
    for y in range(path.height):
        reach = width // 4 * (0.09 + 0.36 * y / path.height)
        row = glow((path.width, 1), (centre / 4, 0.5), reach, power=1.5)
        path.paste(row, (0, y))
    return path.resize(size, Image.Resampling.BICUBIC)


def _in_perspective(size: Size, rng: Random, *, rows: int) -> Image.Image:
    """Return swell as fractal noise, fine at the horizon and broad in front."""
    width, height = size
    flat = clouds((width, height), rng, cells=(6, rows), octaves=4)
    near, far = 0.42, 1.9  # how much of the sheet's width is seen in front and at the horizon
    strips = 48
    sheet = Image.new("L", size)
    for index in range(strips):
        start, end = index / strips, (index + 1) / strips
        top, bottom = round(height * start), round(height * end)
        depth = start**0.5
        seen = (far + (near - far) * depth) / far
        left = width * (1 - seen) / 2
        source_top = height * start**0.62
        source_bottom = max(source_top + 1, height * end**0.62)
        part = flat.resize(
            (width, bottom - top),
            Image.Resampling.BILINEAR,
            box=(left, source_top, width - left, min(height, source_bottom)),
        )
        sheet.paste(part, (0, top))
    return sheet
