"""One request on its way: whatever comes of it is told, so that its call gets a line."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from nanobatch.backend import Reply
from nanobatch.backend.faults import BROKEN_OFF
from nanobatch.errors import TransientError
from nanobatch.pipeline.control import RunStopped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nanobatch.pipeline.control import Control

__all__ = ["send_once"]


async def send_once(
    control: Control, send: Callable[[], Awaitable[Reply]]
) -> tuple[Reply | None, Exception | None]:
    """Send exactly one request; neither a reply nor a fault: it was cut."""
    try:
        with control.in_flight():
            return _believable(await send()), None
    except RunStopped:
        return None, None
    except anyio.get_cancelled_exc_class():  # by nobody out here: that scope is shielded
        return None, TransientError(
            "The backend gave up the call by itself. Whether it is billed is unknown.",
            kind=BROKEN_OFF.kind,
            is_unknown_money=True,
        )
    except Exception as fault:  # noqa: BLE001 - whatever it is, the call gets its line
        return None, fault


def _believable(reply: object) -> Reply:
    """Return a reply of anybody's backend; what no call can use makes its cost unknown.

    Raises:
        TypeError: It is no reply.
    """
    if not isinstance(reply, Reply):
        raise TypeError(
            f"The backend returned {type(reply).__name__}, not a nanobatch Reply: its methods "
            "return one or raise a ProviderError."
        )
    if reply.usage is not None and not reply.usage.is_believable:
        return replace(reply, usage=None)
    return reply
