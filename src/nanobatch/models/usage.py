"""What one call used: the numbers a price turns into money."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

__all__ = ["MAX_TOKENS", "TokenUsage"]

MAX_TOKENS = 10**12
"""More than any call uses; what is above is no count."""


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

    @property
    def is_believable(self) -> bool:
        """Whether all of it are counts: whole numbers >= 0 and below a million million."""
        counts = [self.prompt_tokens, self.image_tokens, self.text_tokens]
        if self.thought_tokens is not None:
            counts.append(self.thought_tokens)
        return all(
            isinstance(one, int) and not isinstance(one, bool) and 0 <= one < MAX_TOKENS
            for one in cast("list[object]", counts)
        )
