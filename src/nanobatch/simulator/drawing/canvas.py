"""The few painting moves every scene is made of: gradients, glows, clouds, outlines, grain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

__all__ = [
    "Colour",
    "Point",
    "Size",
    "add_light",
    "clouds",
    "disc",
    "finish_surface",
    "glow",
    "gradient",
    "hexed",
    "mix",
    "noise_line",
    "outline",
    "points_of",
    "ramp",
    "smooth_line",
    "soften",
    "stars",
    "tint",
]

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""
Size = tuple[int, int]
"""Width and height in pixels."""
Point = tuple[float, float]
"""x and y in pixels, from the top left."""

_FINE = 2
"""Outlines are drawn this many times larger and reduced: that is the anti-aliasing."""
_EDGE_LEVEL = 180
"""Level of Pillow's radial gradient in the middle of an edge; 255 is in the corners."""


def hexed(code: str) -> Colour:
    """Return the colour of six hex digits."""
    red, green, blue = ImageColor.getrgb(f"#{code}")[:3]
    return red, green, blue


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return the colour `share` (0 to 1) of the way from the first to the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def gradient(size: Size, stops: Sequence[tuple[float, Colour]], *, angle: float = 0) -> Image.Image:
    """Return an RGB gradient from top (0.0) to bottom (1.0), turned by `angle` degrees."""
    steps = 128
    strip = Image.new("RGB", (1, steps))
    strip.putdata([_colour_at(stops, y / (steps - 1)) for y in range(steps)])
    if not angle:  # widening by NEAREST is five times faster than one BICUBIC resize
        tall = strip.resize((1, size[1]), Image.Resampling.BICUBIC)
        return tall.resize(size, Image.Resampling.NEAREST)
    reach = math.ceil(math.hypot(*size) / 4)
    turned = strip.resize((reach, reach)).rotate(angle, Image.Resampling.BILINEAR)
    scale = reach / math.hypot(*size)
    left, top = (reach - size[0] * scale) / 2, (reach - size[1] * scale) / 2
    box = (left, top, reach - left, reach - top)
    return turned.resize(size, Image.Resampling.BILINEAR, box=box)


def ramp(size: Size, stops: Sequence[tuple[float, int]]) -> Image.Image:
    """Return an L mask that goes through the given levels from top (0.0) to bottom (1.0)."""
    return gradient(size, [(at, (level, level, level)) for at, level in stops]).getchannel(0)


def glow(size: Size, centre: Point, radius: float, *, power: float = 2.0) -> Image.Image:
    """Return an L mask: 255 in the centre, falling to 0 at `radius`; steeper with `power`."""
    fall = [round(255 * max(0, 1 - level / _EDGE_LEVEL) ** power) for level in range(256)]
    ball = Image.radial_gradient("L").point(fall)
    left, top = max(0, round(centre[0] - radius)), max(0, round(centre[1] - radius))
    right, bottom = (min(edge, round(at + radius)) for edge, at in zip(size, centre, strict=True))
    mask = Image.new("L", size)
    if right <= left or bottom <= top:
        return mask
    scale = 256 / (2 * radius)  # only the visible part is enlarged
    x, y = (centre[0] - radius), (centre[1] - radius)
    box = ((left - x) * scale, (top - y) * scale, (right - x) * scale, (bottom - y) * scale)
    box = (max(0.0, box[0]), max(0.0, box[1]), min(256.0, box[2]), min(256.0, box[3]))
    part = ball.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=box)
    mask.paste(part, (left, top))
    return mask


def disc(size: Size, centre: Point, radius: float) -> Image.Image:
    """Return an L mask of one anti-aliased disc."""
    side = max(2, math.ceil(radius * 2))
    ball = Image.new("L", (side * 4, side * 4))
    ImageDraw.Draw(ball).ellipse((0, 0, side * 4 - 1, side * 4 - 1), fill=255)
    mask = Image.new("L", size)
    mask.paste(ball.reduce(4), (round(centre[0] - side / 2), round(centre[1] - side / 2)))
    return mask


def clouds(
    size: Size, rng: Random, *, cells: tuple[float, float] = (3, 3), octaves: int = 5
) -> Image.Image:
    """Return fractal noise as an L image stretched to the full range.

    Args:
        size: Of the image.
        rng: Where the chance comes from.
        cells: How many features fit across and down in the coarsest octave.
        octaves: How many times the detail is doubled.
    """
    width, height = max(8, size[0] // 2), max(8, size[1] // 2)
    total = Image.new("L", (width, height))
    for octave in range(octaves):
        across = max(2, round(cells[0] * 2**octave) + 3)
        down = max(2, round(cells[1] * 2**octave) + 3)
        grid = Image.frombytes("L", (across, down), rng.randbytes(across * down))
        layer = grid.resize(
            (width, height), Image.Resampling.BICUBIC, box=(1, 1, across - 1, down - 1)
        )
        total = Image.blend(total, layer, 1 / (2 + 0.9 * octave)) if octave else layer
    levels = [level for level, count in enumerate(total.histogram()) if count]
    low, span = levels[0], max(1, levels[-1] - levels[0])
    total = total.point([round(255 * min(1, max(0, (v - low) / span))) for v in range(256)])
    return total.resize(size, Image.Resampling.BILINEAR)


def noise_line(
    rng: Random, count: int, *, cells: float, octaves: int = 6, roughness: float = 0.5
) -> list[float]:
    """Return `count` values of 1-D fractal noise between about -1 and 1, with sharp peaks up."""
    line = [0.0] * count
    height, reach = 1.0, 0.0
    for octave in range(octaves):
        fine = cells * 2**octave
        knots = [rng.random() for _ in range(math.ceil(fine) + 3)]
        shift = rng.random()
        for index in range(count):
            place = shift + fine * index / count
            cell = int(place)
            part = place - cell
            part = part * part * (3 - 2 * part)
            value = knots[cell] + (knots[cell + 1] - knots[cell]) * part
            line[index] += height * (1 - 2 * abs(2 * value - 1))
        reach += height
        height *= roughness
    return [value / reach for value in line]


def smooth_line(rng: Random, count: int, *, waves: float) -> list[float]:
    """Return `count` values of a calm curve between -1 and 1, about `waves` periods long."""
    parts = [
        (waves * rng.uniform(0.7, 1.3) * k, rng.uniform(0, math.tau), 1 / k**1.6) for k in (1, 2, 3)
    ]
    reach = sum(weight for _, _, weight in parts)
    return [
        sum(w * math.sin(math.tau * f * i / count + p) for f, p, w in parts) / reach
        for i in range(count)
    ]


def outline(size: Size, shapes: Sequence[Sequence[Point]]) -> Image.Image:
    """Return an L mask of filled polygons, anti-aliased."""
    mask = Image.new("L", (size[0] * _FINE, size[1] * _FINE))
    pen = ImageDraw.Draw(mask)
    for shape in shapes:
        pen.polygon([(x * _FINE, y * _FINE) for x, y in shape], fill=255)
    return mask.reduce(_FINE)


def tint(mask: Image.Image, colour: Colour) -> Image.Image:
    """Return the mask as light of one colour on black."""
    return Image.merge(
        "RGB", [mask.point([v * part // 255 for v in range(256)]) for part in colour]
    )


def add_light(picture: Image.Image, mask: Image.Image, colour: Colour) -> Image.Image:
    """Return the picture with light of one colour added where the mask is bright."""
    return ImageChops.screen(picture, tint(mask, colour))


def soften(mask: Image.Image, radius: float) -> Image.Image:
    """Return the mask blurred; large radii are worked out on a small copy."""
    if radius < 6:
        return mask.filter(ImageFilter.GaussianBlur(radius))
    shrink = min(8, int(radius / 3))
    small = mask.reduce(shrink).filter(ImageFilter.GaussianBlur(radius / shrink))
    return small.resize(mask.size, Image.Resampling.BICUBIC)


def stars(
    picture: Image.Image, rng: Random, *, count: int, bottom: float, brightness: float = 1.0
) -> Image.Image:
    """Return the picture with stars strewn over its top `bottom` (0 to 1) part."""
    width, height = picture.size
    unit = min(width, height) / 1000
    sheet = Image.new("L", (width * _FINE, height * _FINE))
    pen = ImageDraw.Draw(sheet)
    halo = Image.new("L", picture.size)
    for _ in range(count):
        x, y = rng.random() * width, rng.random() ** 1.15 * height * bottom
        size = 0.55 + 1.5 * rng.random() ** 7
        level = round(255 * brightness * min(1, 0.25 + 0.75 * rng.random() ** 2))
        level = round(level * (1 - 0.8 * y / (height * bottom)))
        reach = max(0.5, size * unit) * _FINE
        x, y = x * _FINE, y * _FINE
        pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=level)
        if size > 1.5:
            x, y, reach = x / _FINE, y / _FINE, 5 * unit
            ImageDraw.Draw(halo).ellipse((x - reach, y - reach, x + reach, y + reach), fill=90)
    picture = add_light(picture, soften(halo, 5 * unit), (170, 200, 255))
    return add_light(picture, sheet.reduce(_FINE), (255, 250, 240))


def finish_surface(
    picture: Image.Image, rng: Random, *, grain: int = 4, vignette: float = 0.22
) -> Image.Image:
    """Return the picture with darker corners and a fine grain, which also hides banding."""
    width, height = picture.size
    fall = [255 - round(255 * vignette * (level / 255) ** 2.4) for level in range(256)]
    corners = Image.radial_gradient("L").point(fall)
    corners = corners.resize((width, height), Image.Resampling.BILINEAR)
    picture = ImageChops.multiply(picture, Image.merge("RGB", (corners,) * 3))
    span = 2 * grain + 1
    dust = Image.frombytes("L", picture.size, rng.randbytes(width * height))
    dust = dust.point([v * span // 256 for v in range(256)])
    return ImageChops.add(picture, Image.merge("RGB", (dust,) * 3), 1, -grain)


def _colour_at(stops: Sequence[tuple[float, Colour]], place: float) -> Colour:
    before = stops[0]
    for stop in stops:
        if place <= stop[0]:
            span = stop[0] - before[0]
            return mix(before[1], stop[1], (place - before[0]) / span if span else 0)
        before = stop
    return stops[-1][1]


def points_of(line: Sequence[float], size: Size, place: Callable[[float], float]) -> list[Point]:
    """Return a line as points across the whole width, `place` turning a value into y."""
    step = size[0] / (len(line) - 1)
    return [(index * step, place(value)) for index, value in enumerate(line)]
