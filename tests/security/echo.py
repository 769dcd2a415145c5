"""A provider that repeats the caller's key wherever it can, and marks the images it draws."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from nanobatch.simulator import Answer, answers
from nanobatch.simulator.drawing.files import File
from nanobatch.simulator.studio import Content
from tests.load.mix import ENDS_THE_RUN, MILD
from tests.security.needles import KEY, MARK

if TYPE_CHECKING:
    from nanobatch.simulator import Call
    from nanobatch.simulator.studio import Studio

_IN_URL = quote(KEY, safe="")
_IN_JSON = json.dumps(KEY)[1:-1]


def _with_text(answer: Answer) -> Answer:
    """The same answer, its headers and every text in its body full of the key."""
    headers = (*answer.headers, ("x-your-key", KEY), ("www-authenticate", f'Bearer "{KEY}"'))
    return replace(answer, headers=headers)


def _page(status: int) -> Answer:
    body = f"<html>key={KEY} {_IN_URL} {_IN_JSON}</html>".encode()
    page = answers.json_value() if status == 200 else answers.error(status, "")
    return replace(page, compose=lambda studio: Content(body=body, usage=_usage(page, studio)))


def _usage(answer: Answer, studio: Studio) -> Any:
    return answer.compose(studio).usage


def _marked(studio: Studio) -> Content:
    file = studio.file(mime_type="image/png")
    note = b"tEXt" + b"Comment\0" + MARK.encode()
    chunk = (len(note) - 4).to_bytes(4) + note + zlib.crc32(note).to_bytes(4)
    content = file.content[:33] + chunk + file.content[33:]
    part = studio.image_part(File(content=content, mime_type="image/png"))
    return studio.parts([{"text": f"Your key is {KEY}."}, part], studio.image_usage())


ECHOES: dict[str, Answer] = {
    "400": answers.error(400, f"Bad header x-goog-api-key: {KEY}"),
    "400, invalid key": answers.error(
        400, f"API key not valid: {KEY}", details=[{"reason": "API_KEY_INVALID", "key": KEY}]
    ),
    "403": answers.error(403, f"Consumer 'api_key:{KEY}' has been suspended.", KEY),
    "404": answers.error(404, f"models/x?key={_IN_URL} is not found"),
    "408": answers.error(408, f"{KEY}{KEY}"),
    "429": answers.error(429, f"Quota exceeded for {KEY}", details=[{"reason": KEY}]),
    "429, daily": answers.error(429, KEY, details=[{"violations": [{"quotaId": f"PerDay{KEY}"}]}]),
    "503": answers.error(503, f"https://example.org/?key={_IN_URL}&alt=json"),
    "503, cut": answers.error(503, "x" * 580 + KEY),
    "500, page": _page(500),
    "200, page": _page(200),
    "204": replace(answers.empty_body(), status=299),
    "redirect": answers.redirect(f"https://example.org/?key={KEY}&again={_IN_URL}"),
    "redirect, host": answers.redirect(f"https://{quote(KEY, safe='')}.example.org/"),
    "blocked": answers.blocked(KEY),
    "refused": answers.image_refused(KEY),
    "no image": answers.no_image(f"Your key {KEY} is fine, {_IN_URL} too."),
    "text only": answers.text_only(KEY),
    "finish reason": answers.unknown_finish_reason(KEY),
    "null": answers.json_value(f'"{_IN_JSON}"'),
    "unreadable": answers.json_value(f'{{"{_IN_JSON}": "{_IN_JSON}"}}'),
    "half": answers.truncated_json(),
}

FINAL = {"400, invalid key", "403", "404", "429, daily"}
"""Those that end a run."""


def _all() -> list[Answer]:
    own = [answer for name, answer in ECHOES.items() if name not in FINAL]
    return own + [make() for name, make in MILD.items() if name not in ENDS_THE_RUN]


class Echo:
    """Answers every job's first call in its own bad way, then draws."""

    def __init__(self) -> None:
        self._bad = [_with_text(answer) for answer in _all()]
        self.given = 0

    @property
    def kinds(self) -> int:
        return len(self._bad)

    def __call__(self, call: Call) -> Answer:
        _, _, rest = call.prompt.partition("#")
        if call.nth == 0 and rest.startswith("echo "):
            return _with_text(ECHOES[rest.removeprefix("echo ")])
        if call.nth == 0 and rest.isdigit():
            self.given += 1
            return self._bad[int(rest)]
        return replace(_with_text(answers.image()), compose=_marked)
