"""One request as the people who steer the simulator see it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Call"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One valid `generateContent` request, or one valid line of a batch."""

    model: str
    """Id of the model, aliases resolved."""

    prompt: str
    """The texts of the user's parts, joined by newlines."""

    nth: int
    """How many requests with this model, this prompt and an input image or none came before."""

    number: int
    """How many generation requests, valid or not, came before this one."""

    size: str
    """`"512"`, `"1K"`, `"2K"` or `"4K"`."""

    aspect_ratio: str
    """Width to height, `"16:9"`; what the request asked for, else that of the input image."""

    input_images: int
    """How many images came with the prompt."""

    thinking_level: str
    """`MINIMAL`, `MEDIUM`, `HIGH`, `ON` (always, at its own discretion) or empty (never)."""

    api_version: str
    """`v1` or `v1beta`."""

    batch: str = ""
    """Name of the batch job it is a line of, `batches/...`; empty for a call of its own."""

    key: str = ""
    """Key of that line."""

    @property
    def is_finish(self) -> bool:
        """Whether an image came with the prompt."""
        return self.input_images > 0
