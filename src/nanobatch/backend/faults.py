"""The one table that says what each failure of a call means and who must act."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from nanobatch.backend.foreign import Json, as_object, objects_in, plain_text, text_of
from nanobatch.errors import (
    AccountError,
    BadRequestError,
    ModelGoneError,
    ProviderError,
    TransientError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["fault_of_answer", "fault_of_exception", "unreadable"]

MAX_RETRY_AFTER_SECONDS = 600.0
_MAX_READ_CHARACTERS = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """A complete HTTP answer that is no success, with what Google puts into its body."""

    status: int
    word: str
    """`error.status`, such as `RESOURCE_EXHAUSTED`."""
    message: str
    """On one line, not yet cut for people."""
    details: tuple[Json, ...]
    retry_after_header: str

    def quota_ids(self) -> list[str]:
        return [
            text_of(violation.get("quotaId"))
            for detail in self.details
            for violation in objects_in(detail.get("violations"))
        ]

    def reasons(self) -> list[str]:
        return [text_of(detail.get("reason")) for detail in self.details]

    def retry_after_seconds(self) -> float | None:
        """The longest wait the provider names, clamped to ten minutes; `None` if none makes sense.

        Body and header can differ, and both can be nonsense.
        """
        named = [detail["retryDelay"] for detail in self.details if "retryDelay" in detail]
        waits = [_seconds(value) for value in (*named, self.retry_after_header)]
        return max((wait for wait in waits if wait is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One row of the table: the first row whose status and test fit decides."""

    status: tuple[int, int]
    kind: str
    error: type[ProviderError]
    test: Callable[[_Answer], bool] = lambda _: True
    slow_down: bool = False
    advice: str = ""


def _says(*words: str) -> Callable[[_Answer], bool]:
    return lambda answer: any(word in answer.message.lower() for word in words)


# Source: https://ai.google.dev/gemini-api/docs/troubleshooting and the errors that users quote on
# https://discuss.ai.google.dev, collected 2026-11-23; no live check.
# The HTTP status decides before `error.status`: an empty prepay account is 402 RESOURCE_EXHAUSTED.
_TABLE = (
    _Row(
        status=(400, 400),
        kind="invalid_key",
        error=AccountError,
        test=lambda a: "API_KEY_INVALID" in a.reasons() or _says("api key not valid")(a),
        advice="Check the API key.",
    ),
    _Row(
        status=(400, 400),
        kind="precondition",
        error=AccountError,
        test=lambda a: a.word == "FAILED_PRECONDITION",
        advice="The account must be set up first (billing, region).",
    ),
    _Row(status=(400, 400), kind="bad_request", error=BadRequestError),
    _Row(status=(401, 401), kind="invalid_key", error=AccountError, advice="Check the API key."),
    _Row(
        status=(402, 402),
        kind="no_credit",
        error=AccountError,
        advice="Top up the account, then run again: what is done stays done.",
    ),
    _Row(
        status=(403, 403),
        kind="permission",
        error=AccountError,
        advice="Check the key's permissions and restrictions.",
    ),
    _Row(
        status=(404, 404),
        kind="model_gone",
        error=ModelGoneError,
        advice="Switch the model in the registry's config.",
    ),
    _Row(status=(408, 408), kind="server_timeout", error=TransientError, slow_down=True),
    _Row(
        status=(429, 429),
        kind="no_credit",
        error=AccountError,
        test=_says("prepayment credits"),
        advice="Top up the account, then run again: what is done stays done.",
    ),
    _Row(
        status=(429, 429),
        kind="quota_zero",
        error=AccountError,
        test=lambda a: re.search(r"limit: 0(?!\.?\d)", a.message) is not None,
        advice="This account has no quota for the model: a paid tier is needed.",
    ),
    _Row(
        status=(429, 429),
        kind="daily_quota",
        error=AccountError,
        # The quota id is trusted over RetryInfo: daily violations come with delays of seconds.
        test=lambda a: any("PerDay" in quota_id for quota_id in a.quota_ids()),
        advice="Run again after midnight Pacific time, when the daily quota is reset.",
    ),
    _Row(status=(429, 429), kind="rate_limit", error=TransientError, slow_down=True),
    _Row(status=(400, 499), kind="bad_request", error=BadRequestError),
    _Row(status=(503, 503), kind="overloaded", error=TransientError, slow_down=True),
    _Row(status=(500, 599), kind="server_error", error=TransientError),
    _Row(status=(300, 399), kind="redirect", error=TransientError),
)


def fault_of_answer(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """Return the error that a complete answer other than 200 stands for; it cost nothing.

    Only 200 is billed by published practice; a 2xx that is not 200 has no defined meaning, so
    nobody can know what it cost.
    """
    answer = _read(status, headers, body)
    for row in _TABLE:
        low, high = row.status
        if low <= status <= high and row.test(answer):
            text = f"The provider answered {status}: {plain_text(answer.message) or 'no message'}"
            text = f"{text} {row.advice}".strip()
            if row.error is TransientError:
                return TransientError(
                    text,
                    kind=row.kind,
                    status=status,
                    slow_down=row.slow_down,
                    retry_after_seconds=answer.retry_after_seconds(),
                )
            return row.error(text, kind=row.kind, status=status)
    return TransientError(
        f"The provider answered {status}, which is no answer to a generation call; "
        "what it cost is unknown.",
        kind="protocol",
        status=status,
        is_unknown_money=True,
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
        return TransientError(
            f"No connection to the provider ({name}): {plain_text(str(error))}", kind="connect"
        )
    if isinstance(error, TimeoutError) or "Timeout" in name:
        return TransientError(
            f"No complete answer within {timeout_seconds:g} s.{billing}",
            kind="timeout",
            is_unknown_money=not is_free,
        )
    return TransientError(
        f"The answer broke off ({name}).{billing}",
        kind="connection_lost",
        is_unknown_money=not is_free,
    )


def unreadable(reason: str, *, is_free: bool) -> TransientError:
    """Return the fault that a 200 stands for which the SDK could not read."""
    billing = "" if is_free else "; what it cost is unknown"
    return TransientError(
        f"The provider answered 200 without a readable answer ({reason}){billing}.",
        kind="unreadable",
        status=200,
        is_unknown_money=not is_free,
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


def _read(status: int, headers: Mapping[str, str], body: bytes) -> _Answer:
    try:
        parsed: Any = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    first = objects_in(parsed)[:1] or [as_object(parsed)]
    error = as_object(first[0].get("error"))
    message = text_of(error.get("message"))
    if not error:
        is_text = not body.lstrip().startswith(b"<")
        message = body[:4096].decode("utf-8", "replace") if is_text else "an HTML page"
    if status // 100 == 3:  # noqa: PLR2004 - the class of redirects
        message = f"a redirect to {_host(headers.get('location', ''))}, which is not followed."
    return _Answer(
        status=status,
        word=text_of(error.get("status")),
        message=plain_text(message, _MAX_READ_CHARACTERS),
        details=tuple(objects_in(error.get("details"))),
        retry_after_header=headers.get("retry-after", ""),
    )


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "the same host"
    except ValueError:
        return "an invalid address"


def _seconds(value: object) -> float | None:
    if not isinstance(value, str | int | float):
        return None
    try:
        seconds = float(str(value).strip().removesuffix("s"))
    except ValueError:
        return None
    if math.isnan(seconds) or seconds < 0:
        return None
    return min(seconds, MAX_RETRY_AFTER_SECONDS)
