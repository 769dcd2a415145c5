"""Looks into JSON and text that somebody else wrote, where anything may be anything."""

from __future__ import annotations

import re
from typing import Any, cast

from nanobatch.models.usage import MAX_TOKENS

__all__ = ["Json", "as_object", "number_of", "objects_in", "plain_text", "shown_text", "text_of"]

Json = dict[str, Any]

MAX_MESSAGE_CHARACTERS = 600
_MAX_READ_CHARACTERS = 64 * 1024
_KEYS = re.compile(r"AIza[\w-]{20,}|\bAQ\.[\w.-]{20,}|(?i:(?<=key[=:])|(?<=bearer ))[\w.~-]{8,}")


def as_object(value: object) -> Json:
    """Return a JSON object; an empty one if it is something else."""
    return cast("Json", value) if isinstance(value, dict) else {}


def objects_in(value: object) -> list[Json]:
    """Return the objects of a JSON list; nothing if it is something else."""
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("Json", item) for item in items if isinstance(item, dict)]


def number_of(value: object) -> int | None:
    """Return a count from what may be an int, an integral float or a string of digits."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = float(value)  # unlike int(), it takes any number of digits
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and 0 <= value < MAX_TOKENS else None


def text_of(value: object, limit: int = _MAX_READ_CHARACTERS) -> str:
    """Return a JSON string, cut and fit for UTF-8; an empty one if it is something else."""
    if not isinstance(value, str):
        return ""
    return value[:limit].encode("utf-8", "backslashreplace").decode("utf-8")[:limit]


def shown_text(value: object, limit: int = _MAX_READ_CHARACTERS) -> str:
    """Return a JSON string that a terminal can show: no control characters but line ends."""
    text = text_of(value, limit)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def plain_text(text: str, limit: int = MAX_MESSAGE_CHARACTERS) -> str:
    """Return foreign text fit for a message: one line, no control characters, no key, cut."""
    text = _KEYS.sub("[key]", text_of(text))
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
