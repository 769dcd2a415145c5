"""What a person sees while the batch runs: the live block of any run, or a line now and then."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanobatch.cost import Outcome
from nanobatch.demo.text import counted, say, usd
from nanobatch.pipeline import CallSettled, Ended, ImageAccepted, RunEnding
from nanobatch.pipeline.watching import screen_for

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from decimal import Decimal

    from nanobatch.demo.figures import Standing
    from nanobatch.pipeline import Event
    from nanobatch.pipeline.displays.painter import Screen

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
    """Show the batch while it runs; what it yields is the run's `progress`."""
    if not sys.stdout.isatty():
        with _plain(tally) as refresh:
            yield _Listener(tally, refresh)
        return
    with screen_for(None) as screen:
        yield _Listener(tally) if screen is None else _Viewer(tally, screen)


class _Listener:
    """Keeps the tally, and says what a person has to know at once."""

    def __init__(self, tally: Tally, refresh: Callable[[], object] = lambda: None) -> None:
        self._tally = tally
        self._refresh = refresh

    def __call__(self, event: Event) -> None:
        """Count an event."""
        self._tally.count(event)
        if isinstance(event, RunEnding) and event.ended is Ended.CANCELLED:
            say("Ending: what is in flight is saved first. Ctrl-C again does not wait.")
        self._refresh()


class _Viewer(_Listener):
    """Shows how the run stands beside that, as any run does in a terminal."""

    def __init__(self, tally: Tally, screen: Screen) -> None:
        super().__init__(tally)
        self.show = screen.show


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
