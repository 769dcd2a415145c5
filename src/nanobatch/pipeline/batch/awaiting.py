"""Who waits for which call of a batch job: an answer finds its slot, or is kept for later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from nanobatch.pipeline.outcome import WalkedSlot

__all__ = ["Awaiting"]


class Awaiting:
    """The slots of this run's jobs that wait for a batch job."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        """Held while a job is taken up, and while an answer is settled and handed over: else an
        answer that comes in between would find nobody, and its slot would wait for ever."""
        self._slots: dict[int, WalkedSlot] = {}

    def add(self, call: int, slot: WalkedSlot) -> None:
        """Let a slot wait for a call."""
        self._slots[call] = slot

    def take(self, call: int) -> WalkedSlot | None:
        """Return the slot that waits for a call; `None`: its job is not worked on in this run."""
        return self._slots.pop(call, None)
