"""One answer to one call: what it holds, what it costs, how and when it is delivered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nanobatch.simulator import delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanobatch.simulator.delivery import Delivery
    from nanobatch.simulator.studio import Content, Studio

__all__ = ["JSON_HEADERS", "Answer"]

JSON_HEADERS = (("content-type", "application/json; charset=UTF-8"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the simulator does with one call; made by the functions of `answers`."""

    status: int | None
    """HTTP status; `None` if the connection ends before there is one."""

    compose: Callable[[Studio], Content]
    """Makes body and cost; runs in a worker thread."""

    headers: tuple[tuple[str, str], ...] = JSON_HEADERS
    """HTTP headers beside the length."""

    deliver: Delivery = delivery.whole
    """How it is written."""

    wait_seconds: float = 0.0
    """How long after the latency it comes, >= 0."""

    def after(self, seconds: float) -> Answer:
        """Return the same answer, later by so many seconds, >= 0.

        Raises:
            ValueError: The seconds are below 0 or no number.
        """
        if not seconds >= 0:
            raise ValueError(f"seconds must be 0 or more, not {seconds}.")
        return replace(self, wait_seconds=self.wait_seconds + seconds)

    def with_headers(self, *headers: tuple[str, str]) -> Answer:
        """Return the same answer with further HTTP headers."""
        return replace(self, headers=(*self.headers, *headers))
