"""Makes a good picture faulty, in each way that a technical filter is there for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

__all__ = ["FAULTS"]

_BAR_COLOURS = ("black", "black", "white", "#808080", "#203040", "#f4ecd8", "#802020")


def _blurred(good: Image.Image, chance: Random) -> tuple[Image.Image, str]:
    share = chance.choice((0.006, 0.01, 0.02, 0.04))
    radius = share * min(good.size)
    return good.filter(ImageFilter.GaussianBlur(radius)), f"radius {share:.1%} of the short side"


def _soft(good: Image.Image, chance: Random) -> tuple[Image.Image, str]:
    """Return a shade between four colours and nothing else, rather than the picture."""
    corners = Image.frombytes("RGB", (2, 2), chance.randbytes(12))
    return corners.resize(good.size, Image.Resampling.BICUBIC), "shades only"


def _flat(good: Image.Image, chance: Random) -> tuple[Image.Image, str]:
    flat = Image.new("RGB", good.size, tuple(chance.randbytes(3)))
    sigma = chance.choice((0, 1, 2))
    if not sigma:
        return flat, "one colour"
    noise = Image.effect_noise(good.size, sigma)
    noise = Image.merge("RGB", (noise,) * 3)
    return ImageChops.add(flat, noise, offset=-128), f"one colour, grain {sigma}"


def _marked(good: Image.Image, chance: Random) -> tuple[Image.Image, str]:
    page = Image.new("RGB", good.size, chance.choice(("white", "black", "#305070")))
    width, height = good.size
    side = int((width * height * 0.0005) ** 0.5)
    left, top = chance.randrange(width - side), chance.randrange(height - side)
    ImageDraw.Draw(page).rectangle((left, top, left + side - 1, top + side - 1), fill="#c06020")
    return page, "an empty page with a mark"


def _nothing(good: Image.Image, chance: Random) -> tuple[Image.Image, str]:
    return chance.choice((_flat, _flat, _marked))(good, chance)


def _dark(good: Image.Image, chance: Random) -> tuple[Image.Image, str]:
    factor = chance.uniform(0.06, 0.22)
    return good.point(lambda tone: tone * factor), f"tones times {factor:.2f}"


def _bright(good: Image.Image, chance: Random) -> tuple[Image.Image, str]:
    factor = chance.uniform(0.06, 0.22)
    return good.point(lambda tone: 255 - (255 - tone) * factor), f"from white, times {factor:.2f}"


def _faint(good: Image.Image, chance: Random) -> tuple[Image.Image, str]:
    factor, middle = chance.uniform(0.04, 0.14), chance.uniform(80, 180)
    return good.point(
        lambda tone: middle + (tone - 128) * factor
    ), f"contrast times {factor:.2f} around {middle:.0f}"


def _badly_lit(good: Image.Image, chance: Random) -> tuple[Image.Image, str]:
    return chance.choice((_dark, _bright, _faint))(good, chance)


def _tiled(good: Image.Image, chance: Random) -> tuple[Image.Image, str]:
    """Return the scene two or three times; in half of the pictures the copies differ somewhat."""
    count = chance.choice((2, 3))
    is_stacked, differs = chance.choice((True, False)), chance.choice((True, False))
    width, height = good.size
    size = (width, height // count) if is_stacked else (width // count, height)
    row = Image.new("RGB", (size[0], size[1] * count) if is_stacked else (size[0] * count, size[1]))
    for number in range(count):
        copy = ImageOps.fit(good, size)
        if differs:
            copy = _varied(copy, chance)
        row.paste(copy, (0, number * size[1]) if is_stacked else (number * size[0], 0))
    return row, f"{count} times {'stacked' if is_stacked else 'side by side'}" + (
        ", varied" if differs else ""
    )


def _varied(copy: Image.Image, chance: Random) -> Image.Image:
    """Return a copy that is cut, lit and drawn a little differently."""
    width, height = copy.size
    left, right = (int(width * chance.uniform(0, 0.03)) for _ in range(2))
    top, bottom = (int(height * chance.uniform(0, 0.03)) for _ in range(2))
    cut = copy.crop((left, top, width - right, height - bottom)).resize(copy.size)
    factor, brighter = chance.uniform(0.85, 1.1), chance.uniform(-12, 12)
    lit = cut.point(lambda tone: tone * factor + brighter)
    noise = Image.effect_noise(copy.size, 12)
    return ImageChops.add(lit, Image.merge("RGB", (noise,) * 3), offset=-128)


def _bordered(good: Image.Image, chance: Random) -> tuple[Image.Image, str]:
    kind = chance.choice(("letterbox", "pillarbox", "frame"))
    share, colour = chance.choice((0.02, 0.04, 0.08, 0.15, 0.22)), chance.choice(_BAR_COLOURS)
    width, height = good.size
    across = 0 if kind == "letterbox" else round(share * width)
    down = 0 if kind == "pillarbox" else round(share * height)
    if kind == "frame":
        across = down = round(share * min(good.size))
    framed = Image.new("RGB", good.size, colour)
    inner = (width - 2 * across, height - 2 * down)
    framed.paste(ImageOps.fit(good, inner), (across, down))
    return framed, f"{kind} of {share:.0%}, {colour}"


def _transparent(good: Image.Image, chance: Random) -> tuple[Image.Image, str]:
    width, height = good.size
    kind = chance.choice(("whole", "hole", "corners", "shade"))
    alpha = Image.new("L", good.size, 255)
    draw = ImageDraw.Draw(alpha)
    if kind == "whole":
        alpha = Image.new("L", good.size, chance.randrange(240))
    elif kind == "hole":
        draw.ellipse((width // 3, height // 3, width // 2, height // 2), fill=0)
    elif kind == "corners":
        alpha = Image.new("L", good.size, 0)
        ImageDraw.Draw(alpha).rounded_rectangle((0, 0, width, height), min(good.size) // 8, 255)
    else:
        alpha = Image.linear_gradient("L").resize(good.size)
    see_through = good.copy()
    see_through.putalpha(alpha)
    return see_through, f"transparent: {kind}"


def _misshapen(good: Image.Image, chance: Random) -> tuple[Image.Image, str]:
    width, height = good.size
    factor = chance.choice((0.56, 0.75, 0.9))
    size = (
        (round(width * factor), height)
        if chance.choice((True, False))
        else (width, round(height * factor))
    )
    return ImageOps.fit(good, size), f"one side times {factor}"


def _tiny(good: Image.Image, chance: Random) -> tuple[Image.Image, str]:
    side = chance.choice((48, 96, 159))
    return ImageOps.contain(good, (side, side)), f"{side} px"


def _cut(good: Image.Image, _: Random) -> tuple[Image.Image, str]:
    """Return the picture as it is: its file is cut when it is saved."""
    return good, "a third of the file is missing"


FAULTS: dict[str, Callable[[Image.Image, Random], tuple[Image.Image, str]]] = {
    "alpha": _transparent,
    "aspect_ratio": _misshapen,
    "decodes": _cut,
    "exposure": _badly_lit,
    "min_size": _tiny,
    "no_borders": _bordered,
    "not_blank": _nothing,
    "not_tiled": _tiled,
    "sharpness": lambda good, chance: chance.choice((_blurred, _blurred, _soft))(good, chance),
}
"""By the name of the filter that is to see it: what makes the fault, and says how it looks."""
