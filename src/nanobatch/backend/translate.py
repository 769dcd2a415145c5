"""Turns what came instead of an answer into one of our errors, by the table of faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanobatch.backend.address import host_of
from nanobatch.backend.error_answer import read_error
from nanobatch.backend.faults import (
    ANSWERS,
    BAD_LINE,
    BROKEN_OFF,
    COMPRESSED,
    NO_CONNECTION,
    NO_END,
    NO_MEANING,
    NOT_FOUND,
    NOT_SENT,
    TOO_LARGE,
    UNREADABLE,
    Action,
    Cost,
    Fault,
)
from nanobatch.backend.foreign import plain_text
from nanobatch.errors import (
    AccountError,
    BadRequestError,
    ModelGoneError,
    ProviderError,
    TransientError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "bad_line",
    "broken_off",
    "compressed",
    "elsewhere",
    "fault_of_answer",
    "fault_of_exception",
    "not_found",
    "not_sent",
    "too_large",
    "unreadable",
]

_OK = 200
_REDIRECT = next(row for row in ANSWERS if row.kind == "redirect")
_ENDING: dict[Action, type[ProviderError]] = {
    Action.STOP_JOB: BadRequestError,
    Action.STOP_TIER: ModelGoneError,
    Action.STOP_RUN: AccountError,
}


def fault_of_answer(
    status: int, headers: Mapping[str, str], body: bytes, *, says: str = ""
) -> ProviderError:
    """Return the error that a complete answer other than 200 stands for; it cost nothing.

    Args:
        status: Its HTTP status.
        headers: Its headers.
        body: Its body, whatever it is.
        says: How the message begins; by default with who answered what.

    Only 200 is billed by published practice; a 2xx that is not 200 has no defined meaning, so
    nobody can know what it cost.
    """
    answer = read_error(status, headers, body)
    for row in ANSWERS:
        first, last = row.statuses
        if first <= status <= last and row.applies(answer):
            text = plain_text(answer.message) or "no message"
            text = f"{says or f'The provider answered {status}'}: {text} {row.advice}".strip()
            if row.action in _ENDING:
                return _ENDING[row.action](text, kind=row.kind, status=status)
            named = answer.retry_after_seconds()
            wait = row.wait_seconds if named is None else named
            return _transient(row, text, status=status, retry_after_seconds=wait)
    return _transient(
        NO_MEANING,
        f"The provider answered {status}, which is no answer to a generation call; "
        "what it cost is unknown.",
        status=status,
        body=body,
    )


def fault_of_exception(
    error: Exception, *, timeout_seconds: float, is_free: bool = False
) -> TransientError:
    """Return the transient fault that an exception of the HTTP stack stands for.

    A connection that was never made sent nothing and cost nothing. After that nobody can know,
    unless the method is free.
    """
    name = type(error).__name__
    billing = "" if is_free else " Whether it is billed is unknown."
    if _is_before_sending(error):
        return _transient(
            NO_CONNECTION, f"No connection to the provider ({name}): {plain_text(str(error))}"
        )
    if isinstance(error, TimeoutError) or "Timeout" in name:
        text = f"No complete answer within {timeout_seconds:g} s.{billing}"
        return _transient(NO_END, text, is_free=is_free)
    return _transient(BROKEN_OFF, f"The answer broke off ({name}).{billing}", is_free=is_free)


def not_found(error: ModelGoneError) -> BadRequestError:
    """Return what a 404 means where no model was asked for."""
    words = str(error)
    for row in ANSWERS:
        if row.kind == error.kind:
            words = words.removesuffix(row.advice).strip()
    return BadRequestError(words, kind=NOT_FOUND.kind, status=error.status)


def not_sent(reason: str) -> BadRequestError:
    """Return the fault of a request that the SDK did not like."""
    return BadRequestError(
        f"The SDK refused the request before sending it: {reason}", kind=NOT_SENT.kind
    )


def unreadable(reason: str = "", *, is_free: bool = False, body: bytes = b"") -> TransientError:
    """Return the fault that a 200 stands for which nobody could read.

    Args:
        reason: Why, in a few words.
        is_free: Whether the method costs nothing anyway.
        body: What came, for quarantine.
    """
    why = f" ({reason})" if reason else ""
    billing = "" if is_free else "; what it cost is unknown"
    return _transient(
        UNREADABLE,
        f"The provider answered 200 without a readable answer{why}{billing}.",
        status=_OK,
        is_free=is_free,
        body=body,
    )


def bad_line(reason: str, *, body: bytes = b"") -> TransientError:
    """Return the fault of a line of results that nobody could read.

    Args:
        reason: Why, in a few words.
        body: What came, for quarantine.
    """
    return _transient(
        BAD_LINE,
        f"A line of the results cannot be read ({reason}); what it cost is unknown.",
        body=body,
    )


def broken_off(reason: str) -> TransientError:
    """Return the fault of a file that did not arrive whole; bringing files is free."""
    return _transient(BROKEN_OFF, f"The file did not arrive whole: {reason}.", is_free=True)


def elsewhere(url: str) -> TransientError:
    """Return the fault of an upload that is to go to another server."""
    return _transient(
        _REDIRECT,
        f"The provider sent the file to {plain_text(host_of(url))}, another server: not followed.",
        status=_OK,
    )


def compressed(*, is_free: bool = False) -> TransientError:
    """Return the fault of a 200 that is compressed: unpacking it could fill the memory."""
    billing = "" if is_free else "; its cost is unknown"
    return _transient(
        COMPRESSED,
        f"The answer is compressed although identity was asked for{billing}.",
        status=_OK,
        is_free=is_free,
    )


def too_large(cap_bytes: int) -> TransientError:
    """Return the fault of a 200 that does not end."""
    return _transient(
        TOO_LARGE,
        f"The answer is larger than {cap_bytes // 1024**2} MiB; its cost is unknown.",
        status=_OK,
    )


def _transient(
    fault: Fault,
    text: str,
    *,
    status: int | None = None,
    is_free: bool = False,
    retry_after_seconds: float | None = None,
    body: bytes = b"",
) -> TransientError:
    return TransientError(
        text,
        kind=fault.kind,
        status=status,
        is_unknown_money=fault.cost is Cost.UNKNOWN and not is_free,
        slow_down=fault.action is Action.SLOW_DOWN,
        retry_after_seconds=retry_after_seconds,
        body=body,
    )


_NOTHING_SENT = {
    "ConnectError",  # httpx2
    "ConnectTimeout",
    "InvalidURL",
    "PoolTimeout",
    "ProxyError",
    "UnsupportedProtocol",
    "ClientConnectorError",  # aiohttp, under a caller's own client
    "ConnectionTimeoutError",
    "InvalidUrlClientError",
}
_NO_CLIENT = ("client has been closed", "Session is closed", "no running event loop")


def _is_before_sending(error: Exception) -> bool:
    """Compare by name: which HTTP stack a caller's client has is the caller's choice."""
    if isinstance(error, RuntimeError):
        return any(words in str(error) for words in _NO_CLIENT)
    return any(kind.__name__ in _NOTHING_SENT for kind in type(error).__mro__)
