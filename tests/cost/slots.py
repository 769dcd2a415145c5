"""Ledgers written from what became of each slot."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from nanobatch.cost import CostModel, LedgerLine, LineKind, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

AT = datetime(2026, 11, 24, tzinfo=UTC)


class Slot(NamedTuple):
    nano_usd: tuple[int, ...]
    """Price of each billed call, nano-dollars."""

    accepted: bool


def ledger(slots: Iterable[Slot]) -> list[LedgerLine]:
    """Return the ledger of slots numbered from 1."""
    lines: list[LedgerLine] = []
    calls = 0
    for number, slot in enumerate(slots, 1):
        for nano in slot.nano_usd:
            calls += 1
            lines.append(
                LedgerLine(
                    number=len(lines) + 1,
                    at=AT,
                    kind=LineKind.CALL,
                    slot=number,
                    call=calls,
                    outcome=Outcome.BILLED,
                    usd=Decimal(nano).scaleb(-9),
                )
            )
        if slot.accepted:
            lines.append(
                LedgerLine(number=len(lines) + 1, at=AT, kind=LineKind.ACCEPTED, slot=number)
            )
    return lines


def measured(slots: Iterable[Slot]) -> CostModel:
    """Return the cost model of slots."""
    return CostModel.from_ledger(ledger(slots))


def flat(count: int, accepted: int, *, nano_usd: int = 33_600_000) -> CostModel:
    """Return the cost model of slots of one call each, the first ones accepted."""
    return measured(Slot((nano_usd,), number < accepted) for number in range(count))
