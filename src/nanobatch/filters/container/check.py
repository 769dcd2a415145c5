"""What a file says it is, and whether it is one complete image; structure only, never pixels.

The walks through the three formats are our own because Pillow is lenient exactly here: `load()`
accepts a PNG whose last bytes are cut off and `verify()` accepts a cut JPEG (measured on Pillow
13.0.0, 2026-11-24), and a check that runs on hostile bytes should not start a decoder.
It is cheap enough for every candidate; the filter `Decodes` does the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from nanobatch.candidate import MAX_PIXELS
from nanobatch.errors import BrokenImageError
from nanobatch.filters.container import jpeg, png, webp

if TYPE_CHECKING:
    from nanobatch.candidate import Candidate

__all__ = ["Header", "fault_in", "fault_of", "is_checked", "remember_fault", "sniff"]

_FAULT = "_container_fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the first bytes of a file say it is."""

    mime_type: str
    """`image/png`, `image/jpeg` or `image/webp`, from the magic bytes; empty if none of them."""

    width_px: int
    """Width in the file, before any EXIF rotation; 0 if the header cannot be read."""

    height_px: int
    """Height in the file, before any EXIF rotation; 0 if the header cannot be read."""

    extension: str
    """`png`, `jpg` or `webp`; `bin` for everything else."""


def sniff(image_bytes: bytes) -> Header:
    """Return what the file says it is, from its header alone; never raises.

    A file can have a fine header and still be cut: that is what `fault_in` finds.

    Args:
        image_bytes: The file as delivered; any bytes, also empty ones.
    """
    mime_type, extension, size = "", "bin", (0, 0)
    if image_bytes.startswith(png.MAGIC):
        mime_type, extension, size = "image/png", "png", png.size(image_bytes)
    elif image_bytes.startswith(jpeg.MAGIC):
        mime_type, extension, size = "image/jpeg", "jpg", jpeg.size(image_bytes)
    elif webp.is_webp(image_bytes):
        mime_type, extension, size = "image/webp", "webp", webp.size(image_bytes)
    return Header(mime_type=mime_type, width_px=size[0], height_px=size[1], extension=extension)


def fault_in(image_bytes: bytes) -> str | None:
    """Return what is wrong with the file as a sentence, or `None` if it is one complete image.

    Complete means: PNG, JPEG or WebP by its magic bytes, a sound structure up to the end marker
    (PNG: every CRC), exactly one frame and 1 to 64 million pixels (`MAX_PIXELS`). Bytes after the
    end are allowed: cameras and models append previews and provenance there. Never raises.

    Args:
        image_bytes: The file as delivered; any bytes, also empty ones. Not copied.
    """
    try:
        _check(image_bytes)
    except BrokenImageError as fault:
        return str(fault)
    return None


def fault_of(candidate: Candidate) -> str | None:
    """Return what is wrong with a candidate's file, as `fault_in`; it is looked for only once."""
    if not is_checked(candidate):
        remember_fault(candidate, fault_in(candidate.image_bytes))
    return cast("str | None", candidate.__dict__[_FAULT])


def is_checked(candidate: Candidate) -> bool:
    """Return whether the file was checked already."""
    return _FAULT in candidate.__dict__


def remember_fault(candidate: Candidate, fault: str | None) -> None:
    """Note what `fault_in` said of the candidate's file."""
    candidate.__dict__[_FAULT] = fault


def _check(image_bytes: bytes) -> None:
    header = sniff(image_bytes)
    if header.mime_type == "image/png":
        png.check(image_bytes)
    elif header.mime_type == "image/jpeg":
        jpeg.check(image_bytes)
    elif header.mime_type == "image/webp":
        webp.check(image_bytes)
    elif not image_bytes:
        raise BrokenImageError("The image is empty: 0 bytes.")
    else:
        raise BrokenImageError(
            f"It looks like {_guess(image_bytes)}; only PNG, JPEG and WebP are images here."
        )
    if not 0 < header.width_px * header.height_px <= MAX_PIXELS:
        raise BrokenImageError(
            f"The header says {header.width_px}x{header.height_px} px; "
            f"an image here has 1 to {MAX_PIXELS:,} pixels."
        )


# Everything else gets a name, so that the person who reads the report knows what came back.
_OTHER_MAGIC = (
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"\x00\x00\x01\x00", "an icon (ICO)"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x89PNG", "a PNG damaged in transfer (line ends were changed)"),
    (b"RIFF", "a RIFF file that is no WebP image"),
)


def _guess(image_bytes: bytes) -> str:
    for magic, name in _OTHER_MAGIC:
        if image_bytes.startswith(magic):
            return name
    if image_bytes[4:8] == b"ftyp":
        return "an AVIF or HEIC image or a video"
    head = image_bytes[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if b"<svg" in head:
        return "an SVG drawing"
    if head.startswith((b"<!doctype html", b"<html")) or b"<body" in head:
        return "an HTML page"
    if head.startswith(b"<?xml"):
        return "XML"
    if head.startswith((b"{", b"[")):
        return "JSON"
    if head.isascii() and head.translate(None, b"\t\n\r\x0b\x0c").decode("ascii").isprintable():
        return "plain text"
    return "unknown binary content"
