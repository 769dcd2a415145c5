"""Mountains: ridges that fade into mist, under a sun or a moon, with pines in front."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

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
    noise_line,
    outline,
    points_of,
    ramp,
    stars,
)

if TYPE_CHECKING:
    from random import Random

__all__ = ["MOODS", "draw", "pine"]


class _Palette(NamedTuple):
    top: Colour
    middle: Colour
    horizon: Colour
    light: Colour
    far: Colour
    near: Colour
    stars: int


_PALETTES = {
    "sunset": _Palette(
        hexed("2b2a5e"), hexed("b8527a"), hexed("ffb27a"), hexed("ffe2b0"),
        hexed("d9897f"), hexed("1a1030"), 0,
    ),
    "night": _Palette(
        hexed("050b24"), hexed("14305f"), hexed("4f7ca6"), hexed("e8f1ff"),
        hexed("4a7199"), hexed("040a18"), 500,
    ),
    "day": _Palette(
        hexed("2f7fc4"), hexed("86bfe6"), hexed("eaf3f2"), hexed("fffbe8"),
        hexed("a9c8dc"), hexed("12333b"), 0,
    ),
    "dawn": _Palette(
        hexed("5a6fb0"), hexed("d9a3c0"), hexed("ffdcc4"), hexed("fff1d6"),
        hexed("c9a6bf"), hexed("2a2348"), 60,
    ),
    "misty": _Palette(
        hexed("5d7a7a"), hexed("9db8b0"), hexed("dfe8df"), hexed("fbfff2"),
        hexed("b4c9c0"), hexed("0d2824"), 0,
    ),
}  # fmt: skip
MOODS = tuple(_PALETTES)


def draw(size: Size, rng: Random, mood: str) -> Image.Image:
    """Return one mountain landscape."""
    palette = _PALETTES[mood]
    width, height = size
    unit = min(size) / 1000
    horizon = rng.uniform(0.5, 0.6)
    picture = gradient(
        size,
        [(0, palette.top), (horizon * 0.6, palette.middle), (horizon + 0.08, palette.horizon),
         (1, palette.horizon)],
    )  # fmt: skip
    if palette.stars:
        picture = stars(picture, rng, count=palette.stars, bottom=horizon)
    sun = (width * rng.uniform(0.22, 0.78), height * horizon * rng.uniform(0.45, 0.72))
    picture = add_light(picture, glow(size, sun, max(size) * 0.75, power=2.4), _dim(palette, 0.55))
    picture = add_light(picture, glow(size, sun, 260 * unit, power=2.2), _dim(palette, 0.6))
    picture = _sky_clouds(picture, rng, palette, horizon)
    picture.paste(palette.light, mask=disc(size, sun, rng.uniform(42, 62) * unit))
    return finish_surface(_ridges(picture, rng, palette, horizon), rng)


def _dim(palette: _Palette, share: float) -> Colour:
    return mix((0, 0, 0), palette.light, share)


def _sky_clouds(
    picture: Image.Image, rng: Random, palette: _Palette, horizon: float
) -> Image.Image:
    shape = clouds(picture.size, rng, cells=(2, 9), octaves=5)
    shape = shape.point([max(0, min(255, round((v - 128) * 2.2))) for v in range(256)])
    band = ramp(picture.size, [(0, 40), (horizon * 0.8, 150), (horizon, 60), (1, 0)])
    mask = Image.composite(shape, Image.new("L", picture.size), band)
    veil = Image.new("RGB", picture.size, mix(palette.horizon, palette.light, 0.5))
    return Image.composite(veil, picture, mask)


def _ridges(picture: Image.Image, rng: Random, palette: _Palette, horizon: float) -> Image.Image:
    size = picture.size
    width, height = size
    layers = 6
    for layer in range(layers):
        depth = layer / (layers - 1)
        base = height * (horizon + (0.93 - horizon) * depth**1.25)
        reach = height * (0.15 - 0.085 * depth) * rng.uniform(0.85, 1.2)
        line = noise_line(
            rng, max(64, width // 3), cells=1.6 + 1.4 * depth + rng.random(), octaves=8,
            roughness=0.47,
        )  # fmt: skip
        crest = points_of(line, size, lambda v, b=base, r=reach: b - v * r)  # type: ignore[misc]
        shapes: list[list[Point]] = [[*crest, (width, height), (0, height)]]
        if layer >= layers - 3:
            shapes += _forest(rng, crest, size, scale=0.4 + 0.8 * (layer - layers + 3) / 2)
        mask = outline(size, shapes)
        colour = mix(palette.far, palette.near, depth**0.85)
        haze = mix(mix(colour, palette.horizon, 0.8), palette.near, 0.25 * depth)
        top = max(0.0, (base - reach) / height)
        fill = gradient(size, [(0, colour), (top, colour), (min(1.0, top + 0.3), haze), (1, haze)])
        if layer == layers - 1:
            fill = gradient(size, [(0, colour), (1, mix(colour, (0, 0, 0), 0.4))])
        picture.paste(fill, mask=mask)
        if layer < layers - 1:
            picture = _mist(picture, rng, palette, at=(base + 0.05 * height) / height)
    return picture


def _mist(picture: Image.Image, rng: Random, palette: _Palette, *, at: float) -> Image.Image:
    shape = clouds(picture.size, rng, cells=(1.5, 6), octaves=3)
    shape = shape.point([max(0, min(255, round((v - 95) * 1.7))) for v in range(256)])
    band = ramp(
        picture.size,
        [(0, 0), (max(0.0, at - 0.09), 0), (at, 165), (min(1.0, at + 0.1), 0), (1, 0)],
    )
    mask = Image.composite(shape, Image.new("L", picture.size), band)
    veil = Image.new("RGB", picture.size, mix(palette.horizon, palette.far, 0.25))
    return Image.composite(veil, picture, mask)


def _forest(rng: Random, crest: list[Point], size: Size, *, scale: float) -> list[list[Point]]:
    unit = min(size) / 1000
    shapes: list[list[Point]] = []
    place = 0.0
    while place < size[0]:
        y = crest[min(len(crest) - 1, int(place / size[0] * len(crest)))][1]
        tall = rng.uniform(32, 78) * scale * unit
        shapes.append(pine(rng, (place, y + tall * 0.2), tall))
        place += tall * rng.uniform(0.12, 0.5) + (rng.random() < 0.06) * tall * 2
    return shapes


def pine(rng: Random, foot: Point, tall: float) -> list[Point]:
    """Return the outline of one pine: a spire of ragged, drooping tiers."""
    x, y = foot
    tiers = 6
    left: list[Point] = []
    right: list[Point] = []
    for tier in range(tiers):
        high = y - tall * (1 - 0.13 * (tier + 1))
        wide = tall * (0.045 + 0.036 * tier) * rng.uniform(0.8, 1.2)
        left += [(x - wide, high + tall * 0.05), (x - wide * 0.35, high)]
        right += [(x + wide, high + tall * 0.05), (x + wide * 0.35, high)]
    return [(x, y - tall), *right, (x + tall * 0.04, y), (x - tall * 0.04, y), *reversed(left)]
