"""Chance that depends on what is asked, never on when: the same call always has the same luck."""

from __future__ import annotations

import hashlib
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanobatch.simulator.call import Call

__all__ = ["digest", "luck"]


def digest(*words: object) -> str:
    """Return 24 hex digits that stand for these words."""
    text = "\0".join(str(word) for word in words)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def luck(seed: int, call: Call, purpose: str) -> Random:
    """Return the chance of one purpose of one call: a function of seed, model, prompt and nth."""
    key = digest(seed, call.model, call.prompt, call.is_finish, call.nth, purpose)
    return Random(key)  # noqa: S311 - reproducible on purpose
