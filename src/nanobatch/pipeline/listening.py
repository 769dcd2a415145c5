"""Whoever listens to a run: their first error ends it in order, whatever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanobatch.pipeline.control import Control
    from nanobatch.pipeline.events import Event

__all__ = ["Progress", "careful", "ignore"]

Progress: TypeAlias = "Callable[[Event], object]"
"""Called on the event loop with everything that happened, right after it was saved."""


def careful(progress: Progress, control: Control) -> Progress:
    """Return a listener that never raises: its first error ends the run, and it hears no more.

    Raised through our own frames it would skip what has to follow the event, and a traceback
    with locals would show image bytes.
    """
    is_listening = True

    def tell(event: Event) -> None:
        nonlocal is_listening
        if is_listening:
            try:
                progress(event)
            except Exception as error:  # noqa: BLE001 - the caller's own, raised by the run
                is_listening = False
                control.abort(error)

    return tell


def ignore(event: Event) -> None:
    """Listen to nothing."""
    del event
