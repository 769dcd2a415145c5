"""Whether a JPEG is whole: its segments and scans, up to its own end marker.

Segments are skipped by their length, so a thumbnail inside EXIF (with a start and an end marker
of its own) is never mistaken for the picture. What follows the first end marker (further pictures
of a camera, gain maps) is not looked at.

Source: ITU-T T.81, annex B, https://www.w3.org/Graphics/JPEG/itu-t81.pdf.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from nanobatch.errors import BrokenImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAGIC", "check", "size"]

MAGIC: Final = b"\xff\xd8\xff"

_MAX_SEGMENTS: Final = 100_000
"""Most segments walked; a 60 MB file of full ones has about 1,000, so more is an attack."""

_MARKER: Final = re.compile(rb"\xff+([^\xff])", re.DOTALL)
_SCAN_END: Final = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""In pixel data FF 00 is a stuffed byte, FF D0..D7 a restart, FF FF fill: none ends the scan."""

_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without a length: TEM and the restarts."""

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA


def size(image_bytes: bytes) -> tuple[int, int]:
    """Return width and height in pixels from the frame header, (0, 0) if there is none."""
    try:
        for code, body in _segments(image_bytes):
            if code in _FRAMES and len(body) >= 5:
                return int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")
            if code == _SOS:
                break
    except BrokenImageError:
        pass
    return 0, 0


def check(image_bytes: bytes) -> None:
    """Walk segments and scans up to the end marker (EOI), without decoding anything.

    Raises:
        BrokenImageError: A segment is cut, damaged, missing or out of place.
    """
    has_frame = has_scan = False
    for code, body in _segments(image_bytes):
        if code in _FRAMES:
            # Six bytes and three for each of 1 to 4 components, whose number is in the sixth.
            if has_frame or len(body) not in (9, 12, 15, 18) or len(body) != 6 + 3 * body[5]:
                raise _damaged("its frame header (SOF) is wrong, or there are two")
            has_frame = True
        elif code == _SOS:
            if not has_frame:
                raise _damaged("it has pixel data before a frame header (SOF)")
            has_scan = True
    if not has_scan:
        raise _damaged("it ends before any pixel data")


def _segments(image_bytes: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield code and body of every segment to the end marker; a scan belongs to its header."""
    end = len(image_bytes)
    position = 2
    for _ in range(_MAX_SEGMENTS):
        marker = _MARKER.match(image_bytes, position)
        if marker is None:
            if image_bytes[position : position + 1] in (b"", b"\xff"):
                raise _cut(end)
            raise _damaged(f"what stands at byte {position:,} is no marker")
        position = marker.end()
        code = image_bytes[position - 1]
        if code in _ALONE:
            continue
        if code == _EOI:
            return
        if code in (0, _SOI):
            raise _damaged(f"marker FF{code:02X} at byte {position - 2:,} is out of place")
        length = int.from_bytes(image_bytes[position : position + 2], "big")
        if position + max(length, 2) > end:
            raise _cut(end)
        if length < 2:
            raise _damaged(f"segment FF{code:02X} has an impossible length")
        yield code, image_bytes[position + 2 : position + length]
        position += length
        if code == _SOS:
            scan_end = _SCAN_END.search(image_bytes, position)
            if scan_end is None:
                raise _cut(end)
            if scan_end.start() == position:
                raise _damaged("it has a scan without pixel data")
            position = scan_end.start()
    raise _damaged(f"it has more than {_MAX_SEGMENTS:,} segments")


def _cut(end: int) -> BrokenImageError:
    return BrokenImageError(f"The JPEG is cut off after {end:,} bytes: it has no end marker (EOI).")


def _damaged(why: str) -> BrokenImageError:
    return BrokenImageError(f"The JPEG is damaged: {why}.")
