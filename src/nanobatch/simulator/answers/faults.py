"""Answers that go wrong on the way: unreadable bodies, cut and stalled connections.

Every 200 here is billed as one image: Google drew it, whatever became of it.
"""

from __future__ import annotations

from dataclasses import replace

from nanobatch.simulator import delivery
from nanobatch.simulator.answer import Answer
from nanobatch.simulator.answers.images import image
from nanobatch.simulator.studio import Content, Studio

__all__ = [
    "close",
    "cut",
    "drip",
    "empty_body",
    "endless_body",
    "gzipped",
    "json_value",
    "not_json",
    "reset",
    "slow",
    "stall",
    "stall_in_body",
    "truncated_json",
]


def empty_body() -> Answer:
    """200 with a body of 0 bytes."""
    return _billed(b"")


def not_json() -> Answer:
    """200 with a web page."""
    page = b"<html><body>Welcome to the network. Please log in.</body></html>"
    return replace(_billed(page), headers=(("content-type", "text/html"),))


def json_value(text: str = "null") -> Answer:
    """200 with JSON that is no answer: `null`, `[]`, `{}`."""
    return _billed(text.encode())


def truncated_json() -> Answer:
    """200, complete as HTTP, with the second half of its JSON missing."""
    good = image()

    def compose(studio: Studio) -> Content:
        content = good.compose(studio)
        return replace(content, body=content.body[: len(content.body) // 2])

    return replace(good, compose=compose)


def endless_body() -> Answer:
    """200 with a body that goes on until the client leaves."""
    return replace(_billed(b'{"candidates": ['), deliver=delivery.endless)


def gzipped(of: Answer | None = None) -> Answer:
    """A good image, or another answer, compressed whatever the client accepts."""
    return replace(of or image(), deliver=delivery.gzipped)


def cut(fraction: float = 0.5, of: Answer | None = None) -> Answer:
    """A good image, or another answer, of which a fraction arrives before the connection closes."""
    return replace(of or image(), deliver=delivery.cut(_checked(fraction)))


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
