"""Answers that hold images: good ones, bad ones, several, and files that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nanobatch.simulator.answer import Answer
from nanobatch.simulator.drawing import JPEG, PNG, Kind, files

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanobatch.simulator.studio import Content, Studio

__all__ = [
    "animated",
    "bad_base64",
    "bomb",
    "image",
    "mislabelled",
    "several_images",
    "svg",
    "text_then_image",
    "thought_then_image",
    "truncated_image",
    "without_usage",
]


def image(kind: Kind = "good") -> Answer:
    """One image.

    Args:
        kind: `good` (with an input image: its finished version), `blank` (one flat colour),
            `blurred`, `dark` (nearly black) or `noise`.
    """
    return _one_file(lambda studio: studio.file(kind))


def truncated_image() -> Answer:
    """A good image of which the last 40 % are missing."""
    return _one_file(lambda studio: files.truncated(studio.file()))


def several_images(n: int) -> Answer:
    """`n` different images, every one of them billed."""

    def compose(studio: Studio) -> Content:
        parts = [studio.image_part(studio.file(index=index)) for index in range(n)]
        return studio.parts(parts, studio.image_usage(n))

    return Answer(status=200, compose=compose)


def thought_then_image() -> Answer:
    """A thought, a draft that is marked as thought, then the image; both images are billed."""

    def compose(studio: Studio) -> Content:
        draft = studio.image_part(studio.file("blurred", index=1))
        final = studio.image_part(studio.file())
        parts: list[dict[str, Any]] = [
            {"text": "**Composing the scene** A first draft, then the light.", "thought": True},
            {**draft, "thought": True},
            {**final, "thoughtSignature": studio.signature()},
        ]
        return studio.parts(parts, studio.image_usage(2))

    return Answer(status=200, compose=compose)


def text_then_image() -> Answer:
    """A sentence, then the image."""

    def compose(studio: Studio) -> Content:
        words = {"text": "Here is the picture you asked for."}
        return studio.parts([words, studio.image_part(studio.file())], studio.image_usage())

    return Answer(status=200, compose=compose)


def mislabelled() -> Answer:
    """JPEG bytes that are called `image/png`."""

    def draw(studio: Studio) -> files.File:
        return files.File(content=studio.file(mime_type=JPEG).content, mime_type=PNG)

    return _one_file(draw)


def bomb() -> Answer:
    """A tiny PNG whose header promises 20,000 x 20,000 pixels."""
    return _one_file(lambda _: files.bomb())


def svg() -> Answer:
    """A drawing that is no raster image."""
    return _one_file(lambda _: files.svg())


def animated() -> Answer:
    """An animated PNG of two frames."""
    return _one_file(lambda _: files.animated())


def without_usage() -> Answer:
    """A good image, and no word on what it cost; it is billed all the same."""

    def compose(studio: Studio) -> Content:
        content = {"parts": [studio.image_part(studio.file())], "role": "model"}
        candidate = {"content": content, "finishReason": "STOP", "index": 0}
        return studio.answer(candidate, studio.image_usage(), is_usage_shown=False)

    return Answer(status=200, compose=compose)


def bad_base64() -> Answer:
    """An image whose base64 text is none; it is billed."""

    def compose(studio: Studio) -> Content:
        part = {"inlineData": {"mimeType": studio.drawer.mime_type, "data": "@@@ no base64 @@@"}}
        return studio.parts([part], studio.image_usage())

    return Answer(status=200, compose=compose)


def _one_file(draw: Callable[[Studio], files.File]) -> Answer:
    def compose(studio: Studio) -> Content:
        part = {**studio.image_part(draw(studio)), "thoughtSignature": studio.signature()}
        return studio.parts([part], studio.image_usage())

    return Answer(status=200, compose=compose)
