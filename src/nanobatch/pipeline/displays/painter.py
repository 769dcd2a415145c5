"""Paints in a thread of its own: a terminal that is held (Ctrl-S) must not hold the run."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from nanobatch.pipeline.snapshot import Snapshot

__all__ = ["Painter", "Screen"]

_log = logging.getLogger("nanobatch")

CLOSE_SECONDS = 2.0
"""How long the end of a run waits for a screen that does not answer."""


class Screen(Protocol):
    """Something that snapshots are shown on."""

    @property
    def period_seconds(self) -> float:
        """How often it is shown one."""
        ...

    def show(self, snapshot: Snapshot) -> object:
        """Show a snapshot."""
        ...

    def close(self) -> object:
        """Leave everything as it was found."""
        ...


class Painter:
    """Shows the latest snapshot on a screen; a screen that fails is not asked again."""

    def __init__(self, screen: Screen) -> None:
        self.period_seconds = screen.period_seconds
        self._screen = screen
        self._latest: Snapshot | None = None
        self._is_closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._paint,), name="nanobatch screen", daemon=True
        )
        self._thread.start()

    def show(self, snapshot: Snapshot) -> None:
        """Have a snapshot shown as soon as the screen is ready; an older one is dropped."""
        with self._changed:
            self._latest = snapshot
            self._changed.notify()

    def close(self) -> None:
        """Have the last one shown and the screen closed; a screen that hangs is left alone."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(CLOSE_SECONDS)

    def _paint(self) -> None:
        try:
            while (snapshot := self._next()) is not None:
                self._screen.show(snapshot)
        except Exception as error:  # noqa: BLE001 - a terminal may go away in many ways
            _log.debug("Progress is shown no longer: %s", error)
        with suppress(Exception):
            self._screen.close()

    def _next(self) -> Snapshot | None:
        with self._changed:
            self._changed.wait_for(lambda: self._latest is not None or self._is_closing)
            snapshot, self._latest = self._latest, None
            return snapshot
