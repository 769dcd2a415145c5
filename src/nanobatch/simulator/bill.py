"""What this Gemini would charge: one line a request to draw, in whole nano-dollars."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from nanobatch.simulator.prices import BATCH_DIVISOR, PRICES

if TYPE_CHECKING:
    from nanobatch.simulator.usage import Usage

__all__ = ["Bill", "BillLine"]

_NANO = Decimal(10) ** 9


@dataclass(frozen=True, slots=True, kw_only=True)
class BillLine:
    """One generation request or one line of a batch on the bill, also when it cost nothing."""

    number: int
    """How many generation requests came before this one."""

    model: str
    """Id of the model, aliases resolved."""

    prompt: str
    """The prompt; empty if the request was refused before it was read."""

    status: int | None = None
    """HTTP status of the answer; `None` while there is none, and for dropped connections."""

    prompt_tokens: int = 0
    """Billed input tokens."""

    image_tokens: int = 0
    """Billed output tokens of images."""

    text_tokens: int = 0
    """All other billed output tokens, thinking included."""

    images: int = 0
    """Billed images."""

    nano_usd: int = 0
    """What it costs, in nano-dollars."""

    answered: bool = False
    """Whether a complete answer was written to the connection or, in a batch, to the results."""

    batch: str = ""
    """Name of the batch job it was a line of; empty for a call of its own."""

    key: str = ""
    """Key of that line."""


class Bill:
    """The running bill of one simulator.

    A 200 is billed when it is drawn, whether or not it reaches the client: Google drew it too.
    Answers with another status are free. A connection dropped before any answer is free unless
    that answer was made with `billed=True`. Invalid requests count as requests and cost nothing.
    A line of a batch is a request like any other, at half the price.
    """

    def __init__(self) -> None:
        self._lines: list[BillLine] = []
        self._in_flight = 0
        self._peak_in_flight = 0

    def __repr__(self) -> str:
        """Show the sum."""
        return f"Bill(requests={self.requests}, images={self.images}, usd={self.usd})"

    @property
    def requests(self) -> int:
        """`generateContent` requests and batch lines worked on, invalid ones included."""
        return len(self._lines)

    @property
    def lines(self) -> tuple[BillLine, ...]:
        """All lines, in the order in which the requests arrived or were worked on."""
        return tuple(self._lines)

    @property
    def nano_usd(self) -> int:
        """The sum in nano-dollars."""
        return sum(line.nano_usd for line in self._lines)

    @property
    def usd(self) -> Decimal:
        """The sum in USD, exact."""
        return Decimal(self.nano_usd) / _NANO

    @property
    def images(self) -> int:
        """Billed images."""
        return sum(line.images for line in self._lines)

    @property
    def in_flight(self) -> int:
        """Generation requests being worked on now, up to the last byte of their answers."""
        return self._in_flight

    @property
    def peak_in_flight(self) -> int:
        """The most that were ever in flight at once."""
        return self._peak_in_flight

    @property
    def batch_usd(self) -> Decimal:
        """The part of the sum that is for lines of batches, in USD."""
        return Decimal(sum(line.nano_usd for line in self._lines if line.batch)) / _NANO

    @property
    def interactive_usd(self) -> Decimal:
        """The part of the sum that is for calls of their own, in USD."""
        return self.usd - self.batch_usd

    def by_model(self, *, batch: bool | None = None) -> dict[str, Decimal]:
        """Return USD by model id.

        Args:
            batch: Only lines of batches, only calls of their own, or both by default.
        """
        sums: Counter[str] = Counter()
        for line in self._lines:
            if batch is None or batch is bool(line.batch):
                sums[line.model] += line.nano_usd
        return {model: Decimal(nano_usd) / _NANO for model, nano_usd in sorted(sums.items())}

    # What follows is for the simulator itself.

    def open_line(self, model: str) -> int:
        """Enter a request that has just arrived; return its number."""
        self._lines.append(BillLine(number=len(self._lines), model=model, prompt=""))
        self._in_flight += 1
        self._peak_in_flight = max(self._peak_in_flight, self._in_flight)
        return len(self._lines) - 1

    def open_batch_line(self, model: str, *, batch: str, key: str) -> int:
        """Enter a line of a batch whose turn has come; nobody waits for it, so it does not fly."""
        number = len(self._lines)
        self._lines.append(BillLine(number=number, model=model, prompt="", batch=batch, key=key))
        return number

    def read(self, number: int, *, prompt: str) -> None:
        """Enter the prompt of a request."""
        self._lines[number] = replace(self._lines[number], prompt=prompt)

    def charge(self, number: int, *, status: int | None, usage: Usage | None) -> None:
        """Enter what the answer is and, unless it is free, what it costs."""
        line = replace(self._lines[number], status=status)
        if usage is not None:
            nano_usd = PRICES[line.model].nano_usd(
                prompt_tokens=usage.prompt_tokens,
                text_tokens=usage.text_tokens,
                image_tokens=usage.image_tokens,
            )
            line = replace(
                line,
                prompt_tokens=usage.prompt_tokens,
                image_tokens=usage.image_tokens,
                text_tokens=usage.text_tokens,
                images=usage.images,
                nano_usd=nano_usd // BATCH_DIVISOR if line.batch else nano_usd,
            )
        self._lines[number] = line

    def land(self) -> None:
        """Count one request out of the air."""
        self._in_flight -= 1

    def mark_answered(self, number: int, *, answered: bool) -> None:
        """Enter whether the answer was written in full."""
        self._lines[number] = replace(self._lines[number], answered=answered)
