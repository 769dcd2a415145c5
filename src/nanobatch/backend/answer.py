"""Our own tolerant reading of an answer that was paid for: usage and images, nothing else needed.

The SDK's models refuse a whole answer for one field they do not know or cannot convert; here a
surprising field costs at most that field.
"""

from __future__ import annotations

import binascii
import json
from typing import TYPE_CHECKING, Any

import pydantic_core

from nanobatch.backend.foreign import Json, as_object, number_of, objects_in, shown_text
from nanobatch.backend.protocol import Reply
from nanobatch.backend.translate import unreadable
from nanobatch.models import TokenUsage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from mmap import mmap

__all__ = ["is_answer", "names_twice", "parsed", "read_answer", "reply_of", "worth_keeping"]

MAX_TEXT_CHARACTERS = 4_000
MAX_WORD_CHARACTERS = 200
MAX_VALUES = 200_000
"""Most values in one answer: real ones have some dozens, and 64 MiB of `[],[],` become 2 GiB."""
MAX_KEPT_BYTES = 24 * 1024 * 1024
"""Most that is kept of an answer with an image that nobody can read: one of 4K fits."""
MAX_KEPT_TEXT_BYTES = 1024 * 1024
"""Most that is kept of one without: enough to see what it was, and no flood fills the memory."""
_IMAGE_KEYS = (b"inlineData", b"inline_data")
_MAX_BLANKS = 1_024
_MAX_SECOND_LOOK_BYTES = 32 * 1024 * 1024  # enough for a 4K image; it takes as much memory again
_MEANINGFUL = ("candidates", "promptFeedback", "usageMetadata")


def read_answer(
    body: bytes | str, *, images: Mapping[str, bytes] | None = None, latency_seconds: float
) -> Reply:
    """Read the body of a 200 answer.

    Args:
        body: The JSON.
        images: Images that were cut out of it, by the text that stands in their place.
        latency_seconds: How long it took.

    Raises:
        TransientError: It is empty, not JSON or not an answer; what it cost is unknown.
    """
    answer = as_object(parsed(body))
    if not is_answer(answer):
        raw = _as_bytes(body)
        raise unreadable(body=raw[: worth_keeping(raw)])
    return reply_of(
        answer,
        images=images or {},
        has_two_usages=names_twice(body, "usageMetadata"),
        latency_seconds=latency_seconds,
    )


def is_answer(answer: Json) -> bool:
    """Return whether a JSON object has anything of an answer."""
    return any(key in answer for key in _MEANINGFUL)


def reply_of(
    answer: Json, *, images: Mapping[str, bytes], has_two_usages: bool, latency_seconds: float
) -> Reply:
    """Return what an answer says.

    Args:
        answer: The JSON object.
        images: Images that were cut out of it, by the text that stands in their place.
        has_two_usages: Whether its usage may stand there twice: then nobody can know which one is
            billed.
        latency_seconds: How long it took.
    """
    candidates = objects_in(answer.get("candidates"))
    parts = [
        part
        for candidate in candidates
        for part in objects_in(as_object(candidate.get("content")).get("parts"))
    ]
    found = _images(parts, images)
    texts = [shown_text(part.get("text")) for part in parts]
    texts += [shown_text(candidate.get("finishMessage")) for candidate in candidates]
    first = candidates[0] if candidates else {}
    return Reply(
        images=found,
        usage=None if has_two_usages else _usage(answer, has_image=bool(found)),
        finish_reason=shown_text(first.get("finishReason"), MAX_WORD_CHARACTERS),
        text="\n".join(text for text in texts if text)[:MAX_TEXT_CHARACTERS],
        response_id=shown_text(answer.get("responseId"), MAX_WORD_CHARACTERS),
        latency_seconds=latency_seconds,
        block_reason=shown_text(
            as_object(answer.get("promptFeedback")).get("blockReason"), MAX_WORD_CHARACTERS
        ),
    )


def worth_keeping(body: bytes | mmap) -> int:
    """Return how many bytes are worth keeping of an answer that nobody can read."""
    has_image = any(body.find(key) >= 0 for key in _IMAGE_KEYS)
    return MAX_KEPT_BYTES if has_image else MAX_KEPT_TEXT_BYTES


def _as_bytes(body: bytes | str) -> bytes:
    return body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body


def parsed(body: bytes | str) -> object:
    """Return the JSON object of an answer; `None` if it is none, or too much of one."""
    value: Any = None
    raw = _as_bytes(body)
    is_object = raw[:_MAX_BLANKS].lstrip().startswith(b"{")
    if not is_object or sum(map(raw.count, (b",", b"[", b"{"))) > MAX_VALUES:
        return None
    try:
        value = pydantic_core.from_json(body)
    except (ValueError, TypeError):  # TypeError: a str that is not UTF-8
        if len(raw) > _MAX_SECOND_LOOK_BYTES:
            return None
        try:
            # Five times slower, but half an emoji in some text does not cost the whole answer.
            value = json.loads(body if isinstance(body, str) else body.decode("utf-8"))
        except (ValueError, RecursionError):
            value = None
    return value


def _images(parts: list[Json], cut: Mapping[str, bytes]) -> tuple[bytes, ...]:
    """Return the images of an answer, the candidate last: thoughts first, then in their order."""
    found: list[tuple[bool, bytes]] = []
    for part in parts:
        blob = as_object(part.get("inlineData")) or as_object(part.get("inline_data"))
        base64_text = blob.get("data")
        if isinstance(base64_text, str) and base64_text:
            image = cut.get(base64_text) or _decoded(base64_text)
            found.append((bool(part.get("thought")), image))
    found.sort(key=lambda item: not item[0])  # it is stable
    return tuple(image for _, image in found)


def _decoded(text: str) -> bytes:
    """Return the bytes of a base64 text of either alphabet, with or without padding.

    Text that is no base64 comes back as it is: it is judged as a broken image, not lost.
    """
    standard = text.translate({45: "+", 95: "/"}) if "-" in text or "_" in text else text
    try:
        image = binascii.a2b_base64(standard, strict_mode=True)
    except ValueError:
        image = _decoded_loosely(standard)
    return image or text.encode("utf-8", "backslashreplace")


def _decoded_loosely(text: str) -> bytes:
    """Return the bytes of a base64 text with white space, or too much or too little padding."""
    digits = "".join(text.split()).rstrip("=")
    try:
        # Without strict mode Python skips whatever is no digit and makes up other bytes.
        return binascii.a2b_base64(digits + "=" * (-len(digits) % 4), strict_mode=True)
    except ValueError:
        return b""


def names_twice(body: bytes | str, key: str) -> bool:
    """Return whether a key stands twice in a JSON text, at whatever depth.

    Within a JSON text the quotes would be escaped, so only a key (or a text of just that word)
    is found. Of most keys that stand twice the last one counts, as JSON readers do.
    """
    quoted = f'"{key}"'
    if isinstance(body, str):
        return body.count(quoted) > 1
    return body.count(quoted.encode()) > 1


def _usage(answer: Json, *, has_image: bool) -> TokenUsage | None:
    """Return the token counts, or `None` when they are missing or do not add up.

    All output that is not IMAGE is text: `candidatesTokenCount` leaves out thinking, and on
    refusals repeats it, so only `totalTokenCount - promptTokenCount` is a sound output total.
    """
    raw = as_object(answer.get("usageMetadata"))
    prompt, total = number_of(raw.get("promptTokenCount")), number_of(raw.get("totalTokenCount"))
    candidates = number_of(raw.get("candidatesTokenCount"))
    thoughts = number_of(raw.get("thoughtsTokenCount"))
    if prompt is None:
        return None
    if total is None:
        total = prompt + (candidates or 0) + (thoughts or 0)
    image = sum(
        number_of(detail.get("tokenCount")) or 0
        for detail in objects_in(raw.get("candidatesTokensDetails"))
        if detail.get("modality") == "IMAGE"
    )
    text = total - prompt - image
    if text < (thoughts or 0) or (has_image and image == 0):
        return None  # billing image tokens at the text rate would understate the cost 20 times
    return TokenUsage(
        prompt_tokens=prompt, image_tokens=image, text_tokens=text, thought_tokens=thoughts
    )
