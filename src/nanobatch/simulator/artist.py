"""Answers one request to draw, be it a call of its own or a line of a batch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from nanobatch.simulator.answers import judgement
from nanobatch.simulator.behaviour import usual_answer
from nanobatch.simulator.call import Call
from nanobatch.simulator.catalogue import MODELS
from nanobatch.simulator.problem import Problem
from nanobatch.simulator.request import read_request
from nanobatch.simulator.studio import Content, Studio
from nanobatch.simulator.usage import PromptTokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanobatch.simulator.answer import Answer
    from nanobatch.simulator.catalogue import Drawer

__all__ = ["PAINTERS", "Artist", "Habits"]

PAINTERS = 4
"""Threads that draw at once; the loop answers meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What the user of the simulator asked of its answers."""

    seed: int
    """Another seed is another run of luck."""

    accept_rate: Callable[[Call], float]
    """Probability of a good image."""

    regenerate_rate: Callable[[Call], float]
    """Probability of no usable image."""

    scores: Callable[[Call], float]
    """What is said of an image."""

    answer: Callable[[Call], Answer | None] | None
    """Takes over any call."""

    drawings: int
    """How many pictures there are."""

    pixels: float
    """Linear scale of the pictures."""


class Artist:
    """Reads requests to draw, decides what they get, and draws it."""

    def __init__(self, habits: Habits, *, read_file: Callable[[str], bytes | None]) -> None:
        self._habits = habits
        self._read_file = read_file
        self._asked: Counter[tuple[str, str, bool]] = Counter()
        self._painters: anyio.CapacityLimiter | None = None

    def read(
        self,
        body: bytes,
        drawer: Drawer,
        *,
        number: int,
        version: str,
        batch: str = "",
        key: str = "",
    ) -> Studio:
        """Read a request and count it among those that ask the same.

        Args:
            body: The JSON of a `generateContent` request.
            drawer: Its model.
            number: Of its line on the bill.
            version: `v1` or `v1beta`.
            batch: Name of the batch job it is a line of; empty for a call of its own.
            key: Of the line.

        Raises:
            Problem: Gemini would refuse it.
        """
        request = read_request(body, drawer, read_file=self._read_file)
        same = (drawer.id, request.prompt, bool(request.images))
        call = Call(
            model=drawer.id,
            prompt=request.prompt,
            nth=self._asked[same],
            number=number,
            size=request.size,
            aspect_ratio=request.aspect_ratio,
            input_images=len(request.images),
            thinking_level=request.thinking_level,
            api_version=version,
            batch=batch,
            key=key,
        )
        self._asked[same] += 1
        return Studio(
            call=call,
            seed=self._habits.seed,
            drawer=drawer,
            tokens=request.tokens,
            input_images=request.images,
            pixels=self._habits.pixels,
            drawings=self._habits.drawings,
            schema=request.schema,
            max_output_tokens=request.max_output_tokens,
        )

    def idle(self) -> Studio:
        """Return what an answer is made of that is no answer to a request to draw."""
        drawer = next(iter(MODELS.values()))
        call = Call(
            model=drawer.id,
            prompt="",
            nth=0,
            number=0,
            size="1K",
            aspect_ratio="1:1",
            input_images=0,
            thinking_level="",
            api_version="v1beta",
        )
        return Studio(
            call=call,
            seed=self._habits.seed,
            drawer=drawer,
            tokens=PromptTokens(text=0, images=0),
            input_images=(),
            pixels=self._habits.pixels,
            drawings=self._habits.drawings,
        )

    def decide(self, studio: Studio) -> Answer:
        """Return what a call gets."""
        habits, call = self._habits, studio.call
        taken_over = habits.answer(call) if habits.answer is not None else None
        if taken_over is not None:
            return taken_over
        if studio.drawer.answers_in_words:
            return judgement(habits.scores(call))
        return usual_answer(
            habits.seed,
            call,
            regenerate_rate=habits.regenerate_rate(call),
            accept_rate=habits.accept_rate(call),
        )

    async def draw(self, answer: Answer, studio: Studio) -> Content:
        """Return body and cost of an answer, made in a worker thread.

        Raises:
            Problem: An input image has a good header and bad pixels.
        """
        if self._painters is None:
            self._painters = anyio.CapacityLimiter(PAINTERS)
        try:
            return await anyio.to_thread.run_sync(
                answer.compose, studio, abandon_on_cancel=True, limiter=self._painters
            )
        except OSError as unreadable:
            raise Problem(400, "Unable to process input image.") from unreadable

    def close(self) -> None:
        """Let the threads go; they belong to the event loop that ends."""
        self._painters = None
