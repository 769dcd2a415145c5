"""Thumbnails: small WebP pictures of images that nobody keeps, or that a page shows in hundreds."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from nanobatch.candidate import MAX_PIXELS
from nanobatch.errors import BrokenImageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from nanobatch.candidate import Candidate

__all__ = ["THUMBNAIL_PX", "thumbnail_of_candidate", "thumbnail_of_file"]

THUMBNAIL_PX: Final = 256
"""Longer side, pixels."""

_FORMATS = ("PNG", "JPEG", "WEBP")
_QUALITY = 70


def thumbnail_of_candidate(candidate: Candidate) -> bytes | None:
    """Return a thumbnail; `None` if the image does not decode: then there simply is none."""
    try:
        return _small(candidate.image)
    except (BrokenImageError, OSError, ValueError):
        return None


def thumbnail_of_file(content: bytes) -> bytes | None:
    """Return a thumbnail of an image file that nobody may have judged yet; `None` as above."""
    import PIL.Image  # noqa: PLC0415 - heavy: imported when used

    try:
        with PIL.Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                return None
            picture.draft("RGB", (2 * THUMBNAIL_PX, 2 * THUMBNAIL_PX))  # JPEG: a third of the time
            return _small(picture)
    except Exception:  # noqa: BLE001 - as above; Pillow raises many kinds
        return None


def _small(image: Image) -> bytes:
    picture = image.convert("RGBA" if image.has_transparency_data else "RGB")
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=_QUALITY)
    return file.getvalue()
