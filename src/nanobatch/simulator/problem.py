"""The error answers of Gemini: one place for their texts, used by validation and by `answers`.

Source: texts and details as seen on the wire and on Google's forum, collected 2026-11-23
(https://ai.google.dev/gemini-api/docs/troubleshooting, https://discuss.ai.google.dev).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Problem",
    "deadline_passed",
    "detail",
    "invalid_key",
    "missing_key",
    "model_not_found",
    "model_withdrawn",
    "not_simulated",
    "unknown_name",
]

_TYPE = "type.googleapis.com/google.rpc."
_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "CANCELLED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Problem(Exception):  # noqa: N818 - an answer on the wire, not an error of this program
    """A request that gets an error answer."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        word: str = "",
        details: Sequence[dict[str, Any]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status."""
        self.message = message
        """What a person reads."""
        self.word = word or _WORDS.get(status, "UNKNOWN")
        """`error.status`, such as `NOT_FOUND`."""
        self.details = tuple(details)
        """`error.details`: typed extras."""

    def body(self) -> bytes:
        """Return the JSON body."""
        error: dict[str, Any] = {
            "code": self.status,
            "message": self.message,
            "status": self.word,
        }
        if self.details:
            error["details"] = list(self.details)
        return json.dumps({"error": error}, indent=2).encode()


def detail(name: str, **fields: object) -> dict[str, Any]:
    """Return one typed entry of `error.details`."""
    return {"@type": f"{_TYPE}{name}", **fields}


def unknown_name(name: str, at: str = "") -> Problem:
    """A field that does not exist, such as `numberOfImages`."""
    where = f" at '{at}'" if at else ""
    text = f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
    violation: dict[str, Any] = {"description": text}
    if at:
        violation = {"field": at, **violation}
    return Problem(400, text, details=[detail("BadRequest", fieldViolations=[violation])])


def invalid_key() -> Problem:
    """A key that does not exist."""
    return Problem(
        400,
        "API key not valid. Please pass a valid API key.",
        details=[
            detail(
                "ErrorInfo",
                reason="API_KEY_INVALID",
                domain="googleapis.com",
                metadata={"service": "generativelanguage.googleapis.com"},
            )
        ],
    )


def missing_key() -> Problem:
    """No key at all."""
    return Problem(
        403,
        "Method doesn't allow unregistered callers (callers without established identity). "
        "Please use API Key or other form of API consumer identity to call this API.",
    )


def model_not_found(model: str, *, version: str, method: str = "generateContent") -> Problem:
    """A model that never was, or that has no such method."""
    return Problem(
        404,
        f"models/{model} is not found for API version {version}, or is not supported for "
        f"{method}. Call ModelService.ListModels to see the list of available models and their "
        "supported methods.",
    )


def model_withdrawn(model: str) -> Problem:
    """A model that has been retired."""
    return Problem(
        404,
        f"This model models/{model} is no longer available to new users. Please update your code "
        "to use a newer model for the latest features and improvements.",
    )


def deadline_passed() -> Problem:
    """The time the client gave in `X-Server-Timeout` is over."""
    return Problem(504, "Deadline expired before operation could complete.")


def not_simulated(method: str, path: str) -> Problem:
    """A part of the API that this simulator does not have."""
    return Problem(404, f"The simulator does not serve {method} {path}.")
