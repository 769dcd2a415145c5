"""One line that a terminal rewrites, and one line a minute where nothing can be rewritten."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

from nanobatch.pipeline.displays.wording import log_line, short_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanobatch.pipeline.snapshot import Snapshot

__all__ = ["LogLines", "RewrittenLine"]


class RewrittenLine:
    """Rewrites one line of a terminal with a carriage return."""

    period_seconds = 0.25

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown = ""

    def show(self, snapshot: Snapshot) -> None:
        """Write a snapshot over the last one.

        Raises:
            OSError: The terminal is gone.
        """
        columns = os.get_terminal_size(self._stream.fileno()).columns or 80
        line = short_line(snapshot, width=columns - 1)  # some terminals wrap a full line
        rest = " " * min(len(self._shown) - len(line), columns - 1 - len(line))
        self._stream.write(f"\r{line}{rest}")
        self._stream.flush()
        self._shown = line

    def close(self) -> None:
        """Leave the last one standing and close the stream."""
        if self._shown:
            self._stream.write("\n")
        self._stream.close()


class LogLines:
    """Writes a line a minute, and one when the run is over."""

    period_seconds = 60.0

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def show(self, snapshot: Snapshot) -> None:
        """Write a snapshot.

        Raises:
            OSError: Nobody reads any more.
        """
        self._write(log_line(snapshot))

    def close(self) -> None:
        """Nothing is open."""
