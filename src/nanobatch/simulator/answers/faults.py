"""Answers that go wrong on the way: unreadable bodies, cut and stalled connections.

Every 200 here is billed as one image: Google drew it, whatever became of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nanobatch.simulator import delivery
from nanobatch.simulator.answer import Answer
from nanobatch.simulator.answers.images import image
from nanobatch.simulator.studio import Content, Studio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "altered",
    "close",
    "cut",
    "drip",
    "empty_body",
    "endless_body",
    "gzipped",
    "interim_flood",
    "json_value",
    "no_content",
    "not_json",
    "reset",
    "reset_in_body",
    "slow",
    "stall",
    "stall_in_body",
    "truncated_json",
]


def empty_body() -> Answer:
    """200 with a body of 0 bytes."""
    return _billed(b"")


def no_content() -> Answer:
    """204: a success that says nothing."""
    return replace(_billed(b""), status=204)


def not_json() -> Answer:
    """200 with a web page."""
    page = b"<html><body>Welcome to the network. Please log in.</body></html>"
    return replace(_billed(page), headers=(("content-type", "text/html"),))


def json_value(text: str = "null") -> Answer:
    """200 with JSON that is no answer: `null`, `[]`, `{}`."""
    return _billed(text.encode())


def altered(change: Callable[[bytes], bytes], of: Answer | None = None) -> Answer:
    """A good image, or another answer, whose body is changed on the way; its cost is not.

    Args:
        change: Makes another body of the right one; called once per answer, in a worker thread.
        of: The answer to change.
    """
    given = of or image()

    def compose(studio: Studio) -> Content:
        content = given.compose(studio)
        return replace(content, body=change(content.body))

    return replace(given, compose=compose)


def truncated_json() -> Answer:
    """200, complete as HTTP, with the second half of its JSON missing."""
    return altered(lambda body: body[: len(body) // 2])


def endless_body(of: Answer | None = None) -> Answer:
    """200, or another answer, with a body that goes on until the client leaves."""
    return replace(of or _billed(b'{"candidates": ['), deliver=delivery.endless)


def gzipped(of: Answer | None = None) -> Answer:
    """A good image, or another answer, compressed whatever the client accepts."""
    return replace(of or image(), deliver=delivery.gzipped)


def cut(fraction: float = 0.5, of: Answer | None = None) -> Answer:
    """A good image, or another answer, of which a fraction arrives before the connection closes."""
    return replace(of or image(), deliver=delivery.cut(_checked(fraction)))


def reset_in_body(fraction: float = 0.5, of: Answer | None = None) -> Answer:
    """A good image, or another answer, in the middle of which comes a TCP reset."""
    return replace(of or image(), deliver=delivery.reset_in_body(_checked(fraction)))


def slow(seconds: float, of: Answer | None = None) -> Answer:
    """A good image, or another answer, whose body takes so many seconds."""
    return replace(of or image(), deliver=delivery.slow(seconds))


def drip(seconds_per_byte: float = 0.01, of: Answer | None = None) -> Answer:
    """A good image, or another answer, one byte at a time."""
    return replace(of or image(), deliver=delivery.drip(seconds_per_byte))


def stall_in_body(fraction: float = 0.5, of: Answer | None = None) -> Answer:
    """A good image, or another answer, that stops in the middle until the client leaves."""
    return replace(of or image(), deliver=delivery.stall_in_body(_checked(fraction)))


def reset(*, billed: bool = False) -> Answer:
    """A TCP reset before any answer."""
    return replace(_unanswered(billed=billed), deliver=delivery.reset)


def close(*, billed: bool = False) -> Answer:
    """A clean close before any answer."""
    return replace(_unanswered(billed=billed), deliver=delivery.close)


def stall(*, billed: bool = False) -> Answer:
    """No answer at all, until the client leaves or the simulator closes."""
    return replace(_unanswered(billed=billed), deliver=delivery.stall)


def interim_flood() -> Answer:
    """103 Early Hints again and again, until the client leaves."""
    return replace(_unanswered(billed=False), deliver=delivery.interim_flood)


def _billed(body: bytes) -> Answer:
    return Answer(status=200, compose=lambda studio: Content(body=body, usage=studio.image_usage()))


def _unanswered(*, billed: bool) -> Answer:
    def compose(studio: Studio) -> Content:
        return Content(usage=studio.image_usage() if billed else None)

    return Answer(status=None, compose=compose)


def _checked(fraction: float) -> float:
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction must be at least 0 and less than 1, not {fraction}.")
    return fraction
