"""What tells whether a file is still as it was written, without reading it again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Seal"]


class Seal(NamedTuple):
    """What a file looked like when it was written: it changes with every edit of the file.

    The time of the last change is the system's own, so nobody can set it back.
    """

    device: int
    inode: int
    size_bytes: int
    changed_ns: int
    """Of its bytes, its names or its rights."""

    @classmethod
    def of(cls, path: Path) -> Seal:
        """Return how a file looks now."""
        seen = os.stat(path, follow_symlinks=False)  # noqa: PTH116 - as cheap as it gets
        return cls(seen.st_dev, seen.st_ino, seen.st_size, seen.st_ctime_ns)
