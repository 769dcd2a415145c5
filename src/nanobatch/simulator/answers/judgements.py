"""Answers of models that look at images and say something of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nanobatch.simulator.answer import Answer
from nanobatch.simulator.schema import fitting

if TYPE_CHECKING:
    from nanobatch.simulator.studio import Content, Studio

__all__ = ["judgement", "says"]


def judgement(score: float) -> Answer:
    """An object that fits the schema of the request, with this score, 0 to 10; else a sentence."""

    def compose(studio: Studio) -> Content:
        if studio.schema is None:
            return studio.words(f"I would give it {score:g} of 10.")
        return studio.words(json.dumps(fitting(studio.schema, score)))

    return Answer(status=200, compose=compose)


def says(text: str) -> Answer:
    """Exactly this text, whatever schema was asked for: what a fooled or broken judge says."""
    return Answer(status=200, compose=lambda studio: studio.words(text))
