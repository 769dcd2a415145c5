"""The totals of a ledger that is being written, kept up line by line instead of read again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanobatch.cost.ledger import LedgerTotals, LineKind, Outcome
from nanobatch.cost.scatter import SlotSums
from nanobatch.models.money import nano_of_usd, usd_of_nano

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["RunningTotals"]


@dataclass(slots=True)
class _OpenSlot:
    """A slot that may still cost something."""

    usd_nano: int = 0
    calls: int = 0
    """Billed generation calls."""


class RunningTotals:
    """What a ledger adds up to while a run writes it; a line costs a few additions.

    Only slots that may still cost something are in memory. `totals` is what
    `LedgerTotals.of(lines)` would be, with two exceptions: the slots are not kept one by one
    (`trail` is empty), and of a slot that an earlier run began only the cost is known, so
    `least_nano_usd` and `most_calls` may be what they were before this run took it up.

    Args:
        before: What the ledger added up to when the run began.
    """

    def __init__(self, before: LedgerTotals) -> None:
        sums = before.by_slot
        self._calls, self._accepted = before.calls, before.accepted
        self._call_nano = nano_of_usd(before.generation_usd)
        self._other_nano = nano_of_usd(before.other_usd)
        self._unknown_nano = nano_of_usd(before.unknown_usd)
        self._slots, self._most_calls = sums.slots, sums.most_calls
        self._slots_nano, self._square_nano = sums.nano_usd, sums.square_nano_usd
        self._yielded, self._yielded_nano = sums.accepted, sums.accepted_nano_usd
        self._least_nano = [sums.least_nano_usd] if sums.slots else []
        """Cost of the cheapest closed slot; empty while there is none."""
        self._open: dict[int, _OpenSlot] = {}

    def resume(self, slot: int, usd_nano: int) -> None:
        """Take up a slot of an earlier run, whose billed call and cost are in the ledger already.

        Args:
            slot: Its number.
            usd_nano: What it has cost so far, nano-dollars.
        """
        self._open[slot] = _OpenSlot(usd_nano=usd_nano, calls=1)

    def add(
        self, slot: int, *, kind: LineKind, outcome: Outcome, usd_nano: int, unknown_nano: int
    ) -> None:
        """Count a call or a judgement that was settled; money in nano-dollars."""
        one = self._open.setdefault(slot, _OpenSlot())
        counted_nano = one.usd_nano if one.calls else 0
        is_first = not one.calls
        one.usd_nano += usd_nano
        self._unknown_nano += unknown_nano
        if kind is LineKind.CALL:
            self._call_nano += usd_nano
            if outcome is Outcome.BILLED:
                one.calls += 1
                self._calls += 1
        else:
            self._other_nano += usd_nano
        if one.calls:
            self._slots += is_first
            self._slots_nano += one.usd_nano - counted_nano
            self._square_nano += one.usd_nano**2 - counted_nano**2
            self._most_calls = max(self._most_calls, one.calls)

    def accept(self, slot: int, usd: Decimal) -> None:
        """Count a slot that yielded an accepted image.

        Args:
            slot: Its number.
            usd: What the image cost: what the slot did, if that is closed.
        """
        one = self._open.get(slot)
        self._accepted += 1
        self._yielded += 1
        self._yielded_nano += nano_of_usd(usd) if one is None else one.usd_nano

    def close(self, slot: int) -> None:
        """Note that a slot costs nothing more."""
        one = self._open.pop(slot, None)
        if one is not None and one.calls:
            self._least_nano = [min([one.usd_nano, *self._least_nano])]

    def totals(self, *, wanted: int, delivered: int) -> LedgerTotals:
        """Return the totals of this moment.

        Args:
            wanted: Images that the jobs want, as the caller counts them.
            delivered: Accepted images of them.
        """
        open_nano = [one.usd_nano for one in self._open.values() if one.calls]
        return LedgerTotals(
            slots=self._slots,
            calls=self._calls,
            accepted=self._accepted,
            generation_usd=usd_of_nano(self._call_nano),
            other_usd=usd_of_nano(self._other_nano),
            unknown_usd=usd_of_nano(self._unknown_nano),
            wanted=wanted,
            delivered=delivered,
            by_slot=SlotSums(
                slots=self._slots,
                accepted=self._yielded,
                nano_usd=self._slots_nano,
                square_nano_usd=self._square_nano,
                accepted_nano_usd=self._yielded_nano,
                least_nano_usd=min([*open_nano, *self._least_nano], default=0),
                most_calls=self._most_calls,
            ),
        )
