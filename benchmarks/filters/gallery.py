"""A labelled gallery: good pictures, and the same with a fault, in two halves.

The halves share no drawing and no photograph. Thresholds are set on the one and reported on the
other. Everything follows from seeds: the gallery is the same each time.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from benchmarks.filters.faults import FAULTS
from benchmarks.filters.photographs import PHOTOGRAPHS, photograph
from nanobatch import Candidate, Job, Tier
from nanobatch.filters.container import sniff
from nanobatch.simulator.drawing.scenes import SCENES, Motif, paint

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GOOD", "Labelled", "gallery", "labelled"]

GOOD = ""
"""The fault of a good picture."""

_SIZES = ((512, 512), (640, 360), (360, 640), (576, 432), (1024, 256))
_FORMATS = ("PNG", "JPEG", "JPEG", "WEBP")
_VARIATIONS = 10
_VIEWS = 8
_FAULTY_OF_EACH = 48
"""Pictures of each fault in each half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One picture of the gallery."""

    fault: str
    """Name of the filter that should reject it; empty if it is good."""
    is_held_out: bool
    """Whether it is in the half on which no threshold was set."""
    source: str
    detail: str
    candidate: Candidate


def gallery(*, photographs: bool = True) -> Iterator[Labelled]:
    """Yield all pictures; without photographs, what needs no further package."""
    for is_held_out in (False, True):
        good = [*_drawings(is_held_out=is_held_out)]
        good += [*_photographs(is_held_out=is_held_out)] if photographs else []
        for source, picture in good:
            yield labelled(picture, source, "", GOOD, is_held_out=is_held_out)
        chance = Random(f"final faults {is_held_out}")
        for fault, make in FAULTS.items():
            for source, picture in chance.sample(good, _FAULTY_OF_EACH):
                faulty, detail = make(picture, chance)
                yield labelled(
                    faulty, source, detail, fault, wanted=picture.size, is_held_out=is_held_out
                )


def _drawings(*, is_held_out: bool) -> Iterator[tuple[str, Image.Image]]:
    """Yield every scene of the simulator in several variations and shapes, by both tiers."""
    for number, scene in enumerate(SCENES):
        for variation in range(int(is_held_out), _VARIATIONS, 2):
            for tier in ("lite", "quality"):
                size = _SIZES[(number + variation // 2 + (tier == "lite")) % len(_SIZES)]
                motif = Motif(scene=scene, variation=variation)
                yield f"{scene} {variation} {tier}", paint(motif, size, tier=tier)


def _photographs(*, is_held_out: bool) -> Iterator[tuple[str, Image.Image]]:
    """Yield several views of every photograph: whole, cut, mirrored, darker, brighter."""
    for name in sorted(PHOTOGRAPHS)[int(is_held_out) :: 2]:
        whole = photograph(name)
        chance = Random(name)
        for number in range(_VIEWS):
            view = whole
            if number:
                width, height = (int(side * chance.uniform(0.6, 0.95)) for side in whole.size)
                left, top = (
                    chance.randrange(whole.width - width),
                    chance.randrange(whole.height - height),
                )
                view = whole.crop((left, top, left + width, top + height))
            if number % 2:
                view = ImageOps.mirror(view)
            gamma = chance.choice((0.7, 1.0, 1.0, 1.4))
            light = [round(255 * (tone / 255) ** gamma) for tone in range(256)] * 3
            yield f"{name} {number}", view.point(light)


def labelled(
    picture: Image.Image,
    source: str,
    detail: str,
    fault: str,
    *,
    is_held_out: bool,
    wanted: tuple[int, int] | None = None,
    file_format: str | None = None,
) -> Labelled:
    """Return a picture as a candidate for the shape `wanted`, else for the one that it has.

    It is saved as one of the three formats if none is named.
    """
    image_bytes = _saved(picture, Random(f"{source} {fault} {detail}"), file_format)
    if fault == "decodes":
        image_bytes = image_bytes[: len(image_bytes) * 2 // 3]
    return Labelled(
        fault=fault,
        is_held_out=is_held_out,
        source=source,
        detail=detail,
        candidate=_candidate(image_bytes, wanted or picture.size),
    )


def _saved(picture: Image.Image, chance: Random, file_format: str | None) -> bytes:
    file = io.BytesIO()
    if file_format is None:
        file_format = "PNG" if picture.mode == "RGBA" else chance.choice(_FORMATS)
    if file_format == "PNG":
        picture.save(file, "PNG", compress_level=1)
    else:
        picture.save(file, file_format, quality=chance.choice((75, 85, 95)))
    return file.getvalue()


def _candidate(image_bytes: bytes, wanted: tuple[int, int]) -> Candidate:
    header = sniff(image_bytes)
    return Candidate(
        job=Job(id="gallery", prompt="a picture", aspect_ratio=f"{wanted[0]}:{wanted[1]}"),
        image_bytes=image_bytes,
        mime_type=header.mime_type,
        sha256=hashlib.sha256(image_bytes).hexdigest(),
        width_px=header.width_px,
        height_px=header.height_px,
        model_id="gallery",
        tier=Tier.LITE,
        slot=1,
        usage=None,
    )
