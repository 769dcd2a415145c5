"""Image files for tests: saved by Pillow where it can, put together by hand where it cannot."""

from __future__ import annotations

import hashlib
import io
import random
import struct
import zlib
from typing import TYPE_CHECKING, Any

from PIL import Image

from nanobatch.candidate import Candidate
from nanobatch.filters.container import sniff
from nanobatch.job import Job
from nanobatch.models import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
LEGAL_DEPTHS = [
    (GREY, 1),
    (GREY, 2),
    (GREY, 4),
    (GREY, 8),
    (GREY, 16),
    (RGB, 8),
    (RGB, 16),
    (PALETTE, 1),
    (PALETTE, 2),
    (PALETTE, 4),
    (PALETTE, 8),
    (GREY_ALPHA, 8),
    (GREY_ALPHA, 16),
    (RGB_ALPHA, 8),
    (RGB_ALPHA, 16),
]


def candidate(image_bytes: bytes, *, aspect_ratio: str = "1:1") -> Candidate:
    """Return a candidate as the pipeline makes one: its header is sniffed, never trusted."""
    header = sniff(image_bytes)
    return Candidate(
        job=Job(id="a", prompt="a fox", aspect_ratio=aspect_ratio),
        image_bytes=image_bytes,
        mime_type=header.mime_type,
        sha256=hashlib.sha256(image_bytes).hexdigest(),
        width_px=header.width_px,
        height_px=header.height_px,
        model_id="m",
        tier=Tier.LITE,
        slot=1,
        usage=None,
    )


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """Return the file Pillow writes."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def noise(mode: str = "RGB", size: tuple[int, int] = (24, 16)) -> Image.Image:
    """Return a picture whose pixels differ from each other, the same ones every time."""
    steps = bytes((7 * i + i * i // 5) % 256 for i in range(3 * size[0] * size[1]))
    picture = Image.frombytes("RGB", size, steps)
    return picture if mode == "RGB" else picture.convert(mode)


def grain(size: tuple[int, int]) -> Image.Image:
    """Return a picture of random pixels, which no format can compress, the same every time."""
    return Image.frombytes("RGB", size, random.Random(7).randbytes(3 * size[0] * size[1]))


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    """Return one PNG chunk with a right checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def ihdr(
    width: int, height: int, *, depth: int = 8, colour_type: int = GREY, interlace: int = 0
) -> bytes:
    """Return the header chunk of a PNG."""
    return chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlace)
    )


def png(
    width: int,
    height: int,
    *,
    rows: bytes,
    depth: int = 8,
    colour_type: int = GREY,
    interlace: int = 0,
    before: Iterable[bytes] = (),
) -> bytes:
    """Return a PNG whose pixel data inflates to exactly `rows`, whatever the header says."""
    header = ihdr(width, height, depth=depth, colour_type=colour_type, interlace=interlace)
    palette = chunk(b"PLTE", bytes(range(48))) if colour_type == PALETTE else b""
    idat = chunk(b"IDAT", zlib.compress(rows))
    return b"".join([PNG_MAGIC, header, palette, *before, idat, chunk(b"IEND")])


def png_of(*chunks: bytes) -> bytes:
    """Return a PNG of exactly these chunks."""
    return PNG_MAGIC + b"".join(chunks)


def segment(code: int, body: bytes) -> bytes:
    """Return one JPEG segment."""
    return bytes([0xFF, code]) + struct.pack(">H", len(body) + 2) + body


def webp_of(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a WebP of exactly these chunks, with right lengths."""
    body = b"".join(
        kind + struct.pack("<I", len(content)) + content + b"\x00" * (len(content) % 2)
        for kind, content in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def webp_chunks(image_bytes: bytes) -> list[tuple[bytes, bytes]]:
    """Return kind and content of every chunk of a WebP."""
    chunks: list[tuple[bytes, bytes]] = []
    position = 12
    while position < len(image_bytes):
        length = int.from_bytes(image_bytes[position + 4 : position + 8], "little")
        content = image_bytes[position + 8 : position + 8 + length]
        chunks.append((image_bytes[position : position + 4], content))
        position += 8 + length + length % 2
    return chunks


def png_files() -> dict[str, bytes]:
    """Return PNGs of every kind, all complete, 24x16 px."""
    by_mode = {
        f"png-{mode}": saved(noise(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")
    }
    deep = Image.new("I;16", (24, 16), 40_000)
    return by_mode | {
        "png-I16": saved(deep, "PNG"),
        "png-P-transparent": saved(noise("P"), "PNG", transparency=0),
        "png-rgb-16": png(24, 16, rows=bytes((1 + 24 * 6) * 16), depth=16, colour_type=RGB),
        # Interlaced 24x16: 2, 2, 2, 4, 4, 8, 8 rows of 3, 3, 6, 6, 12, 12, 24 pixels.
        "png-interlaced": png(24, 16, rows=bytes(30 + 384), interlace=1),
        "png-two-idat": png_of(
            ihdr(24, 16),
            chunk(b"IDAT", zlib.compress(bytes(25 * 16))[:5]),
            chunk(b"IDAT", zlib.compress(bytes(25 * 16))[5:]),
            chunk(b"IEND"),
        ),
        "png-metadata": png(
            24,
            16,
            rows=bytes(25 * 16),
            before=[chunk(b"tEXt", b"Title\x00Fox"), chunk(b"gAMA", b"\x00\x00\xb1\x8f")],
        ),
        "png-trailing": saved(noise(), "PNG") + b"provenance",
    }


def jpeg_files() -> dict[str, bytes]:
    """Return JPEGs of every kind, all complete, 24x16 px."""
    preview = saved(noise(size=(8, 8)), "JPEG")
    return {
        "jpeg-baseline": saved(noise(), "JPEG"),
        "jpeg-grey": saved(noise("L"), "JPEG"),
        "jpeg-cmyk": saved(noise("CMYK"), "JPEG"),
        "jpeg-progressive": saved(noise(), "JPEG", progressive=True),
        "jpeg-restarts": saved(noise(size=(24, 16)), "JPEG", restart_marker_blocks=1),
        "jpeg-exif-preview": saved(noise(), "JPEG", exif=b"Exif\x00\x00" + preview),
        "jpeg-icc": saved(noise(), "JPEG", icc_profile=b"\xff\xd9" * 40, comment=b"\xff\xd9"),
        "jpeg-trailing": saved(noise(), "JPEG") + preview,
    }


def webp_files() -> dict[str, bytes]:
    """Return WebPs of every kind, all complete, 24x16 px."""
    see_through = noise("RGBA")
    see_through.putalpha(noise("L"))
    return {
        "webp-lossy": saved(noise(), "WEBP"),
        "webp-lossless": saved(noise(), "WEBP", lossless=True),
        "webp-lossy-alpha": saved(see_through, "WEBP"),
        "webp-lossless-alpha": saved(see_through, "WEBP", lossless=True),
        "webp-metadata": saved(noise(), "WEBP", exif=b"Exif\x00\x00II*\x00", icc_profile=b"icc"),
        "webp-trailing": saved(noise(), "WEBP") + b"provenance",
    }


PNGS = png_files()
JPEGS = jpeg_files()
WEBPS = webp_files()
COMPLETE = PNGS | JPEGS | WEBPS
