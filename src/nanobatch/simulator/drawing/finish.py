"""A finish: the draft again, recognisably, at the size asked for and better."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from nanobatch.simulator.drawing.canvas import finish_surface

if TYPE_CHECKING:
    from nanobatch.simulator.drawing.canvas import Size

__all__ = ["finished"]


def finished(draft: Image.Image, size: Size) -> Image.Image:
    """Return the RGB draft cut to the ratio of `size`, enlarged, crisper and richer."""
    picture = ImageOps.fit(draft, size, Image.Resampling.LANCZOS)
    picture = ImageEnhance.Contrast(picture).enhance(1.08)
    picture = ImageEnhance.Color(picture).enhance(1.16)
    picture = picture.filter(
        ImageFilter.UnsharpMask(radius=min(size) / 500, percent=70, threshold=3)
    )
    grain = Random(f"{size}")  # noqa: S311 - grain, no secret
    return finish_surface(picture, grain, grain=1, vignette=0.12)
