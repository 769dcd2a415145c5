"""Totals kept up line by line are those of the ledger read from its beginning."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from nanobatch.cost import LedgerLine, LedgerTotals, LineKind, Outcome
from nanobatch.cost.running import RunningTotals
from nanobatch.models.money import usd_of_nano

NOW = datetime(2026, 11, 27, tzinfo=UTC)


@dataclass(frozen=True)
class Step:
    """One thing that happens to a slot."""

    slot: int
    what: Literal["call", "judge", "close"]
    outcome: Outcome = Outcome.BILLED
    nano: int = 0


slots = st.integers(1, 6)
steps = st.one_of(
    st.builds(
        Step,
        slots,
        st.just("call"),
        st.sampled_from(Outcome),
        st.integers(0, 10**9),
    ),
    st.builds(Step, slots, st.just("judge"), st.just(Outcome.BILLED), st.integers(0, 10**7)),
    st.builds(Step, slots, st.just("close")),
)


class Ledger:
    """Writes every step twice: as a line, and into the running totals."""

    def __init__(self) -> None:
        self.lines: list[LedgerLine] = []
        self.running = RunningTotals(LedgerTotals())
        self._numbers = count(1)
        self.closed: set[int] = set()
        self.nano: dict[int, int] = {}
        self.billed: set[int] = set()

    def take(self, step: Step) -> None:
        if step.slot in self.closed:
            return
        if step.what == "close":
            self._close(step.slot)
            return
        kind = LineKind(step.what)
        if kind is LineKind.JUDGE and step.slot not in self.billed:
            return  # there is nothing to judge yet
        is_unknown = step.outcome is Outcome.UNKNOWN
        usd_nano = step.nano if step.outcome is Outcome.BILLED else 0
        unknown_nano = step.nano if is_unknown else 0
        self._write(kind, step.slot, step.outcome, usd_nano, unknown_nano)
        self.running.add(
            step.slot,
            kind=kind,
            outcome=step.outcome,
            usd_nano=usd_nano,
            unknown_nano=unknown_nano,
        )
        self.nano[step.slot] = self.nano.get(step.slot, 0) + usd_nano
        if kind is LineKind.CALL and step.outcome is Outcome.BILLED:
            self.billed.add(step.slot)

    def accept(self, slot: int) -> None:
        """Accept the image of a slot, closed or not."""
        self._write(LineKind.ACCEPTED, slot, None, 0, 0)
        self.running.accept(slot, usd_of_nano(self.nano.get(slot, 0)))

    def _close(self, slot: int) -> None:
        self.closed.add(slot)
        self.running.close(slot)

    def _write(
        self, kind: LineKind, slot: int, outcome: Outcome | None, usd_nano: int, unknown_nano: int
    ) -> None:
        number = next(self._numbers)
        self.lines.append(
            LedgerLine(
                number=number,
                at=NOW,
                kind=kind,
                job_id="a",
                slot=slot,
                call=number,
                outcome=outcome,
                usd=usd_of_nano(usd_nano),
                unknown_usd=usd_of_nano(unknown_nano),
            )
        )


def without_trail(totals: LedgerTotals) -> LedgerTotals:
    return replace(totals, by_slot=replace(totals.by_slot, trail=()))


def known_later(totals: LedgerTotals) -> LedgerTotals:
    """Return the totals without what a later run cannot know of a slot that it takes up."""
    return replace(totals, by_slot=replace(totals.by_slot, least_nano_usd=0, most_calls=0))


@given(st.lists(steps, max_size=40), st.sets(slots))
def test_at_every_moment_they_are_the_ledgers(history: list[Step], accepted: set[int]) -> None:
    ledger = Ledger()
    for step in history:
        ledger.take(step)

        shown = ledger.running.totals(wanted=0, delivered=0)
        assert shown == without_trail(LedgerTotals.of(ledger.lines))
    for slot in sorted(accepted & ledger.billed):
        ledger.accept(slot)

        shown = ledger.running.totals(wanted=0, delivered=0)
        expected = without_trail(LedgerTotals.of(ledger.lines))
        assert replace(shown, delivered=expected.delivered) == expected


@given(st.lists(steps, max_size=30), st.lists(steps, max_size=30))
def test_a_later_run_goes_on_from_what_the_ledger_adds_up_to(
    first: list[Step], second: list[Step]
) -> None:
    ledger = Ledger()
    for step in first:
        ledger.take(step)

    ledger.running = RunningTotals(LedgerTotals.of(ledger.lines))
    for slot in ledger.billed:
        if slot not in ledger.closed:
            ledger.running.resume(slot, ledger.nano[slot])
    begun = ledger.billed | set(ledger.nano)
    for step in second:
        if step.slot not in begun or step.slot in ledger.billed:
            ledger.take(step)

    shown = ledger.running.totals(wanted=0, delivered=0)
    expected = without_trail(LedgerTotals.of(ledger.lines))
    assert known_later(shown) == known_later(expected)
    assert shown.by_slot.least_nano_usd <= expected.by_slot.least_nano_usd
