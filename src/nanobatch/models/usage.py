"""What one call used: the numbers a price turns into money."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TokenUsage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """What one call used, as the provider reported it (`usageMetadata`)."""

    prompt_tokens: int
    """Billed input tokens, text and images together; a count, >= 0."""

    image_tokens: int
    """Billed output tokens of modality IMAGE; a count, >= 0."""

    text_tokens: int
    """All other billed output tokens, thinking included; a count, >= 0."""

    thought_tokens: int | None = None
    """Thinking tokens, already part of `text_tokens`; `None` if the provider did not say."""
