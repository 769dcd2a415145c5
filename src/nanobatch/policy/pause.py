"""When the provider asks for less, everybody waits: one refusal is enough to know."""

from __future__ import annotations

import anyio

__all__ = ["Pauses"]


class Pauses:
    """Until when no call to a model starts; used by one run.

    A quota is a model's, so one that is exhausted does not hold up the other tier.
    """

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def lengthen(self, model_id: str, seconds: float) -> None:
        """Let no call to a model start for so long from now; a longer pause stays."""
        until = anyio.current_time() + seconds
        self._until[model_id] = max(until, self._until.get(model_id, until))

    def seconds_left(self, model_id: str) -> float:
        """Return how long the pause of a model still lasts; 0 if there is none."""
        return max(0.0, self._until.get(model_id, 0.0) - anyio.current_time())

    async def wait(self, model_id: str) -> None:
        """Wait until the pause of a model is over, also if it becomes longer meanwhile."""
        while seconds := self.seconds_left(model_id):  # noqa: ASYNC110 - it waits for a time, not for a state
            await anyio.sleep(seconds)
