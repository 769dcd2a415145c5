"""Decides which requests about files and jobs go wrong, and how."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from nanobatch.simulator import answers
from nanobatch.simulator.batch.operation import Lost, Operation, name_operation

if TYPE_CHECKING:
    from nanobatch.simulator.answer import Answer
    from nanobatch.simulator.batch.settings import Settings
    from nanobatch.simulator.exchange import Received

__all__ = ["Troubles"]

_MIDDLE = 0.5


class Troubles:
    """Counts requests by what they ask, and takes over the ones that are to fail."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._asked: Counter[str] = Counter()

    def next_for(self, received: Received) -> Answer | Lost | None:
        """Return what goes wrong with a request; `None` if nothing does."""
        name, target = name_operation(received)
        if not name:
            return None
        operation = Operation(name=name, nth=self._asked[name], target=target)
        self._asked[name] += 1
        given = self._settings.fault(operation) if self._settings.fault is not None else None
        return given if given is not None else self._planned(operation)

    def _planned(self, operation: Operation) -> Answer | Lost | None:
        settings, nth = self._settings, operation.nth
        match operation.name:
            case "create" if nth < settings.lost_creates:
                return Lost()
            case "upload" if nth < settings.lost_uploads:
                return Lost()
            case "download" if nth < settings.busy_downloads:
                return answers.overloaded()
            case "download" if nth < settings.busy_downloads + settings.cut_downloads:
                return Lost(_MIDDLE)
            case _:
                return None
