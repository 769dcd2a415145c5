"""Whatever comes as an image: judged or broken, in bounded time and memory, never a traceback."""

from __future__ import annotations

import hashlib
import resource
import struct
import time
import zlib
from functools import cache
from random import Random
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from nanobatch import BrokenImageError, Candidate, Job, Tier, filters
from nanobatch.candidate import MAX_PIXELS
from nanobatch.filters.container import fault_in, sniff
from nanobatch.pipeline.thumbnail import thumbnail_of_candidate
from tests.filters.files import (
    COMPLETE,
    JPEGS,
    PALETTE,
    PNG_MAGIC,
    PNGS,
    RGB,
    RGB_ALPHA,
    WEBPS,
    chunk,
    grain,
    ihdr,
    noise,
    png,
    png_of,
    saved,
)
from tests.fuzz.mutator import NUMBERS, Campaign, Mutator

if TYPE_CHECKING:
    from collections.abc import Iterator

EYES = (
    filters.Decodes(),
    filters.NotBlank(),
    filters.AspectRatio(),
    filters.MinSize(),
    filters.MinBytes(),
    filters.Exposure(),
    filters.Sharpness(),
    filters.NotTiled(),
    filters.NoBorders(),
    filters.Alpha(),
)
MAX_GROWTH_MIB = 1100
"""64 million pixels of four bytes, as they are, copied once, and in the small."""
MAX_BOMB_SECONDS = 5.0
"""To look at 64 million pixels, which is four times what any model draws."""

_PNG_TOKENS = [
    chunk(b"acTL", bytes(8)), chunk(b"IEND"), chunk(b"IDAT", zlib.compress(bytes(99))),
    chunk(b"tRNS", bytes(9)), chunk(b"PLTE", bytes(9)), chunk(b"iCCP", b"x\0\0" + bytes(9)),
    chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**6))), b"IHDR", b"IDAT", b"\x89PNG",
]  # fmt: skip
_JPEG_TOKENS = [
    b"\xff\xd8", b"\xff\xd9", b"\xff\xda\x00\x0c", b"\xff\xc0\x00\x11\x08\x40\x00\x40\x00\x03",
    b"\xff\xc2", b"\xff\xc4\x00\x13", b"\xff\xdb\x00\x43", b"\xff\xdd\x00\x04\x00\x01",
    b"\xff\xe1\x00\x08Exif\x00\x00", b"\xff\xff\xff", b"\xff\x00", b"\xff\xee\x00\x0eAdobe",
]  # fmt: skip
_WEBP_TOKENS = [
    b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"EXIF", b"ICCP", b"RIFF",
    b"\x9d\x01\x2a\xff\x3f\xff\x3f", b"\x2f\xff\xff\xff\x1f",
]  # fmt: skip


def _strange() -> dict[str, bytes]:
    """Return files that are no damage but no everyday pictures either, and some that are two."""
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown turned by 90 degrees
    frames = {"save_all": True, "append_images": [Image.new("RGB", (24, 16))], "duration": 9}
    icon = saved(noise(size=(16, 16)), "ICO")
    return {
        "1x1": saved(Image.new("RGB", (1, 1), "red"), "PNG"),
        "1x1 grey": saved(Image.new("L", (1, 1)), "JPEG"),
        "1x1 alpha": saved(Image.new("LA", (1, 1)), "PNG"),
        "16000x1": saved(noise(size=(16_000, 1)), "PNG"),
        "1x16000": saved(noise(size=(1, 16_000)), "JPEG"),
        "2x9000 alpha": saved(noise("RGBA", (2, 9_000)), "WEBP"),
        "one bit": saved(noise("1", (512, 3)), "PNG"),
        "palette of one": saved(Image.new("P", (64, 64), 0), "PNG", transparency=0),
        "16 bit": png(640, 9, rows=(b"\x00" + bytes(range(256)) * 5) * 9, depth=16),
        "16 bit colour": png(64, 9, rows=bytes((1 + 64 * 6) * 9), depth=16, colour_type=RGB),
        "16 bit alpha": png(
            64, 9, rows=b"\x01" * (1 + 64 * 8) * 9, depth=16, colour_type=RGB_ALPHA
        ),
        "turned": saved(noise(), "JPEG", exif=turned),
        "turned PNG": saved(noise(), "PNG", exif=turned),
        "cmyk": saved(noise("CMYK", (64, 48)), "JPEG"),
        "cmyk progressive": saved(noise("CMYK", (64, 48)), "JPEG", progressive=True),
        "ycck": saved(noise("CMYK", (64, 48)), "JPEG", quality=30, subsampling=2),
        "animated PNG": saved(noise(), "PNG", **frames),
        "animated WebP": saved(noise(), "WEBP", **frames),
        "PNG and JPEG": PNGS["png-RGB"] + JPEGS["jpeg-baseline"],
        "JPEG and ZIP": JPEGS["jpeg-baseline"] + b"PK\x03\x04" + bytes(40),
        "HTML and PNG": b"<html>" + PNGS["png-RGB"],
        "icon of a PNG": icon,
        "thumbnail within": saved(noise(), "JPEG", exif=b"Exif\x00\x00" + JPEGS["jpeg-cmyk"]),
    }


STRANGE = _strange()
_OTHERS = [saved(noise(), "GIF"), saved(noise(), "TIFF"), b"", b"<svg/>"]
_MIXED = Mutator(
    corpus=[*COMPLETE.values(), *STRANGE.values(), *_OTHERS],
    tokens=[*_PNG_TOKENS, *_JPEG_TOKENS, *_WEBP_TOKENS],
)
_BY_FORMAT = (
    _MIXED,
    Mutator(corpus=[*PNGS.values(), saved(grain((64, 64)), "PNG")], tokens=_PNG_TOKENS),
    Mutator(corpus=[*JPEGS.values(), saved(grain((64, 64)), "JPEG")], tokens=_JPEG_TOKENS),
    Mutator(corpus=[*WEBPS.values(), saved(grain((64, 64)), "WEBP")], tokens=_WEBP_TOKENS),
)


def _image(number: int) -> bytes:
    """Return an image that is almost right; every other PNG has right checksums again."""
    image = _BY_FORMAT[number % 4].make(number)
    return _with_checksums(image, Random(number)) if number % 8 == 1 else image


def _with_checksums(image: bytes, random: Random) -> bytes:
    """Return a PNG with its chunks as they are found, some changed, and every checksum right."""
    chunks: list[bytes] = []
    for kind, found in _chunks(image):
        body = bytearray(found)
        if body and random.random() < 0.3:
            at = random.randrange(len(body))
            number = random.choice(NUMBERS) % 2**32
            body[at : at + 4] = struct.pack(">I", number)[-len(body[at : at + 4]) :]
        chunks.append(chunk(kind, bytes(body)))
    return PNG_MAGIC + b"".join(chunks)


def _chunks(image: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = len(PNG_MAGIC)
    while position + 12 <= len(image):
        length = int.from_bytes(image[position : position + 4], "big") % 70_000
        yield image[position + 4 : position + 8], image[position + 8 : position + 8 + length]
        position += 12 + length


def _judge(image: bytes) -> str:
    """Do everything that is done to a candidate."""
    header = sniff(image)
    candidate = Candidate(
        job=Job(id="a", prompt="a fox"),
        image_bytes=image,
        mime_type=header.mime_type,
        sha256=hashlib.sha256(image).hexdigest(),
        width_px=header.width_px,
        height_px=header.height_px,
        model_id="m",
        tier=Tier.LITE,
        slot=1,
        usage=None,
    )
    fault = fault_in(image)
    assert fault is None or (fault.isprintable() and len(fault) < 300)
    if fault is None:
        assert 0 < header.width_px * header.height_px <= MAX_PIXELS
    outcome = "sound" if fault is None else "broken container"
    for eye in EYES:
        try:
            reason = eye(candidate).reason
        except BrokenImageError as error:
            reason = str(error)
            outcome = "broken pixels" if fault is None else outcome
        assert len(reason) < 400
    thumbnail = thumbnail_of_candidate(candidate)
    assert thumbnail is not None or outcome != "sound"
    return outcome


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_file_is_judged_or_broken(name: str) -> None:
    expected = {
        "animated PNG": "broken container",
        "animated WebP": "broken container",
        "HTML and PNG": "broken container",
        "icon of a PNG": "broken container",
    }

    assert _judge(STRANGE[name]) == expected.get(name, "sound")


def _memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.timeout(0)  # the long version takes a while
def test_any_image_is_judged_or_broken_in_bounded_time_and_memory() -> None:
    before = _memory_mib()

    campaign = Campaign().run(_image, _judge, usually=600)

    assert campaign.outcomes.keys() == {"sound", "broken container", "broken pixels"}
    assert _memory_mib() - before < MAX_GROWTH_MIB


@cache
def _bombs() -> dict[str, bytes]:
    """Small files that claim to be large, as large as is let through."""
    zeros = zlib.compress(bytes(1000), 9)
    side = 8000
    rows = zlib.compressobj(9)
    flat = b"".join([*(rows.compress(bytes(1 + side)) for _ in range(side)), rows.flush()])
    return {
        "no pixels": png_of(
            ihdr(side, side, colour_type=RGB_ALPHA), chunk(b"IDAT", zeros), chunk(b"IEND")
        ),
        "interlaced": png_of(
            ihdr(side, side, colour_type=RGB, interlace=1), chunk(b"IDAT", zeros), chunk(b"IEND")
        ),
        "flat": png_of(ihdr(side, side), chunk(b"IDAT", flat), chunk(b"IEND")),
        "glass": png_of(
            ihdr(side, side, colour_type=PALETTE),
            chunk(b"PLTE", bytes(48)),
            chunk(b"tRNS", bytes(3)),
            chunk(b"IDAT", flat),
            chunk(b"IEND"),
        ),
        "too large": png_of(ihdr(8001, side), chunk(b"IDAT", flat), chunk(b"IEND")),
        "line": png_of(ihdr(MAX_PIXELS, 1), chunk(b"IDAT", flat), chunk(b"IEND")),
        "deep": png(4, 4, rows=bytes(10**7)),
        "text": png_of(
            ihdr(4, 4),
            chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**8))),
            chunk(b"IDAT", zlib.compress(bytes(20))),
            chunk(b"IEND"),
        ),
        "jpeg": saved(noise(), "JPEG").replace(
            struct.pack(">HH", 16, 24), struct.pack(">HH", side, side)
        ),
        "webp": b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8L" + struct.pack("<I", 10)
        + b"\x2f" + (7999 | 7999 << 14).to_bytes(4, "little") + bytes(5),
    }  # fmt: skip


@pytest.mark.parametrize("name", _bombs())
def test_a_small_file_of_many_pixels_costs_no_more_than_its_pixels(name: str) -> None:
    image = _bombs()[name]
    before, began = _memory_mib(), time.process_time()

    _judge(image)

    assert len(image) < 100_000
    assert time.process_time() - began < MAX_BOMB_SECONDS
    assert _memory_mib() - before < MAX_GROWTH_MIB
