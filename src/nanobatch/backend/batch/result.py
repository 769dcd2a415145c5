"""One line of a results file: an answer or an error, read with the same patience as any answer."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from nanobatch.backend.answer import is_answer, names_twice, parsed, reply_of, worth_keeping
from nanobatch.backend.batch.lines import MAX_LINE_BYTES
from nanobatch.backend.batch.protocol import BatchLine
from nanobatch.backend.cut import cut
from nanobatch.backend.foreign import Json, as_object, number_of, objects_in, plain_text, text_of
from nanobatch.backend.redact import Redactor
from nanobatch.backend.translate import bad_line, fault_of_answer
from nanobatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanobatch.errors import ProviderError

__all__ = ["checked_key", "read_line"]

MAX_KEY_CHARACTERS: Final = 200

_NAMES: Final = ("key", "response", "error")
_BEGIN: Final = re.compile(rb'\s*\{\s*("key"\s*:\s*"[^"]{1,2000}")\s*,')
"""A line begins with its key, which is then known even if the rest is spoilt."""

# Source: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto, which names
# the HTTP status of each code; from memory, 2026-11-27. Three differ here, as their status would
# end a job for something that passes: 1 (499), 6 and 10 (409).
_CODES: Final[Mapping[int, tuple[str, int]]] = {
    1: ("CANCELLED", 500),
    2: ("UNKNOWN", 500),
    3: ("INVALID_ARGUMENT", 400),
    4: ("DEADLINE_EXCEEDED", 504),
    5: ("NOT_FOUND", 404),
    6: ("ALREADY_EXISTS", 500),
    7: ("PERMISSION_DENIED", 403),
    8: ("RESOURCE_EXHAUSTED", 429),
    9: ("FAILED_PRECONDITION", 400),
    10: ("ABORTED", 500),
    11: ("OUT_OF_RANGE", 400),
    12: ("UNIMPLEMENTED", 501),
    13: ("INTERNAL", 500),
    14: ("UNAVAILABLE", 503),
    15: ("DATA_LOSS", 500),
    16: ("UNAUTHENTICATED", 401),
}
_UNKNOWN: Final = 2
_STATUSES: Final = range(400, 600)


def checked_key(key: str) -> str:
    """Return the key of a request.

    Raises:
        ConfigError: It would not be known again when it comes back.
    """
    if not _is_key(key):
        raise ConfigError(
            f"A key has 1 to {MAX_KEY_CHARACTERS} printable characters, unlike {plain_text(key)!r}."
        )
    return key


def read_line(line: bytes) -> BatchLine:
    """Read one line of a results file; never raises for what stands in it.

    What the provider calls an error was not billed. A line that cannot be read may have been.

    Args:
        line: With or without its end.
    """
    if len(line) > MAX_LINE_BYTES:
        return _unreadable(
            line, f"it is longer than {MAX_LINE_BYTES // 1024**2} MiB", key=_key_at_begin(line)
        )
    found = cut(line, Redactor(""))
    skeleton = found.skeleton
    fields = as_object(parsed(skeleton))
    if not fields:
        key = _key_at_begin(line)
        return _unreadable(line, "it is no JSON object, or was cut off", key=key)
    twice = [name for name in _NAMES if _stands_twice(skeleton, name)]
    key = None if "key" in twice else _key_in(fields)
    if twice:
        return _unreadable(line, f"it has more than one {twice[0]!r}", key=key)
    response, error = as_object(fields.get("response")), fields.get("error")
    if is_answer(response):
        reply = reply_of(
            response,
            images=found.images,
            has_two_usages=names_twice(skeleton, "usageMetadata"),
            latency_seconds=0.0,
        )
        return BatchLine(key=key, reply=reply)
    if error is not None and fields.get("response") is None:
        return BatchLine(key=key, fault=_fault_of(error))
    return _unreadable(line, "it has neither an answer nor an error", key=key)


def _stands_twice(skeleton: bytes, name: str) -> bool:
    """Return whether the line itself, and not what stands in it, has a name twice."""
    if not names_twice(skeleton, name):
        return False
    try:
        # Every object becomes a list of its pairs, so that no pair gets lost.
        pairs: list[tuple[str, object]] = json.loads(skeleton, object_pairs_hook=list)
    except RecursionError:  # as deep as it could be read just now, from one call higher up
        return True
    return sum(one == name for one, _ in pairs) > 1


def _unreadable(line: bytes, reason: str, *, key: str | None) -> BatchLine:
    return BatchLine(key=key, fault=bad_line(reason, body=line[: worth_keeping(line)]))


def _key_in(fields: Json) -> str | None:
    key: object = fields.get("key")
    return key if isinstance(key, str) and _is_key(key) else None


def _is_key(key: str) -> bool:
    return 1 <= len(key) <= MAX_KEY_CHARACTERS and key.isprintable()


def _key_at_begin(line: bytes) -> str | None:
    begin = _BEGIN.match(line)
    return None if begin is None else _key_in(as_object(parsed(b"{" + begin[1] + b"}")))


def _fault_of(said: object) -> ProviderError:
    """Translate an error of one line by the table that error answers are translated by."""
    error = as_object(said)
    word = text_of(error.get("status"))
    code = number_of(error.get("code"))
    if code is None:
        code = next((code for code, (name, _) in _CODES.items() if name == word), _UNKNOWN)
    name, status = (word, code) if code in _STATUSES else _CODES.get(code, _CODES[_UNKNOWN])
    answer = {
        "message": text_of(error.get("message")) or text_of(said),
        "status": name,
        "details": objects_in(error.get("details")),
    }
    return fault_of_answer(
        status,
        {},
        json.dumps({"error": answer}).encode(),
        says=f"The provider answered one request of a batch with code {code}",
    )
