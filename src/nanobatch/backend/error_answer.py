"""What an error answer says: Google's JSON, read with the suspicion foreign text deserves."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nanobatch.backend.address import host_of
from nanobatch.backend.foreign import Json, as_object, objects_in, plain_text, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ErrorAnswer", "read_error"]

MAX_RETRY_AFTER_SECONDS = 600.0
_MAX_READ_CHARACTERS = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorAnswer:
    """A complete HTTP answer that is no success, with what Google puts into its body."""

    status: int
    word: str
    """`error.status`, such as `RESOURCE_EXHAUSTED`."""
    message: str
    """On one line, not yet cut for people."""
    details: tuple[Json, ...]
    retry_after_header: str

    def says(self, *words: str) -> bool:
        """Return whether the message holds one of these words, in lower case."""
        return any(word in self.message.lower() for word in words)

    def quota_ids(self) -> list[str]:
        """Return the ids of the quotas that were exceeded."""
        return [
            text_of(violation.get("quotaId"))
            for detail in self.details
            for violation in objects_in(detail.get("violations"))
        ]

    def reasons(self) -> list[str]:
        """Return the reasons it names, such as `API_KEY_INVALID`."""
        return [text_of(detail.get("reason")) for detail in self.details]

    def retry_after_seconds(self) -> float | None:
        """Return the longest wait it names, at most ten minutes; `None` if none makes sense.

        Body and header can differ, and both can be nonsense.
        """
        named = [detail["retryDelay"] for detail in self.details if "retryDelay" in detail]
        waits = [_seconds(value) for value in (*named, self.retry_after_header)]
        return max((wait for wait in waits if wait is not None), default=None)


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> ErrorAnswer:
    """Read an answer that is no success, whatever its body is; never raises."""
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
        message = f"a redirect to {host_of(headers.get('location', ''))}, which is not followed."
    return ErrorAnswer(
        status=status,
        word=text_of(error.get("status")),
        message=plain_text(message, _MAX_READ_CHARACTERS),
        details=tuple(objects_in(error.get("details"))),
        retry_after_header=headers.get("retry-after", ""),
    )


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
