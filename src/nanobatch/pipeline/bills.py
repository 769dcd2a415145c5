"""What slots in flight have cost so far, so that each one's whole cost is known when it lands."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanobatch.checkpoint.changes import Settlement
    from nanobatch.pipeline.meter import Meter

__all__ = ["SlotBills"]


class SlotBills:
    """Adds up the money of each slot of one run; amounts are nano-dollars.

    Args:
        meter: Hears of every settlement, if somebody watches the run.
    """

    def __init__(self, meter: Meter | None = None) -> None:
        self._meter = meter
        self._usd: dict[int, int] = {}
        self._unknown: dict[int, int] = {}

    def add(self, settlement: Settlement) -> None:
        """Add what one call or judgement of a slot cost."""
        if self._meter is not None:
            self._meter.settled(settlement)
        self._add(settlement.slot, settlement.usd_nano, settlement.unknown_nano)

    def begin(self, slot: int, usd_nano: int, unknown_nano: int) -> None:
        """Add what earlier runs have paid for a slot."""
        if self._meter is not None:
            self._meter.resumed(slot, usd_nano)
        self._add(slot, usd_nano, unknown_nano)

    def close(self, slot: int) -> int | None:
        """Return what a slot cost in all; `None` if some of it nobody knows."""
        if self._meter is not None:
            self._meter.closed(slot)
        usd_nano, unknown_nano = self._usd.pop(slot, 0), self._unknown.pop(slot, 0)
        return None if unknown_nano else usd_nano

    def _add(self, slot: int, usd_nano: int, unknown_nano: int) -> None:
        self._usd[slot] = self._usd.get(slot, 0) + usd_nano
        self._unknown[slot] = self._unknown.get(slot, 0) + unknown_nano
