"""Whether a WebP is whole: its RIFF chunks, and that they hold exactly one picture.

Source: https://developers.google.com/speed/webp/docs/riff_container and RFC 9649
(https://www.rfc-editor.org/rfc/rfc9649).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nanobatch.errors import BrokenImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check", "is_webp", "size"]

_MAX_CHUNKS: Final = 100_000
"""Most chunks walked; a real file has about ten, so more is an attack."""

_ANIMATION_BIT: Final = 0x02


def is_webp(image_bytes: bytes) -> bool:
    """Return whether the file begins as a WebP does."""
    return image_bytes.startswith(b"RIFF") and image_bytes[8:12] == b"WEBP"


def size(image_bytes: bytes) -> tuple[int, int]:
    """Return width and height in pixels of the canvas, (0, 0) if the header cannot be read."""
    kind, head = image_bytes[12:16], image_bytes[20:30]
    if kind == b"VP8X" and len(head) == 10:
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    return _picture_size(kind, head)


def check(image_bytes: bytes) -> None:
    """Walk the chunks up to the end the file states, without decoding anything.

    Raises:
        BrokenImageError: A chunk is cut, damaged or missing, or there is not just one picture.
    """
    end = 8 + int.from_bytes(image_bytes[4:8], "little")
    if end > len(image_bytes):
        raise BrokenImageError(
            f"The WebP is cut off: {len(image_bytes):,} of {end:,} bytes are there."
        )
    canvas = size(image_bytes)
    if canvas == (0, 0):
        raise _damaged("its header cannot be read")
    is_extended = image_bytes[12:16] == b"VP8X"
    pictures = 0
    for kind, body in _chunks(image_bytes, end):
        flags = int.from_bytes(body[:1], "big") if kind == b"VP8X" else 0
        if flags & _ANIMATION_BIT or kind in (b"ANIM", b"ANMF"):
            raise BrokenImageError("The WebP is animated; an image here has exactly one frame.")
        if kind in (b"VP8 ", b"VP8L"):
            _check_picture(kind, body, canvas)
            pictures += 1
            if not is_extended:
                return  # what follows the one chunk of a simple file is not the image
    if pictures != 1:
        raise _damaged(f"it has {pictures} pictures, not one")


def _chunks(image_bytes: bytes, end: int) -> Iterator[tuple[bytes, memoryview]]:
    view = memoryview(image_bytes)[:end]
    position = 12
    for _ in range(_MAX_CHUNKS):
        if position + 8 > end:
            return
        kind = bytes(view[position : position + 4])
        length = int.from_bytes(view[position + 4 : position + 8], "little")
        body = position + 8
        if body + length > end:
            raise _damaged("one of its chunks is longer than the file")
        yield kind, view[body : body + length]
        position = body + length + (length & 1)
    raise _damaged(f"it has more than {_MAX_CHUNKS:,} chunks")


def _check_picture(kind: bytes, body: memoryview, canvas: tuple[int, int]) -> None:
    head = bytes(body[:10])
    if _picture_size(kind, head) != canvas:
        raise _damaged("the header of its picture does not fit that of the file")
    # Bits 5 to 23 of a lossy picture are the length of its first partition.
    if kind == b"VP8 " and 10 + (int.from_bytes(head[:3], "little") >> 5) > len(body):
        raise _damaged("its picture is cut off")


def _picture_size(kind: bytes, head: bytes) -> tuple[int, int]:
    """Return the size a picture states in its first 10 bytes, or (0, 0) if it is none."""
    if kind == b"VP8 " and len(head) == 10 and head[3:6] == b"\x9d\x01\x2a" and not head[0] & 1:
        return (
            int.from_bytes(head[6:8], "little") & 0x3FFF,
            int.from_bytes(head[8:10], "little") & 0x3FFF,
        )
    if kind == b"VP8L" and len(head) >= 5 and head[0] == 0x2F and head[4] >> 5 == 0:
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return 0, 0


def _damaged(why: str) -> BrokenImageError:
    return BrokenImageError(f"The WebP is damaged: {why}.")
