"""Inputs that are almost right: bytes of good files, damaged in ways a seed decides.

Seeded mutation of a corpus, as fuzzers do it, without their instrumentation: it runs on every
Python we support, and the number of an input is all that is needed to have it again.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["INPUTS", "Campaign", "Mutator"]

INPUTS = int(os.environ.get("NANOBATCH_FUZZ_INPUTS", "0"))
"""Inputs of each kind in the long version; 0 for the few of the normal run."""

MAX_SECONDS = 1.0
"""Of the processor's time, for any one input."""

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutator:
    """Makes inputs out of good ones."""

    corpus: Sequence[bytes]
    tokens: Sequence[bytes] = ()
    """Pieces that mean something in this format; they are put in anywhere."""
    max_bytes: int = 100_000

    def make(self, number: int) -> bytes:
        """Return input `number`, always the same one."""
        random = Random(number)
        data = bytearray(random.choice(self.corpus))
        for _ in range(random.choice((0, 1, 1, 1, 2, 3, 5, 20))):
            data = self._damaged(data, random)
        return bytes(data[: self.max_bytes])

    def _damaged(self, data: bytearray, random: Random) -> bytearray:
        start = random.randrange(len(data) + 1)
        end = min(len(data), start + random.choice((1, 1, 2, 4, 16, 200)))
        match random.randrange(10):
            case 0 if data:
                data[start % len(data)] ^= 1 << random.randrange(8)
            case 1:
                data[start:end] = random.randbytes(end - start)
            case 2:
                del data[start:end]
            case 3:
                del data[start:]
            case 4:
                data[start:start] = data[start:end] * random.choice((1, 2, 50))
            case 5:
                other = random.choice(self.corpus)
                data[start:] = other[random.randrange(len(other) + 1) :]
            case 6:
                size = random.choice((1, 2, 3, 4))
                number = random.choice(NUMBERS) % 256**size
                data[start : start + size] = number.to_bytes(size, random.choice(("big", "little")))
            case 7:
                here, there = sorted((start, random.randrange(len(data) + 1)))
                data[here:there] = data[here:there][::-1]
            case _ if self.tokens:
                data[start : random.choice((start, end))] = random.choice(self.tokens)
            case _:
                data[start:start] = random.randbytes(random.randrange(8))
        return data


@dataclass(slots=True, kw_only=True)
class Campaign:
    """Gives inputs to a check, and says which one it fails on or takes too long for."""

    outcomes: Counter[str] = field(default_factory=Counter[str])
    """What the check said of the inputs."""
    slowest_seconds: float = 0.0
    slowest: int = 0

    def run(
        self, make: Callable[[int], bytes], check: Callable[[bytes], str], *, usually: int
    ) -> Campaign:
        """Check inputs `usually`, or `NANOBATCH_FUZZ_INPUTS` of them.

        Args:
            make: Returns the input of a number.
            check: Says in a word what it came to; whatever it raises is a finding.
            usually: How many inputs there are in the normal run.
        """
        for number in range(INPUTS or usually):
            data = make(number)
            began = time.process_time()
            try:
                self.outcomes[check(data)] += 1
            except BaseException as error:
                error.add_note(f"It was input {number}: {data[:2000]!r}")
                raise
            seconds = time.process_time() - began
            if seconds > self.slowest_seconds:
                self.slowest_seconds, self.slowest = seconds, number
        self._tell(INPUTS or usually)
        assert self.slowest_seconds < MAX_SECONDS, f"input {self.slowest} took too long"
        return self

    def _tell(self, count: int) -> None:
        outcomes = ", ".join(f"{n:,} {what}" for what, n in self.outcomes.most_common())
        print(  # noqa: T201 - shown by `pytest -rP`, for whoever runs the long version
            f"{count:,} inputs: {outcomes}; "
            f"slowest {self.slowest_seconds:.3f} s (input {self.slowest})"
        )
