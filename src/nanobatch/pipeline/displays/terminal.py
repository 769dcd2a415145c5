"""A live block of lines in a terminal, drawn by rich; the cursor is never hidden."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nanobatch.pipeline.displays.wording import block, images, percent_done

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderResult

    from nanobatch.pipeline.snapshot import Snapshot

__all__ = ["LiveBlock", "draw"]

ECHO_COLUMNS = 4
_STYLES = {"waiting": "yellow"}


class _Terminal(Console):
    """A console that changes nothing which a killed process could leave behind."""

    def show_cursor(self, show: bool = True) -> bool:  # noqa: FBT001, FBT002 - as rich has it
        """Leave the cursor as it is: nobody has to bring it back after a crash or `kill -9`."""
        del show
        return False

    def on_broken_pipe(self) -> None:
        """Let the error out: rich would end the process and close its standard output."""
        self.quiet = True
        raise BrokenPipeError


class LiveBlock:
    """Draws snapshots in place; what the program prints meanwhile appears above them."""

    period_seconds = 0.25

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = Live(
            console=_Terminal(file=stream),
            auto_refresh=False,
            # Output that goes to a file or a pipe must go on going there.
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        )

    def show(self, snapshot: Snapshot) -> None:
        """Draw a snapshot in place of the last one.

        Raises:
            OSError: The terminal is gone.
        """
        self._live.start()
        self._live.update(draw(snapshot), refresh=True)

    def close(self) -> None:
        """Leave the last one standing, give standard output back and close the stream."""
        try:
            self._live.stop()
        finally:
            self._stream.close()


def draw(now: Snapshot) -> Group:
    """Return a snapshot as rich draws it: a bar, and a line for every figure."""
    bar = Table.grid(padding=(0, 2), expand=True)
    bar.add_column(no_wrap=True)
    bar.add_column(ratio=1)
    bar.add_column(no_wrap=True, justify="right")
    bar.add_row(
        Text(images(now), style="bold"),
        ProgressBar(
            total=max(now.wanted, 1),
            completed=now.delivered if now.wanted else 1,
            complete_style="cyan",
            finished_style="green",
        ),
        percent_done(now),
    )
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    for label, value in block(now):
        rows.add_row(label, Text(value, style=_STYLES.get(label, "")))
    return Group(bar, _Narrower(rows))


class _Narrower:
    """Leaves room at the end of the last line.

    The terminal itself writes `^C` there, and if that begins another line, rich does not know.
    """

    def __init__(self, rows: Table) -> None:
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render with a smaller width."""
        width = max(options.max_width - ECHO_COLUMNS, 1)
        yield from console.render(self._rows, options.update(max_width=width))
