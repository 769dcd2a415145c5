"""What a call used, in tokens, and how Gemini says so in `usageMetadata`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nanobatch.simulator.chance import digest, luck

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanobatch.simulator.call import Call
    from nanobatch.simulator.catalogue import Drawer

__all__ = [
    "PromptTokens",
    "Usage",
    "blocked_usage",
    "count_prompt",
    "image_usage",
    "refusal_usage",
    "text_usage",
]

_BYTES_PER_TOKEN = 4
_INPUT_IMAGE_TOKENS = (258, 1120)
"""Fewest and most tokens of one input image; the nominal 1,120 is the most."""
_REMAINDER_TOKENS = (88, 630)
"""Output tokens beside the image that no detail accounts for, as measured by third parties."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTokens:
    """Input tokens by modality."""

    text: int
    """Tokens of all texts."""

    images: int
    """Tokens of all input images."""

    @property
    def total(self) -> int:
        """Billed input tokens, >= 1."""
        return self.text + self.images

    def details(self) -> list[dict[str, Any]]:
        """Return `promptTokensDetails`."""
        pairs = (("TEXT", self.text), ("IMAGE", self.images))
        return [{"modality": name, "tokenCount": count} for name, count in pairs if count]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Billed tokens of one answer, and the `usageMetadata` that reports them."""

    prompt_tokens: int
    """Billed input tokens."""

    image_tokens: int
    """Billed output tokens of images."""

    text_tokens: int
    """All other billed output tokens, thinking included."""

    images: int
    """Billed images."""

    wire: dict[str, Any]
    """What `usageMetadata` says."""


def count_prompt(texts: Sequence[str], images: Sequence[bytes]) -> PromptTokens:
    """Estimate input tokens: never more than one a byte of text and 1,120 an image."""
    size_bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    low, high = _INPUT_IMAGE_TOKENS
    return PromptTokens(
        text=-(-size_bytes // _BYTES_PER_TOKEN),
        images=sum(low + int(digest(len(i), i[:4096]), 16) % (high - low + 1) for i in images),
    )


def image_usage(
    seed: int, call: Call, drawer: Drawer, prompt: PromptTokens, *, images: int = 1
) -> Usage:
    """Return the usage of an answer with images: their tokens, a remainder and the thinking."""
    tokens = images * drawer.image_tokens[call.size]
    remainder = luck(seed, call, "remainder").randint(*_REMAINDER_TOKENS)
    thoughts = _thoughts(seed, call, drawer)
    wire: dict[str, Any] = {
        "promptTokenCount": prompt.total,
        "candidatesTokenCount": tokens + remainder,
        "totalTokenCount": prompt.total + tokens + remainder + thoughts,
        "promptTokensDetails": prompt.details(),
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": tokens}],
    }
    return _usage(wire, prompt, image_tokens=tokens, images=images, thoughts=thoughts)


def text_usage(seed: int, call: Call, drawer: Drawer, prompt: PromptTokens, *, text: str) -> Usage:
    """Return the usage of an answer that is only text; an empty one still thought."""
    thoughts = _thoughts(seed, call, drawer)
    tokens = -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN)
    wire: dict[str, Any] = {
        "promptTokenCount": prompt.total,
        "totalTokenCount": prompt.total + tokens + thoughts,
        "promptTokensDetails": prompt.details(),
    }
    if tokens:
        wire["candidatesTokenCount"] = tokens
        wire["candidatesTokensDetails"] = [{"modality": "TEXT", "tokenCount": tokens}]
    return _usage(wire, prompt, thoughts=thoughts)


def refusal_usage(
    seed: int, call: Call, drawer: Drawer, prompt: PromptTokens, *, is_double_counted: bool
) -> Usage:
    """Return the usage of a refused image: thinking only.

    Args:
        seed: Of the simulator.
        call: The request.
        drawer: Its model.
        prompt: Its input tokens.
        is_double_counted: Report the thinking as candidate tokens once more, as Pro does; it is
            billed once.
    """
    thoughts = _thoughts(seed, call, drawer)
    wire: dict[str, Any] = {
        "promptTokenCount": prompt.total,
        "totalTokenCount": prompt.total + thoughts,
        "promptTokensDetails": prompt.details(),
    }
    if is_double_counted and thoughts:
        wire["candidatesTokenCount"] = thoughts
    return _usage(wire, prompt, thoughts=thoughts)


def blocked_usage(prompt: PromptTokens) -> Usage:
    """Return the usage of a blocked prompt: input only, without a total, as seen on the wire."""
    wire = {"promptTokenCount": prompt.total, "candidatesTokenCount": 0}
    return Usage(prompt_tokens=prompt.total, image_tokens=0, text_tokens=0, images=0, wire=wire)


def _usage(
    wire: dict[str, Any],
    prompt: PromptTokens,
    *,
    thoughts: int,
    image_tokens: int = 0,
    images: int = 0,
) -> Usage:
    if thoughts:
        wire["thoughtsTokenCount"] = thoughts
    return Usage(
        prompt_tokens=prompt.total,
        image_tokens=image_tokens,
        text_tokens=wire["totalTokenCount"] - prompt.total - image_tokens,
        images=images,
        wire=wire,
    )


def _thoughts(seed: int, call: Call, drawer: Drawer) -> int:
    low, high = drawer.thoughts.get(call.thinking_level, (0, 0))
    return luck(seed, call, "thoughts").randint(low, high)
