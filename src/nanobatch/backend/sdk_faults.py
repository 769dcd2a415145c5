"""What the SDK raised, as one of our errors; it repeats no key and no image."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from nanobatch.backend.foreign import as_object, plain_text, text_of
from nanobatch.backend.translate import (
    fault_of_answer,
    fault_of_exception,
    not_sent,
    unreadable,
)
from nanobatch.errors import ProviderError

if TYPE_CHECKING:
    from google.genai import errors

__all__ = ["fault_of_sdk"]


def fault_of_sdk(error: Exception, seconds: float, *, is_free: bool = False) -> ProviderError:
    """Translate what the SDK or its HTTP stack raised, once and for all."""
    if isinstance(error, ProviderError):  # from our transport
        return error.with_traceback(None)  # its frames hold the body, and the SDK's hold the key
    from google.genai import errors  # noqa: PLC0415 - loaded by now

    if isinstance(error, errors.APIError):
        return _fault_of_answer(error)
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return unreadable(type(error).__name__, is_free=is_free)
    # aiohttp's word for a certificate that nobody trusts is both.
    if isinstance(error, ValueError | TypeError) and not isinstance(error, OSError):
        return not_sent(_complaint(error))
    return fault_of_exception(error, timeout_seconds=seconds, is_free=is_free)


def _fault_of_answer(error: errors.APIError) -> ProviderError:
    """Translate an error answer that came through a caller's own client."""
    raised = cast("Any", error)
    text = text_of(as_object(raised.details).get("message"))  # how the SDK wraps what is no JSON
    body = text or json.dumps(raised.details, default=str)
    return fault_of_answer(
        int(raised.code), getattr(raised.response, "headers", None) or {}, body.encode()
    )


def _complaint(error: Exception) -> str:
    """Say what the SDK did not like, without repeating it: it may be an image."""
    if isinstance(error, ValidationError):
        found = error.errors(include_input=False, include_url=False, include_context=False)
        return "; ".join(f"{one['loc'][-1] if one['loc'] else ''}: {one['msg']}" for one in found)
    return plain_text(str(error))
