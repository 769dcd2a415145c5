"""What a ledger adds up to, by the database itself: a million images take a second, not minutes.

The same figures as `LedgerTotals.of(reader.ledger())`, to the nano-dollar: sums of whole numbers.
`verify` compares what this rests on (a slot's billed calls, its state) with the ledger's lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nanobatch.cost import LedgerTotals
from nanobatch.cost.scatter import TRAIL_SLOTS, SlotOutcome, SlotSums
from nanobatch.models.money import usd_of_nano

if TYPE_CHECKING:
    import sqlite3

    from nanobatch.cost import Stage
    from nanobatch.models import Tier

__all__ = ["ledger_totals"]

_LARGEST_SQUARED: Final = 3_037_000_499
"""Nano-dollars of the dearest slot whose square fits 64 bits; above it Python does the sum."""

_BITS: Final = 31
"""Squares are added in two halves of so many bits, for the same reason."""

_OF = (
    "(:tier IS NULL OR s.tier = :tier) AND (:stage IS NULL OR s.stage = :stage) "
    "AND (:tag IS NULL OR j.tag = :tag)"
)

# One row per slot with a line; a WANT line has no slot and no money.
_BY_SLOT = """
SELECT slot, sum(usd_nano) AS usd, sum(CASE kind WHEN 'call' THEN usd_nano ELSE 0 END) AS call_usd,
    sum(unknown_nano) AS unknown FROM ledger WHERE slot IS NOT NULL GROUP BY slot
"""
_JOINED = f"({_BY_SLOT}) m JOIN slots s ON s.number = m.slot"
_JOB = "JOIN jobs j ON j.number = s.job"

_SLOTS = f"""
SELECT coalesce(sum(call_usd), 0), coalesce(sum(usd), 0), coalesce(sum(unknown), 0),
    coalesce(sum(billed), 0), coalesce(sum(state = 'accepted'), 0),
    coalesce(sum(is_billed), 0), coalesce(sum(is_billed AND state = 'accepted'), 0),
    coalesce(sum(CASE WHEN is_billed THEN usd END), 0),
    coalesce(sum(CASE WHEN is_billed THEN (usd * usd) >> {_BITS} END), 0),
    coalesce(sum(CASE WHEN is_billed THEN (usd * usd) & {(1 << _BITS) - 1} END), 0),
    coalesce(sum(CASE WHEN is_billed AND state = 'accepted' THEN usd END), 0),
    coalesce(min(CASE WHEN is_billed THEN usd END), 0), coalesce(max(billed), 0),
    coalesce(max(abs(usd)), 0)
FROM (SELECT m.*, s.billed, s.state, s.billed > 0 AS is_billed FROM {{slots}})
"""  # noqa: S608 - our own words
_COSTS = "SELECT usd FROM {slots} AND s.billed > 0"
_TRAIL = f"""
SELECT (SELECT coalesce(sum(usd_nano), 0) FROM ledger l WHERE l.slot = s.number),
    s.state = 'accepted'
FROM slots s {_JOB} WHERE s.billed > 0 AND {_OF} ORDER BY s.number LIMIT {TRAIL_SLOTS}
"""  # noqa: S608 - our own words
_IN_FLIGHT = f"""
SELECT coalesce(sum(c.worst_nano), 0) FROM calls c JOIN slots s ON s.number = c.slot {_JOB}
WHERE c.is_open = 1 AND {_OF}
"""  # noqa: S608 - our own words
_WITHOUT_SLOT = """
SELECT number FROM ledger
WHERE slot IS NULL AND (kind != 'want' OR usd_nano != 0 OR unknown_nano != 0) LIMIT 1
"""
_WANTED = """
SELECT coalesce(sum(max(want, 0)), 0) FROM jobs j WHERE :tag IS NULL OR j.tag = :tag
"""
_DELIVERED = """
SELECT coalesce(sum(min(max(j.want, 0), i.number)), 0)
FROM (SELECT job, count(*) AS number FROM images GROUP BY job) i JOIN jobs j ON j.number = i.job
WHERE :tag IS NULL OR j.tag = :tag
"""


def ledger_totals(
    db: sqlite3.Connection,
    *,
    tier: Tier | None = None,
    stage: Stage | None = None,
    tag: str | None = None,
) -> LedgerTotals:
    """Add up the ledger, calls in flight as unknown money; or what it says of some of its slots.

    Args:
        db: In no transaction; it reads in one of its own, so all figures are of one moment.
        tier: Only slots of this tier. Wants belong to no tier, so nothing is wanted then.
        stage: Only slots of this stage; of wants as with a tier.
        tag: Only jobs with this tag.

    Raises:
        TypeError: Somebody edited rows, and they hold no whole numbers any more.
        ValueError: A line lacks the slot that its kind must name.
    """
    db.execute("BEGIN")
    try:
        return _totals(db, {"tier": tier, "stage": stage, "tag": tag})
    finally:
        db.execute("ROLLBACK")


def _totals(db: sqlite3.Connection, which: dict[str, str | None]) -> LedgerTotals:
    lost = db.execute(_WITHOUT_SLOT).fetchone()
    if lost is not None:
        raise ValueError(f"Ledger line {lost[0]} moves money or an image, but lacks its slot.")
    # Without a condition SQLite need not look at the jobs, which is half of the work.
    is_part = any(value is not None for value in which.values())
    slots = f"{_JOINED} {_JOB} WHERE {_OF}" if is_part else f"{_JOINED} WHERE true"
    (
        call_nano, all_nano, unknown_nano, calls, accepted, *by_slot, dearest,
    ) = _integers(db, _SLOTS.format(slots=slots), which)  # fmt: skip
    number, yielded, nano, high, low, accepted_nano, least, most_calls = by_slot
    if dearest <= _LARGEST_SQUARED:
        square = (high << _BITS) + low
    else:
        square = sum(usd**2 for (usd,) in db.execute(_COSTS.format(slots=slots), which))
    wanted = delivered = 0
    if which["tier"] is None and which["stage"] is None:
        (wanted,) = _integers(db, _WANTED, which)
        (delivered,) = _integers(db, _DELIVERED, which)
    (in_flight_nano,) = _integers(db, _IN_FLIGHT, which)
    return LedgerTotals(
        slots=number,
        calls=calls,
        accepted=accepted,
        generation_usd=usd_of_nano(call_nano),
        other_usd=usd_of_nano(all_nano - call_nano),
        unknown_usd=usd_of_nano(unknown_nano + in_flight_nano),
        wanted=wanted,
        delivered=delivered,
        by_slot=SlotSums(
            slots=number,
            accepted=yielded,
            nano_usd=nano,
            square_nano_usd=square,
            accepted_nano_usd=accepted_nano,
            least_nano_usd=least,
            most_calls=most_calls,
            trail=tuple(
                SlotOutcome(usd_nano, bool(is_accepted))
                for usd_nano, is_accepted in db.execute(_TRAIL, which)
            ),
        ),
    )


def _integers(db: sqlite3.Connection, query: str, values: dict[str, str | None]) -> tuple[int, ...]:
    row: tuple[Any, ...] = db.execute(query, values).fetchone()
    if not all(isinstance(value, int) for value in row):
        raise TypeError("it holds something else where a whole number belongs")
    return row
