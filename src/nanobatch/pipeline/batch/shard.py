"""The requests of one batch job: as many as can be downloaded again with ease."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanobatch.checkpoint.batches import NewBatchCall
from nanobatch.checkpoint.disk import disk_errors

if TYPE_CHECKING:
    from nanobatch.checkpoint.files import ImageFiles
    from nanobatch.errors import ProviderError
    from nanobatch.models import Model
    from nanobatch.pipeline.caller import Order
    from nanobatch.pipeline.outcome import WalkedSlot

__all__ = ["Posting", "Shard", "call_of"]

MAX_RESULT_BYTES = 512 * 1024 * 1024
"""What a results file may be expected to have: batch jobs of images have been billed and could not
be downloaded any more at 1.2 GB.

Source: https://discuss.ai.google.dev/t/174261, collected 2026-11-23, unverified.
"""
MAX_INPUT_BYTES = 1024 * 1024 * 1024
"""What an input file may have, drafts and references included; the provider takes 2 GB.

Source: reference page "Gemini image API: facts" 2.5, collected 2026-11-23.
"""
MAX_DIGITS = 18
"""Of a number that SQLite can hold."""
ANSWER_BYTES = {"512": 1_000_000, "1K": 2_800_000, "2K": 11_000_000, "4K": 44_000_000}
"""Most that the line of an answer is expected to have: a PNG of the size in base64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """A slot that is ordered."""

    slot: WalkedSlot
    order: Order
    round: int
    """Which order of its job's it belongs to."""
    is_new_slot: bool
    """Whether the slot has no row yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardCall:
    """One call of a shard."""

    planned: NewBatchCall
    slot: WalkedSlot
    fault: ProviderError | None
    """Why it cannot be written into the file, if so."""


class Shard:
    """Requests for one model, in a file that grows until it is sent."""

    def __init__(self, files: ImageFiles, model: Model, *, max_images: int | None) -> None:
        """Begin an empty file.

        Args:
            files: Where the file goes; its folder exists.
            model: Whom the requests ask.
            max_images: Most images; by default as many as `MAX_RESULT_BYTES` has room for.
        """
        self.model = model
        self.name = f"nb-{secrets.token_hex(16)}"
        """Unique: how the job is found if the answer to its creation is lost."""
        self.path = files.requests_of(self.name)
        self._root = files.root
        self.calls: list[ShardCall] = []
        self.is_written = False
        """Whether any request is in the file."""
        self._max_images = max_images
        self._input_bytes = 0
        self._result_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether it is to be sent."""
        if self._max_images is not None and len(self.calls) >= self._max_images:
            return True
        return self._result_bytes >= MAX_RESULT_BYTES or self._input_bytes >= MAX_INPUT_BYTES

    def key_of(self, call: int) -> str:
        """Return the key of a call: what it is the answer to, whatever else is in the file."""
        return f"{self.name}-{call}"

    def add(
        self,
        posting: Posting,
        *,
        call: int,
        worst_nano: int,
        line: bytes,
        fault: ProviderError | None = None,
    ) -> None:
        """Append a request; blocks, so call it in a worker thread.

        Raises:
            CheckpointError: The disk refused.
        """
        if line:
            with disk_errors(self.path.parent, self._root), self.path.open("ab") as file:
                file.write(line)
            self.is_written = True
            self._input_bytes += len(line)
            self._result_bytes += ANSWER_BYTES.get(posting.order.request.size, ANSWER_BYTES["4K"])
        row = posting.slot.row
        self.calls.append(
            ShardCall(
                planned=NewBatchCall(
                    call=call,
                    slot=row.number,
                    worst_nano=worst_nano,
                    round=posting.round,
                    new=row if posting.is_new_slot else None,
                ),
                slot=posting.slot,
                fault=fault,
            )
        )


def call_of(key: str | None, name: str) -> int | None:
    """Return the call a key speaks of; `None` if it is none of that batch job's."""
    if key is None or not key.startswith(f"{name}-"):
        return None
    number = key.removeprefix(f"{name}-")
    is_number = number.isascii() and number.isdigit() and len(number) <= MAX_DIGITS
    return int(number) if is_number else None
