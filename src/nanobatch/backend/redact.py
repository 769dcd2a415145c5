"""The key does not come back in: answers that repeat it, and logs of such answers, lose it."""

from __future__ import annotations

import base64
import json
import logging
from urllib.parse import quote, quote_plus

__all__ = ["KeyLogFilter", "Redactor"]

PLACEHOLDER = "[key]"
_SHORTEST_KEY = 12  # what stands for a key in tests, "k", must not be cut out of every word


class Redactor:
    """Replaces a key by a placeholder, also where it is escaped as JSON, URLs or base64 do it."""

    def __init__(self, key: str) -> None:
        self._forms = _forms(key) if len(key) >= _SHORTEST_KEY else ()

    def body(self, body: bytes) -> bytes:
        """Return a body without the key; the same object if it has none."""
        for form in self._forms:
            if form.encode() in body:
                body = body.replace(form.encode(), PLACEHOLDER.encode())
        return body

    @property
    def longest(self) -> int:
        """Characters of its longest form, so that a key is found that stands in two pieces."""
        return len(self._forms[0]) if self._forms else 0

    def masked(self, piece: bytes) -> bytes:
        """Return a piece of a file without the key, as long as it was."""
        for form in self._forms:
            if form.encode() in piece:
                piece = piece.replace(form.encode(), b"*" * len(form))
        return piece

    def text(self, text: str) -> str:
        """Return a text without the key."""
        for form in self._forms:
            text = text.replace(form, PLACEHOLDER)
        return text


class KeyLogFilter(logging.Filter):
    """Takes the key out of log records; for loggers that write down answers as they came."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self._redactor = Redactor(key)

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without the key."""
        message = record.getMessage()
        clean = self._redactor.text(message)
        if clean != message:
            record.msg, record.args = clean, ()
        return True


def _forms(key: str) -> tuple[str, ...]:
    """Return the key as it is and as others write it, the longest first."""
    in_json = json.dumps(key)[1:-1]
    escaped = "".join(c if c.isalnum() else f"\\u{ord(c):04x}" for c in key)
    forms = {
        key,
        in_json,
        in_json.replace("/", "\\/"),
        escaped,
        quote(key, safe=""),
        quote(key),
        quote_plus(key),
        repr(key)[1:-1],
        base64.b64encode(key.encode()).decode(),
        base64.urlsafe_b64encode(key.encode()).decode(),
    }
    return tuple(sorted(forms, key=len, reverse=True))
