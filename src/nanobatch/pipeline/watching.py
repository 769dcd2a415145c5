"""Somebody watches a run: who that is, and one task that shows them how it stands."""

from __future__ import annotations

import inspect
import logging
import os
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO, TypeAlias

import anyio
import anyio.to_thread

from nanobatch.checkpoint import Checkpoint
from nanobatch.errors import ConfigError
from nanobatch.pipeline.displays.notebook import NotebookTable, is_notebook
from nanobatch.pipeline.displays.painter import Painter
from nanobatch.pipeline.displays.plain import LogLines, RewrittenLine
from nanobatch.pipeline.listening import Progress, careful, ignore
from nanobatch.pipeline.meter import Meter
from nanobatch.pipeline.snapshot import Display

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from nanobatch.cost import LedgerTotals
    from nanobatch.pipeline.control import Control, Ended
    from nanobatch.pipeline.displays.painter import Screen
    from nanobatch.pipeline.events import Event
    from nanobatch.pipeline.meter import Parts
    from nanobatch.pipeline.options import Options
    from nanobatch.pipeline.snapshot import Snapshot

__all__ = ["Audience", "Watch", "Watcher", "screen_for"]

Watcher: TypeAlias = "Progress | Display | bool | None"
"""Who watches a run, as `run(jobs, progress=...)` takes it."""

OWN_PERIOD_SECONDS = 0.25

_log = logging.getLogger("nanobatch.progress")
_terminal = threading.Lock()
"""Two runs in one process would draw over each other: the first one has the terminal."""


class Watch:
    """One task shows how a run stands; the run tells its meter and never waits for anybody.

    Args:
        meter: Knows how it stands.
        screen: Shows it.
        control: Ends the run when a display of the caller's own raises.
    """

    def __init__(self, meter: Meter, screen: Screen, control: Control) -> None:
        self.meter = meter
        self._screen = screen
        self._control = control
        self._is_over = anyio.Event()
        self._is_working = True

    async def begin(self, root: Path, parts: Parts) -> None:
        """Look up once what the ledger adds up to before the first call.

        Raises:
            CheckpointError: It cannot be read.
        """
        self.meter.begin(await anyio.to_thread.run_sync(_totals_of, root), parts)

    async def follow(self) -> None:
        """Show how the run stands again and again until `stop`; a cancellation does not end it."""
        with anyio.CancelScope(shield=True):
            while not self._is_over.is_set():
                with anyio.move_on_after(self._screen.period_seconds):
                    await self._is_over.wait()
                if not self._is_over.is_set():
                    self._show(self.meter.snapshot())

    def stop(self) -> None:
        """End `follow`."""
        self._is_over.set()

    def show_end(self, ended: Ended) -> None:
        """Show how the run stood when it was over."""
        self._show(self.meter.snapshot(ended=ended))

    def _show(self, snapshot: Snapshot) -> None:
        if self._is_working:
            try:
                self._screen.show(snapshot)
            except Exception as error:  # noqa: BLE001 - the caller's own, raised by the run
                self._is_working = False
                self._control.abort(error)


class _Own:
    """A display of the caller's own, as a screen."""

    period_seconds = OWN_PERIOD_SECONDS

    def __init__(self, display: Display) -> None:
        self.show = display.show

    def close(self) -> None:
        """It is the caller's."""


class Audience:
    """Everybody who hears of one run.

    Raises:
        ConfigError: `progress` is nobody who could watch.
    """

    def __init__(self, progress: Watcher, control: Control) -> None:
        self._progress = progress
        self._control = control
        self._tell = careful(_listener_of(progress), control)
        self._meter: Meter | None = None

    def hear(self, event: Event) -> None:
        """Hear of an event."""
        if self._meter is not None:
            self._meter.hear(event)
        self._tell(event)

    @contextmanager
    def watch(self, options: Options, *, wanted: int | None) -> Generator[Watch | None]:
        """Open what the run is shown on; `None` if nobody watches.

        Args:
            options: The run's.
            wanted: Images that all jobs want, if that is known already.
        """
        with screen_for(self._progress) as screen:
            if screen is None:
                yield None
                return
            self._meter = Meter(
                budget=options.budget, max_concurrency=options.concurrency, wanted=wanted
            )
            yield Watch(self._meter, screen, self._control)


def _listener_of(progress: Watcher) -> Progress:
    given: object = progress  # whatever the caller's type checker let through
    if inspect.iscoroutinefunction(given):
        raise ConfigError(
            "progress must be a plain function, not `async def`: nobody would await it. "
            "To do async work for each event, read `async with pipeline.stream(jobs) as events`."
        )
    if callable(progress):
        return progress
    if given is None or isinstance(given, (bool, Display)):
        return ignore
    raise ConfigError(
        f"progress={progress!r}: it must be None, True, False, a function that is told every "
        "event, or an object with a method show(snapshot)."
    )


@contextmanager
def screen_for(progress: Watcher) -> Generator[Screen | None]:
    """Open what the run is shown on; `None` if nobody watches.

    Args:
        progress: `None` looks for somebody: the reader of a notebook, of a terminal, or of a log
            that takes INFO. `True` writes a line a minute to standard error if there is nobody.
    """
    if isinstance(progress, Display):
        yield _Own(progress)
    elif callable(progress) or progress is False:
        yield None
    elif is_notebook():
        yield NotebookTable()  # on the event loop: from a thread it would find no cell
    else:
        has_terminal = _is_terminal(sys.stderr) and _terminal.acquire(blocking=False)
        screen = _in_terminal(sys.stderr) if has_terminal else _in_log(is_forced=bool(progress))
        painter = None if screen is None else Painter(screen)
        try:
            yield painter
        finally:
            if painter is not None:
                painter.close()
            if has_terminal:
                _terminal.release()


def _in_terminal(stream: TextIO) -> Screen:
    own = _own_file(stream)
    try:
        from nanobatch.pipeline.displays.terminal import LiveBlock  # noqa: PLC0415 - an extra
    except ImportError:
        return RewrittenLine(own)
    return LiveBlock(own)


def _own_file(stream: TextIO) -> TextIO:
    """Return a file of our own to the same terminal.

    A thread that hangs while it writes holds the lock of its file, and Python ends with a fatal
    error if that is the one of standard error.
    """
    try:
        descriptor = os.dup(stream.fileno())
    except (OSError, ValueError):  # it is no file at all
        return stream
    return open(descriptor, "w", encoding=stream.encoding, errors="replace")  # noqa: PTH123 - the screen closes it


def _in_log(*, is_forced: bool) -> Screen | None:
    """Return a log that takes a line a minute; standard error only if it is asked for."""
    if _log.isEnabledFor(logging.INFO) and _log.hasHandlers():
        return LogLines(_log.info)
    stream = sys.stderr
    if not is_forced or stream is None:
        return None
    return LogLines(lambda line: print(f"nanobatch: {line}", file=stream, flush=True))


def _is_terminal(stream: TextIO | None) -> bool:
    """Return whether a person can watch a stream: a terminal, and this process is in front."""
    if stream is None or not stream.isatty() or os.environ.get("TERM") == "dumb":
        return False
    with suppress(OSError, ValueError, AttributeError):  # no controlling terminal; Windows
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    return True


def _totals_of(root: Path) -> LedgerTotals:
    with Checkpoint.read(root) as reader:
        return reader.totals()
