"""Answers with status 200 and no image: refusals, excuses and empty shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nanobatch.simulator.answer import Answer

if TYPE_CHECKING:
    from nanobatch.simulator.studio import Content, Studio

__all__ = [
    "blocked",
    "empty_content",
    "image_refused",
    "no_image",
    "parts_null",
    "prohibited",
    "text_only",
    "unknown_finish_reason",
]


def blocked(reason: str = "OTHER") -> Answer:
    """The prompt itself is blocked: no candidates, only `promptFeedback`; input is billed."""

    def compose(studio: Studio) -> Content:
        feedback: dict[str, Any] = {"blockReason": reason, "safetyRatings": []}
        return studio.answer(None, studio.blocked_usage(), promptFeedback=feedback)

    return Answer(status=200, compose=compose)


def image_refused(
    finish_reason: str = "IMAGE_SAFETY", *, usage_quirk: bool | None = None
) -> Answer:
    """The image was made and withheld; input and thinking are billed, the image is not.

    Args:
        finish_reason: `IMAGE_SAFETY`, `IMAGE_RECITATION`, `IMAGE_OTHER`, ...
        usage_quirk: Whether the thinking is reported as candidate tokens once more; by default
            Pro does it.
    """
    return _refused(
        finish_reason,
        "Unable to show the generated image. The image was filtered out because it violated "
        "Google's Generative AI Prohibited Use policy. You will not be charged for blocked "
        "images. Try rephrasing the prompt.",
        usage_quirk=usage_quirk,
    )


def prohibited() -> Answer:
    """Refused for good: `IMAGE_PROHIBITED_CONTENT`."""
    return _refused(
        "IMAGE_PROHIBITED_CONTENT",
        "The model output could not be generated. Support code: 42876398.",
    )


def no_image(
    text: str = "I could not settle on one picture for this. Shall I try again?",
) -> Answer:
    """`NO_IMAGE`: a sentence where the image should be; the text is billed."""
    return _text(text, "NO_IMAGE")


def text_only(text: str = "I'm sorry, I can't create that image.") -> Answer:
    """`STOP` with text alone: a polite refusal; the text is billed."""
    return _text(text, "STOP")


def parts_null() -> Answer:
    """A candidate with `"parts": null`."""
    return _hollow({"content": {"parts": None, "role": "model"}, "finishReason": "STOP"})


def empty_content() -> Answer:
    """A candidate with `"content": {}`."""
    return _hollow({"content": {}, "finishReason": "STOP"})


def unknown_finish_reason(finish_reason: str = "IMAGE_UNDER_CONSIDERATION") -> Answer:
    """A finish reason that no client knows, and no image."""
    return _hollow({"content": {"role": "model"}, "finishReason": finish_reason, "index": 0})


def _refused(finish_reason: str, message: str, *, usage_quirk: bool | None = None) -> Answer:
    def compose(studio: Studio) -> Content:
        quirk = studio.drawer.ignores_level if usage_quirk is None else usage_quirk
        candidate = {
            "content": {"role": "model"},
            "finishReason": finish_reason,
            "finishMessage": message,
            "index": 0,
        }
        return studio.answer(candidate, studio.refusal_usage(is_double_counted=quirk))

    return Answer(status=200, compose=compose)


def _text(text: str, finish_reason: str) -> Answer:
    def compose(studio: Studio) -> Content:
        usage = studio.text_usage(text)
        return studio.parts([{"text": text}], usage, finish_reason=finish_reason)

    return Answer(status=200, compose=compose)


def _hollow(candidate: dict[str, Any]) -> Answer:
    return Answer(
        status=200, compose=lambda studio: studio.answer(candidate, studio.text_usage(""))
    )
