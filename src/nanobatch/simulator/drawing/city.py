"""City: a skyline with lit windows, standing in its own reflection."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageChops, ImageDraw, ImageOps

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
    soften,
    stars,
)

if TYPE_CHECKING:
    from random import Random

__all__ = ["MOODS", "draw"]


class _Palette(NamedTuple):
    top: Colour
    middle: Colour
    horizon: Colour
    light: Colour
    wall: Colour
    windows: tuple[Colour, ...]
    stars: int


_WARM = (hexed("ffd48a"), hexed("ffb95e"), hexed("fff0c9"))
_PALETTES = {
    "night": _Palette(
        hexed("060a20"), hexed("142250"), hexed("3f4f8f"), hexed("f2f5ff"), hexed("060a1a"),
        (*_WARM, hexed("bfe3ff")), 350,
    ),
    "sunset": _Palette(
        hexed("2a1e55"), hexed("a8437a"), hexed("ff9a62"), hexed("ffe0a8"), hexed("170c26"),
        _WARM, 0,
    ),
    "neon": _Palette(
        hexed("0b0524"), hexed("3a1068"), hexed("d0358e"), hexed("ffd7f4"), hexed("0a0418"),
        (hexed("ff5fc4"), hexed("5ff2ff"), hexed("ffd48a"), hexed("b78bff")), 200,
    ),
    "dawn": _Palette(
        hexed("50659f"), hexed("c79dbb"), hexed("ffd9bd"), hexed("fff4df"), hexed("1f2443"),
        _WARM, 0,
    ),
}  # fmt: skip
MOODS = tuple(_PALETTES)


def draw(size: Size, rng: Random, mood: str) -> Image.Image:
    """Return one skyline."""
    palette = _PALETTES[mood]
    width, height = size
    unit = min(size) / 1000
    shore = rng.uniform(0.68, 0.75)
    picture = gradient(
        size, [(0, palette.top), (shore * 0.6, palette.middle), (shore, palette.horizon),
               (1, palette.horizon)],
    )  # fmt: skip
    if palette.stars:
        picture = stars(picture, rng, count=palette.stars, bottom=shore * 0.7)
    moon = (width * rng.uniform(0.2, 0.8), height * rng.uniform(0.14, 0.3))
    if mood in {"sunset", "dawn"}:
        moon = (moon[0], height * shore * rng.uniform(0.62, 0.75))
    dim = mix((0, 0, 0), palette.light, 0.5)
    picture = add_light(picture, glow(size, moon, 900 * unit, power=2.6), dim)
    picture = add_light(picture, glow(size, moon, 230 * unit, power=2.4), dim)
    picture.paste(palette.light, mask=disc(size, moon, rng.uniform(46, 84) * unit))
    veil = clouds(size, rng, cells=(1.5, 7), octaves=5)
    veil = veil.point([max(0, min(110, round((v - 125) * 1.3))) for v in range(256)])
    picture.paste(mix(palette.middle, palette.horizon, 0.6), mask=veil)
    lamps = Image.new("RGB", size)
    for layer in range(4):
        _block(picture, lamps, rng, palette, shore=shore, depth=layer / 3)
    halo = _soften_rgb(lamps, 9 * unit)
    picture = ImageChops.screen(ImageChops.screen(picture, halo), lamps)
    _water(picture, rng, palette, shore=shore)
    return finish_surface(picture, rng)


def _soften_rgb(light: Image.Image, radius: float) -> Image.Image:
    """Return coloured light blurred."""
    return Image.merge("RGB", [soften(part, radius) for part in light.split()])


def _block(
    picture: Image.Image,
    lamps: Image.Image,
    rng: Random,
    palette: _Palette,
    *,
    shore: float,
    depth: float,
) -> None:
    width, height = picture.size
    unit = min(picture.size) / 1000
    foot = round(height * shore)
    wall = mix(mix(palette.horizon, palette.middle, 0.55), palette.wall, 0.25 + 0.75 * depth**0.7)
    walls = ImageDraw.Draw(picture)
    lights = ImageDraw.Draw(lamps)
    tallest = height * (0.4 - 0.2 * depth)
    x = -rng.uniform(0, 60) * unit
    while x < width:
        wide = rng.uniform(44, 105) * unit * (0.75 + 0.45 * depth)
        bump = 1 - abs(2 * (x + wide / 2) / width - 1) ** 2 * 0.55  # taller downtown
        tall = tallest * bump * (0.3 + 0.7 * rng.random() ** 1.5)
        box = (round(x), round(foot - tall), round(x + wide), foot)
        shade = mix(wall, palette.horizon, rng.uniform(0, 0.06))
        walls.rectangle(box, fill=shade)
        _roof(walls, rng, box, shade, unit)
        if depth > 0:
            _windows(lights, rng, box, palette, depth=depth, unit=unit)
        x += wide + (rng.uniform(0, 26) * unit if rng.random() < 0.5 else 0)
    haze = ramp(picture.size, [(0, 0), (shore - 0.2, 0), (shore, 120), (1, 0)])
    if depth < 1:
        picture.paste(mix(palette.horizon, palette.middle, 0.3), mask=haze)


def _roof(
    pen: ImageDraw.ImageDraw,
    rng: Random,
    box: tuple[int, int, int, int],
    shade: Colour,
    unit: float,
) -> None:
    left, top, right, _ = box
    wide = right - left
    kind = rng.random()
    if kind < 0.28:  # set back in steps
        for step in range(1, rng.randint(2, 4)):
            inset, rise = wide * 0.14 * step, 20 * unit * step
            pen.rectangle((left + inset, top - rise, right - inset, top), fill=shade)
    elif kind < 0.4:  # spire
        middle = (left + right) / 2
        pen.polygon([(left + wide * 0.2, top), (middle, top - wide * 0.9),
                     (right - wide * 0.2, top)], fill=shade)  # fmt: skip
        pen.line((middle, top, middle, top - wide * 1.5), fill=shade, width=max(1, round(3 * unit)))
    elif kind < 0.52:  # slanted
        pen.polygon([(left, top), (right, top - wide * rng.uniform(0.2, 0.5)), (right, top)],
                    fill=shade)  # fmt: skip
    elif kind < 0.68:  # mast
        at = left + wide * rng.uniform(0.3, 0.7)
        pen.line((at, top, at, top - 46 * unit), fill=shade, width=max(1, round(2 * unit)))


def _windows(
    pen: ImageDraw.ImageDraw,
    rng: Random,
    box: tuple[int, int, int, int],
    palette: _Palette,
    *,
    depth: float,
    unit: float,
) -> None:
    left, top, right, foot = box
    pane = max(1.0, (3.2 + 2.6 * depth) * unit)
    step_x, step_y = pane * 2.1, pane * 2.4
    lit = rng.uniform(0.1, 0.5)
    colour = rng.choice(palette.windows)
    y = top + step_y
    while y < foot - step_y:
        floor = lit * rng.uniform(0.3, 1.6)
        x = left + step_x * 0.8
        while x + pane < right - step_x * 0.5:
            if rng.random() < floor:
                hue = colour if rng.random() < 0.85 else rng.choice(palette.windows)
                level = (0.25 + 0.75 * depth) * rng.uniform(0.45, 1)
                pen.rectangle(
                    (x, y, x + pane * 0.7, y + pane * 0.85), fill=mix((0, 0, 0), hue, level)
                )
            x += step_x
        y += step_y


def _water(picture: Image.Image, rng: Random, palette: _Palette, *, shore: float) -> None:
    width, height = picture.size
    line = round(height * shore)
    deep = height - line
    mirror = ImageOps.flip(picture.crop((0, max(0, line - round(deep * 1.25)), width, line)))
    mirror = mirror.resize((width, deep), Image.Resampling.BILINEAR)
    # Long vertical smears: what lights do on moving water.
    smear = mirror.resize((width, max(2, deep // 26)), Image.Resampling.BOX)
    mirror = Image.blend(mirror, smear.resize((width, deep), Image.Resampling.BICUBIC), 0.72)
    mirror = Image.blend(mirror, Image.new("RGB", mirror.size, palette.wall), 0.3)
    ripple = clouds((width, deep), rng, cells=(5, 60), octaves=3)
    dark = ripple.point([max(0, min(150, (118 - v) * 3)) for v in range(256)])
    mirror.paste(mix(palette.wall, palette.middle, 0.25), mask=dark)
    light = ripple.point([max(0, min(90, (v - 150) * 2)) for v in range(256)])
    mirror = ImageChops.screen(
        mirror, ImageChops.multiply(mirror, Image.merge("RGB", (light,) * 3))
    )
    mirror.paste(palette.wall, mask=ramp(mirror.size, [(0, 0), (0.5, 30), (1, 150)]))
    picture.paste(mirror, (0, line))
