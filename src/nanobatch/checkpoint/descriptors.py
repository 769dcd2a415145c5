"""A few file descriptors in reserve: what was paid for is saved although too many files are open.

Descriptors belong to the process, and a run spends most of them on connections. The files of an
answer and the journal of its settlement need two or three for a moment.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from nanobatch.checkpoint.trouble import Trouble, trouble_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RESERVE", "Reserve"]

T = TypeVar("T")

SPARES = 4
"""A file and its folder, the journal, and the look whether any descriptor is free."""
PATIENCE_SECONDS = 10.0
PAUSE_SECONDS = 0.02


class Reserve:
    """Descriptors that are held open only to be closed when nobody else has one left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._spares: list[int] = []

    def hold(self) -> None:
        """Take the reserve, if nobody of this process has it yet."""
        with self._lock:
            self._users += 1
            self._fill()

    def let_go(self) -> None:
        """Give the reserve back when its last user goes."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._spend()

    def patiently(self, work: Callable[[], T]) -> T:
        """Do `work`; when no descriptor is free, do it again with the reserve.

        Where others snatch even those, it is tried for 10 seconds: they too are given back. It
        blocks, so call it in a worker thread.

        Args:
            work: Something that can be done again after it failed for lack of a descriptor.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        try:
            result = work()
        except Exception as error:
            if trouble_of(error) is not Trouble.NO_DESCRIPTORS:
                raise
        else:
            if self._users and len(self._spares) < SPARES:  # some were in use the last time
                with self._lock:
                    self._fill()
            return result
        try:
            while True:
                with self._lock:
                    self._spend()
                try:
                    return work()
                except Exception as error:
                    is_hopeless = time.monotonic() > deadline
                    if is_hopeless or trouble_of(error) is not Trouble.NO_DESCRIPTORS:
                        raise
                time.sleep(PAUSE_SECONDS)
        finally:
            with self._lock:
                self._fill()

    def _fill(self) -> None:
        with suppress(OSError):  # the next one who needs it tries again
            while self._users and len(self._spares) < SPARES:
                self._spares.append(os.open(os.devnull, os.O_RDONLY))

    def _spend(self) -> None:
        while self._spares:
            os.close(self._spares.pop())


RESERVE = Reserve()
"""The reserve of this process."""
