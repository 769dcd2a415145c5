"""The simulator's own price sheet: it shares nothing with the library it is there to check.

Source: Gemini API list prices of the Developer API, standard tier, as collected on 2026-11-23
(https://ai.google.dev/gemini-api/docs/pricing; no live check), and for the models that answer in
words those of 2026 in https://github.com/pydantic/genai-prices. USD per million tokens times 1,000
is nano-dollars per token: 0.25 USD per million is 250.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BATCH_DIVISOR", "PRICES", "Price"]

BATCH_DIVISOR = 2
"""A batch costs half (https://ai.google.dev/gemini-api/docs/batch-api, as collected on 2026-11-23).

Every price below is even, so that half of it is whole too.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What one token of a model costs, in whole nano-dollars."""

    input: int
    """Nano-dollars per input token."""

    text: int
    """Nano-dollars per output token that is no image token, thinking included."""

    image: int
    """Nano-dollars per output token of an image."""

    def nano_usd(self, *, prompt_tokens: int, text_tokens: int, image_tokens: int) -> int:
        """Return what a call costs, in nano-dollars."""
        return prompt_tokens * self.input + text_tokens * self.text + image_tokens * self.image


PRICES = {
    "gemini-3.1-flash-lite-image": Price(input=250, text=1_500, image=30_000),
    "gemini-nano-banana-2.1": Price(input=1_500, text=7_500, image=30_000),
    "gemini-3-pro-image": Price(input=2_000, text=12_000, image=120_000),
    "gemini-3.1-flash-image": Price(input=500, text=3_000, image=60_000),
    "gemini-2.5-flash-image": Price(input=300, text=2_500, image=30_000),
    "gemini-3.1-flash-lite": Price(input=250, text=1_500, image=0),
    "gemini-3.8-flash": Price(input=750, text=3_750, image=0),
}
