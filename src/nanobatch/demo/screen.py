"""What a person sees while the batch runs: a live line in a terminal, else a line now and then."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from nanobatch.cost import Outcome
from nanobatch.demo.text import counted, say, usd
from nanobatch.pipeline import CallSettled, Ended, ImageAccepted, RunEnding

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from decimal import Decimal

    from nanobatch.demo.figures import Standing
    from nanobatch.pipeline import Event

__all__ = ["Tally", "watching"]

PLAIN_STEPS = 10
"""Plain lines that a whole batch prints."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """The figures on the screen, kept up to date event by event."""

    wanted: int
    accepted: int
    calls: int
    """Billed calls."""
    usd: Decimal
    """Confirmed USD."""
    unknown_usd: Decimal
    requests: int = field(default=0, init=False)
    """Requests of this run, whatever came of them."""
    has_begun: bool = field(default=False, init=False)
    """Whether this run has taken up a prompt, so that something may have been sent."""

    @classmethod
    def of(cls, standing: Standing) -> Tally:
        """Begin with what earlier runs left."""
        return cls(
            wanted=standing.wanted,
            accepted=standing.delivered,
            calls=standing.calls,
            usd=standing.spend.confirmed_usd,
            unknown_usd=standing.spend.unknown_usd,
        )

    def count(self, event: Event) -> None:
        """Take an event in."""
        self.has_begun = True
        if isinstance(event, CallSettled):
            self.requests += 1
            self.calls += event.outcome is Outcome.BILLED
            self.usd += event.spend.confirmed_usd
            self.unknown_usd += event.spend.unknown_usd
        elif isinstance(event, ImageAccepted):
            self.accepted += 1

    def __str__(self) -> str:
        """Show calls, spend so far and what an accepted image costs so far."""
        each = f", {usd(self.usd / self.accepted)} each" if self.accepted else ""
        unknown = f" (+ {usd(self.unknown_usd)} unknown)" if self.unknown_usd else ""
        return f"{counted(self.calls, 'call')}, USD {usd(self.usd)}{unknown}{each}"


@contextmanager
def watching(tally: Tally) -> Generator[Callable[[Event], None]]:
    """Show a tally while the batch runs; what it yields wants to be told every event."""
    show = _live if sys.stdout.isatty() and find_spec("rich") else _plain
    with show(tally) as refresh:

        def progress(event: Event) -> None:
            tally.count(event)
            if isinstance(event, RunEnding) and event.ended is Ended.CANCELLED:
                say("Ending: what is in flight is saved first. Ctrl-C again does not wait.")
            refresh()

        yield progress


@contextmanager
def _live(tally: Tally) -> Generator[Callable[[], None]]:
    from rich.progress import (  # noqa: PLC0415 - an extra
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        MofNCompleteColumn(),
        TextColumn("images"),
        BarColumn(bar_width=None),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, expand=True) as progress:
        task = progress.add_task(str(tally), total=tally.wanted, completed=tally.accepted)
        yield lambda: progress.update(task, completed=tally.accepted, description=str(tally))
        progress.refresh()


@contextmanager
def _plain(tally: Tally) -> Generator[Callable[[], None]]:
    def step() -> int:
        return tally.accepted * PLAIN_STEPS // tally.wanted if tally.wanted else PLAIN_STEPS

    shown = step()

    def refresh() -> None:
        nonlocal shown
        if step() > shown:
            shown = step()
            images = f"{tally.accepted} of {counted(tally.wanted, 'image')}"
            say(f"{100 * shown // PLAIN_STEPS:>4} %  {images}, {tally}")

    yield refresh
