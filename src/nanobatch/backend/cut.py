"""Takes the images out of an answer before anybody parses it: a megabyte of base64 is no JSON.

A JSON reader would make a text of it, count in it, search it for the key; here it is found by its
quotes and decoded from where it lies.
"""

from __future__ import annotations

import binascii
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pybase64

from nanobatch.backend.answer import worth_keeping

if TYPE_CHECKING:
    from mmap import mmap

    from nanobatch.backend.redact import Redactor

__all__ = ["Cut", "cut"]

_LEAST_CHARACTERS: Final = 4_096
"""Shorter texts are left to the JSON reader."""

_MOST_PLACES: Final = 256
"""Places that are looked at; real answers have one to six, and a flood is not worth the time."""

_TAIL_BYTES: Final = 4_096
"""Looked through for the closing quote first: reading a megabyte once less saves 0.1 ms."""

MAX_REST_BYTES: Final = 32 * 1024 * 1024
"""Most that is read of an answer with no image to be cut; one of 4K in odd base64 fits."""
_BEGIN: Final = re.compile(rb'"data"[ \t\r\n]{0,64}:[ \t\r\n]{0,64}"')
_MARK: Final = secrets.token_hex(16)
"""Stands for an image; no answer can know it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """An answer without its images."""

    skeleton: bytes
    """Its JSON, a mark in the place of each image."""

    images: dict[str, bytes]
    """The image behind each mark."""

    redactor: Redactor

    def whole(self) -> bytes:
        """Return the answer with its images put back, for those who cannot read the skeleton."""
        body = self.skeleton
        for mark, image in self.images.items():
            body = body.replace(mark.encode(), pybase64.b64encode(image))
        return self.redactor.body(body)


def cut(body: bytes | mmap, redactor: Redactor, *, size_bytes: int | None = None) -> Cut:
    """Cut images out of an answer and the key out of the rest; memory of a wire is not held.

    Args:
        body: The answer.
        redactor: Knows the key.
        size_bytes: How long the answer is, if the body has something else behind it.

    A place is cut only if the key `"data"` stands before it and pure, padded base64 of the
    standard alphabet fills the text to its closing quote, which therefore is one: neither a quote
    nor a backslash is base64. Anything else stays where it is.
    """
    length = len(body) if size_bytes is None else size_bytes
    images: dict[str, bytes] = {}
    pieces: list[bytes] = []
    position = copied = 0
    with memoryview(body) as view:
        for _ in range(_MOST_PLACES):
            begin = _BEGIN.search(body, position, length)
            if begin is None:
                break
            start = begin.end()
            # Mostly the image ends near the end of the answer. If it does not, there is a quote
            # in between, which is no base64.
            end = body.find(b'"', max(start, length - _TAIL_BYTES), length)
            image = _decoded(view, start, end)
            if not image:
                end = body.find(b'"', start, length)
                image = _decoded(view, start, end)
            if end < 0:
                break
            if image:
                mark = f"{_MARK}:{len(images)}"
                images[mark] = image
                pieces += (bytes(view[copied:start]), mark.encode())
                copied = end
            position = end
        # Of what is too long for an answer the beginning is enough; that is no JSON any more.
        is_too_long = not images and length > MAX_REST_BYTES
        pieces.append(bytes(view[copied : worth_keeping(body) if is_too_long else length]))
    skeleton = redactor.body(b"".join(pieces))
    return Cut(skeleton=skeleton, images=images, redactor=redactor)


def _decoded(view: memoryview, start: int, end: int) -> bytes:
    """Return what a text stands for; nothing if it is short, or not all of it is base64."""
    if end - start < _LEAST_CHARACTERS:
        return b""
    try:
        with view[start:end] as text:
            return pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
