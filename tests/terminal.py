"""A pseudo-terminal with a program in it, and the screen that a person would see."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

import pyte
import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are a thing of POSIX", allow_module_level=True)

import fcntl
import pty
import termios


class Terminal:
    """What a person has in front of them."""

    def __init__(self, columns: int, rows: int) -> None:
        self._person, self.device = pty.openpty()
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.device, termios.TIOCSWINSZ, size)
        self.written = b""
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)

    def read(self, until: str = "") -> None:
        """Read until a text is on the screen, or to the end if none is named."""
        while not until or until not in "\n".join(self.lines):
            try:
                chunk = os.read(self._person, 65536)
            except OSError:  # the last process has let go of it
                return
            self.written += chunk
            self._stream.feed(chunk)

    @property
    def settings(self) -> list[object]:
        """How the terminal treats what is typed and written."""
        return list(termios.tcgetattr(self.device))

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display if line.strip()]

    @property
    def colours(self) -> set[str]:
        return {
            cell.fg for row in self._screen.buffer.values() for cell in row.values() if cell.data
        }

    @property
    def hides_cursor(self) -> bool:
        return bool(self._screen.cursor.hidden)

    def type(self, keys: bytes) -> None:
        os.write(self._person, keys)

    def hold(self) -> None:
        """Let whoever writes wait, as Ctrl-S does."""
        termios.tcflow(self.device, termios.TCOOFF)

    def go_away(self) -> None:
        os.close(self._person)
        self._person = -1

    def close(self) -> None:
        for descriptor in (self._person, self.device):
            with suppress(OSError):
                os.close(descriptor)


@contextmanager
def terminal(*, columns: int = 100, rows: int = 20) -> Generator[Terminal]:
    """Open a terminal of that size."""
    opened = Terminal(columns, rows)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def running(
    command: Sequence[str],
    seen: Terminal,
    *,
    stdout: int | BinaryIO | None = None,
    env: dict[str, str] | None = None,
) -> Generator[subprocess.Popen[bytes]]:
    """Start a program in a terminal, as the leader of a session of its own."""
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        command,
        stdin=seen.device,
        stdout=seen.device if stdout is None else stdout,
        stderr=seen.device,
        start_new_session=True,
        env={**inherited, "TERM": "xterm-256color", **(env or {})},
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
