"""Our own tolerant reading of an answer that was paid for: usage and images, nothing else needed.

The SDK's models refuse a whole answer for one field they do not know or cannot convert; here a
surprising field costs at most that field.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pydantic_core

from nanobatch.backend.foreign import Json, as_object, objects_in, text_of
from nanobatch.backend.protocol import Reply
from nanobatch.errors import TransientError
from nanobatch.models import TokenUsage

__all__ = ["read_answer"]

MAX_TEXT_CHARACTERS = 4_000
MAX_WORD_CHARACTERS = 200
MAX_COUNT = 10**12
_MEANINGFUL = ("candidates", "promptFeedback", "usageMetadata")


def read_answer(body: bytes | str, *, latency_seconds: float) -> Reply:
    """Read the body of a 200 answer.

    Raises:
        TransientError: It is empty, not JSON or not an answer; what it cost is unknown.
    """
    answer = as_object(_parsed(body))
    if not any(key in answer for key in _MEANINGFUL):
        raise TransientError(
            "The provider answered 200 without a readable answer; what it cost is unknown.",
            kind="unreadable",
            status=200,
            is_unknown_money=True,
            body=body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body,
        )
    candidates = objects_in(answer.get("candidates"))
    parts = [
        part
        for candidate in candidates
        for part in objects_in(as_object(candidate.get("content")).get("parts"))
    ]
    images = _images(parts)
    texts = [text_of(part.get("text")) for part in parts]
    texts += [text_of(candidate.get("finishMessage")) for candidate in candidates]
    first = candidates[0] if candidates else {}
    return Reply(
        images=images,
        usage=_usage(as_object(answer.get("usageMetadata")), has_image=bool(images)),
        finish_reason=text_of(first.get("finishReason"), MAX_WORD_CHARACTERS),
        text="\n".join(text for text in texts if text)[:MAX_TEXT_CHARACTERS],
        response_id=text_of(answer.get("responseId"), MAX_WORD_CHARACTERS),
        latency_seconds=latency_seconds,
        block_reason=text_of(
            as_object(answer.get("promptFeedback")).get("blockReason"), MAX_WORD_CHARACTERS
        ),
    )


def _parsed(body: bytes | str) -> object:
    parsed: Any = None
    try:
        parsed = pydantic_core.from_json(body)
    except (ValueError, TypeError):  # TypeError: a str that is not UTF-8
        try:
            # Five times slower, but half an emoji in some text does not cost the whole answer.
            parsed = json.loads(body if isinstance(body, str) else body.decode("utf-8"))
        except (ValueError, RecursionError):
            parsed = None
    return parsed


def _images(parts: list[Json]) -> tuple[bytes, ...]:
    """Return the images of an answer, the candidate last: thoughts first, then in their order."""
    found: list[tuple[bool, bytes]] = []
    for part in parts:
        blob = as_object(part.get("inlineData")) or as_object(part.get("inline_data"))
        base64_text = blob.get("data")
        if isinstance(base64_text, str) and base64_text:
            found.append((bool(part.get("thought")), _decoded(base64_text)))
    found.sort(key=lambda item: not item[0])  # it is stable
    return tuple(image for _, image in found)


def _decoded(text: str) -> bytes:
    """Return the bytes of a base64 text of either alphabet, with or without padding.

    Text that is no base64 comes back as it is: it is judged as a broken image, not lost.
    """
    standard = text.translate({45: "+", 95: "/"}) if "-" in text or "_" in text else text
    try:
        image = base64.b64decode(standard + "==")  # surplus padding is ignored
    except ValueError:
        image = b""
    return image or text.encode("utf-8", "backslashreplace")


def _usage(raw: Json, *, has_image: bool) -> TokenUsage | None:
    """Return the token counts, or `None` when they are missing or do not add up.

    All output that is not IMAGE is text: `candidatesTokenCount` leaves out thinking, and on
    refusals repeats it, so only `totalTokenCount - promptTokenCount` is a sound output total.
    """
    prompt, total = _count(raw.get("promptTokenCount")), _count(raw.get("totalTokenCount"))
    candidates = _count(raw.get("candidatesTokenCount"))
    thoughts = _count(raw.get("thoughtsTokenCount"))
    if prompt is None:
        return None
    if total is None:
        total = prompt + (candidates or 0) + (thoughts or 0)
    image = sum(
        _count(detail.get("tokenCount")) or 0
        for detail in objects_in(raw.get("candidatesTokensDetails"))
        if detail.get("modality") == "IMAGE"
    )
    text = total - prompt - image
    if text < (thoughts or 0) or (has_image and image == 0):
        return None  # billing image tokens at the text rate would understate the cost 20 times
    return TokenUsage(
        prompt_tokens=prompt, image_tokens=image, text_tokens=text, thought_tokens=thoughts
    )


def _count(value: object) -> int | None:
    """Return a token count from what may be an int, an integral float or a string of digits."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = float(value)  # unlike int(), it takes any number of digits
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and 0 <= value < MAX_COUNT else None
