"""Reads a results file of gigabytes without ever holding more of it than one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["MAX_LINE_BYTES", "lines_of"]

MAX_LINE_BYTES: Final = 64 * 1024 * 1024
"""As long as an interactive answer may be; a 4K image in base64 takes half of it at most."""

_SKIP_BYTES: Final = 1024 * 1024


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a results file without their ends; blank ones are left out.

    A line longer than 64 MiB is cut one byte above that, and one at the end of a file that was cut
    off comes as it is: `BatchBackend.read_line` says of both what is wrong with them.

    Args:
        path: The file, as `BatchBackend.download_results` left it.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES + 1):
            if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
                _skip(file)
            if not line.isspace():
                yield line.rstrip(b"\r\n")


def _skip(file: BinaryIO) -> None:
    """Leave the rest of a line behind."""
    while piece := file.readline(_SKIP_BYTES):
        if piece.endswith(b"\n"):
            return
