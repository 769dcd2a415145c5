"""A table below the cell of a notebook, updated in place.

IPython's own display handle does it: rich needs ipywidgets to update anything in a notebook, and
shows text of a fixed width where a table of the page's own style fits.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nanobatch.pipeline.displays.wording import html_block, log_line

if TYPE_CHECKING:
    from nanobatch.pipeline.snapshot import Snapshot

__all__ = ["NotebookTable", "is_notebook"]

_log = logging.getLogger("nanobatch")


class NotebookTable:
    """Updates one output of the cell that started the run."""

    period_seconds = 0.5

    def __init__(self) -> None:
        self._output: Any = None
        self._works = True

    def show(self, snapshot: Snapshot) -> None:
        """Show a snapshot in place of the last one; a notebook that fails is not asked again."""
        if self._works:
            try:
                self._show(snapshot)
            except Exception as error:  # noqa: BLE001 - a frontend may go away in many ways
                self._works = False
                _log.debug("Progress is shown no longer: %s", error)

    def close(self) -> None:
        """Leave the last one standing."""

    def _show(self, snapshot: Snapshot) -> None:
        shown = {"text/plain": log_line(snapshot), "text/html": html_block(snapshot)}
        if self._output is None:
            ipython: Any = import_module("IPython.display")  # it is there, in a notebook
            self._output = ipython.display(shown, raw=True, display_id=True)
        else:
            self._output.update(shown, raw=True)


def is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None
