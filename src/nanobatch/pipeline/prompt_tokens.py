"""How many tokens prompts have: the provider counts a few of them, free of charge."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import anyio

from nanobatch.errors import NanobatchError
from nanobatch.pipeline.opening import opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanobatch.backend import ImageBackend

__all__ = ["MAX_COUNTED", "counted_per_estimated", "estimated_tokens"]

MAX_COUNTED = 20
"""Prompts that are counted; the others are estimated and corrected by what these say."""

COUNTING_SECONDS = 5.0
CHARACTERS_PER_TOKEN = 4
"""Of ASCII text. Source: https://ai.google.dev/gemini-api/docs/tokens, from memory, unverified."""


@runtime_checkable
class _CountsTokens(Protocol):
    """A backend that can count tokens, free of charge."""

    async def count_tokens(self, *, model: str, prompt: str) -> int: ...


def estimated_tokens(prompt: str) -> int:
    """Return about how many tokens a prompt has: a quarter of its ASCII, and all else."""
    ascii_characters = sum(map(str.isascii, prompt))
    return ceil(ascii_characters / CHARACTERS_PER_TOKEN) + len(prompt) - ascii_characters


def counted_per_estimated(
    backend: ImageBackend, model_id: str, prompts: Sequence[str]
) -> Fraction | None:
    """Return how much larger the true token count of some prompts is than the estimate.

    `None` if nobody could count: the backend cannot, is open in somebody's event loop, there is
    no key or no network, or an event loop runs in this thread, which counting would block.
    """
    if not prompts or not isinstance(backend, _CountsTokens) or _is_bound(backend):
        return None
    counts: list[int] = []

    async def count() -> None:
        with anyio.move_on_after(COUNTING_SECONDS):
            async with opened(backend), anyio.create_task_group() as group:
                for prompt in prompts:
                    group.start_soon(count_one, prompt)

    async def count_one(prompt: str) -> None:
        counts.append(await backend.count_tokens(model=model_id, prompt=prompt))

    try:
        anyio.run(count)
    except* (NanobatchError, RuntimeError):  # RuntimeError: trio runs in this thread
        counts.clear()
    if len(counts) < len(prompts):
        return None
    return Fraction(sum(counts), sum(map(estimated_tokens, prompts)) or 1)


def _is_bound(backend: object) -> bool:
    """Return whether an event loop has the backend, or this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return bool(getattr(backend, "is_open", False))
    return True
