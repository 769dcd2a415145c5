"""Our own tolerant reading of an answer that was paid for: usage and images, nothing else needed.

The SDK's models refuse a whole answer for one field they do not know or cannot convert; here a
surprising field costs at most that field.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, cast

import pydantic_core

from nanobatch.backend.protocol import Reply
from nanobatch.errors import TransientError
from nanobatch.models import TokenUsage

__all__ = ["read_answer"]

MAX_TEXT_CHARACTERS = 4_000
_MEANINGFUL = ("candidates", "promptFeedback", "usageMetadata")


def read_answer(body: bytes | str, *, latency_seconds: float) -> Reply:
    """Read the body of a 200 answer.

    Raises:
        TransientError: It is empty, not JSON or not an answer; what it cost is unknown.
    """
    try:
        parsed: Any = pydantic_core.from_json(body)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict) or not any(key in parsed for key in _MEANINGFUL):
        raise TransientError(
            "The provider answered 200 without a readable answer; what it cost is unknown.",
            kind="unreadable",
            status=200,
            is_unknown_money=True,
            body=body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body,
        )
    answer = cast("dict[str, Any]", parsed)
    candidates = _dicts(answer.get("candidates"))
    parts = [part for candidate in candidates for part in _parts(candidate)]
    images = _images(parts)
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    notes = [c["finishMessage"] for c in candidates if isinstance(c.get("finishMessage"), str)]
    finish = candidates[0].get("finishReason") if candidates else None
    feedback = answer.get("promptFeedback")
    block = feedback.get("blockReason") if isinstance(feedback, dict) else None
    return Reply(
        images=images,
        usage=_usage(answer.get("usageMetadata"), has_image=bool(images)),
        finish_reason=finish if isinstance(finish, str) else "",
        text="\n".join(texts + notes)[:MAX_TEXT_CHARACTERS],
        response_id=str(answer.get("responseId") or "")[:200],
        latency_seconds=latency_seconds,
        block_reason=block if isinstance(block, str) else "",
    )


def _images(parts: list[dict[str, Any]]) -> tuple[bytes, ...]:
    """Return the images of an answer, the candidate last: thoughts first, then in their order."""
    found: list[tuple[bool, bytes]] = []
    for part in parts:
        blob = part.get("inlineData") or part.get("inline_data")
        if isinstance(blob, dict) and isinstance(blob.get("data"), str):
            found.append((bool(part.get("thought")), _decoded(blob["data"])))
    return tuple(
        image for _, image in sorted(found, key=lambda item: not item[0])
    )  # sorted() is stable


def _decoded(text: str) -> bytes:
    """Return the bytes of a base64 text of either alphabet.

    Text that is no base64 comes back as it is: it is judged as a broken image, not lost.
    """
    if "-" in text or "_" in text:
        text = text.translate({45: "+", 95: "/"})
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return text.encode("utf-8", "backslashreplace")


def _usage(raw: object, *, has_image: bool) -> TokenUsage | None:
    """Return the token counts, or `None` when they are missing or do not add up.

    All output that is not IMAGE is text: `candidatesTokenCount` leaves out thinking, and on
    refusals repeats it, so only `totalTokenCount - promptTokenCount` is a sound output total.
    """
    if not isinstance(raw, dict):
        return None
    prompt, total = _count(raw.get("promptTokenCount")), _count(raw.get("totalTokenCount"))
    candidates, thoughts = (
        _count(raw.get("candidatesTokenCount")),
        _count(raw.get("thoughtsTokenCount")),
    )
    if prompt is None:
        return None
    if total is None:
        total = prompt + (candidates or 0) + (thoughts or 0)
    output = total - prompt
    image = sum(
        _count(detail.get("tokenCount")) or 0
        for detail in _dicts(raw.get("candidatesTokensDetails"))
        if detail.get("modality") == "IMAGE"
    )
    if output < image or (has_image and image == 0):
        return None  # billing image tokens at the text rate would understate the cost 20 times
    return TokenUsage(
        prompt_tokens=prompt,
        image_tokens=image,
        text_tokens=output - image,
        thought_tokens=thoughts,
    )


def _count(value: object) -> int | None:
    """Return a token count from what may be an int, an integral float or a string of digits."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and 0 <= value < 10**12 else None


def _parts(candidate: dict[str, Any]) -> list[dict[str, Any]]:
    content = candidate.get("content")
    return _dicts(content.get("parts")) if isinstance(content, dict) else []


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
