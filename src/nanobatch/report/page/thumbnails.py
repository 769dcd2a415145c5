"""Where thumbnails go: into the page, or into a folder beside it."""

from __future__ import annotations

import base64
import os
import re
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from nanobatch.pipeline.thumbnail import thumbnail_of_file

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.checkpoint import CandidateRecord

__all__ = ["Beside", "Embedded", "Thumbnails", "reference"]

_SHA256 = re.compile("[0-9a-f]{64}")


class Thumbnails(Protocol):
    """Makes the thumbnail of a candidate and says what the page writes for it."""

    is_embedded: bool

    def of(self, record: CandidateRecord) -> str | None:
        """Return base64 to embed, or a reference to a file; `None` if there is no thumbnail.

        It is called by several threads.
        """
        ...


class Embedded:
    """Thumbnails in the page itself, which then needs no other file."""

    is_embedded = True

    def of(self, record: CandidateRecord) -> str | None:
        """Return the thumbnail in base64."""
        small = _thumbnail(record)
        return None if small is None else base64.b64encode(small).decode()


class Beside:
    """Thumbnails as files in a folder; those that are there already are not made again."""

    is_embedded = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, record: CandidateRecord) -> str | None:
        """Write the thumbnail, if it is not there, and return its reference."""
        if not _SHA256.fullmatch(record.sha256):
            return None  # somebody edited the row: no name for a file
        file = self._folder / f"{record.sha256}.webp"
        if not file.exists():
            small = _thumbnail(record)
            if small is None:
                return None
            part = file.with_name(f"{file.name}.{record.number}.part")
            part.write_bytes(small)
            part.replace(file)
        return reference(file, base=self._folder.parent)


def reference(path: Path, *, base: Path) -> str:
    """Return a path as a page in the folder `base` refers to it: relative, and a valid URL."""
    return quote(os.fsencode(os.path.relpath(path, base).replace(os.sep, "/")))


def _thumbnail(record: CandidateRecord) -> bytes | None:
    if record.thumbnail is not None or record.path is None:
        return record.thumbnail
    try:
        return thumbnail_of_file(record.path.read_bytes())
    except OSError:
        return None  # it has moved on since its row was read, or its disk refuses
