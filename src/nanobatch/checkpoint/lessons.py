"""What a checkpoint's slots teach about tags and tiers, added up where they are stored."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from nanobatch.checkpoint.trouble import folder_of, row_errors
from nanobatch.cost import Stage
from nanobatch.models import Tier

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from nanobatch.checkpoint.changes import NewSlot
    from nanobatch.checkpoint.take import JobEntry

__all__ = [
    "FINISHES_JUDGED",
    "JUDGED",
    "OF_ERA",
    "PASSED",
    "PRICED",
    "Era",
    "Experience",
    "SlotSums",
    "begin_era",
    "changed_jobs",
    "era_now",
    "experience",
    "note_of",
]

JUDGED = "judged_since"
FINISHES_JUDGED = "finishes_judged_since"
PRICED = "priced_since"

PASSED = "('passed', 'picked', 'accepted', 'unpicked', 'spent')"
"""States of slots whose candidate passed, for SQL."""

OF_ERA = (
    "s.number >= CASE s.stage WHEN 'finish' THEN :finishes_from ELSE :judged_from END "
    "AND s.model_id = CASE s.tier WHEN 'lite' THEN :lite ELSE :quality END"
)
"""Says of a slot whether an era covers it, for SQL; its values are `Era.values`."""

_COUNTED = f"{OF_ERA} AND s.stage = 'candidate' AND s.billed > 0 AND s.state != 'open'"

# Unknown money, even if it was settled since, says nothing about what a slot costs.
_DOUBTFUL = "SELECT slot FROM ledger WHERE unknown_nano != 0 AND {its_lines}"

# Nor does what was drawn at half the price say what a slot costs at the full one.
_BY_BATCH = "SELECT 1 FROM batch_calls b WHERE b.slot = {slot}"

_SUMS = f"""
SELECT j.tag, s.tier, json_extract(j.body, '$.size') AS size, count(*),
    sum(s.state IN {PASSED}), sum(s.number >= :priced_from AND s.number NOT IN ({_DOUBTFUL})
        AND NOT EXISTS ({_BY_BATCH.format(slot="s.number")}))
FROM slots s JOIN jobs j ON j.number = s.job
WHERE {{its_slots}} AND {_COUNTED} GROUP BY j.tag, s.tier, size ORDER BY j.tag, s.tier, size
"""  # noqa: S608 - our own words

_USD = f"""
SELECT s.tier, sum(l.usd_nano)
FROM (SELECT slot, usd_nano FROM ledger WHERE {{its_lines}}) l
CROSS JOIN slots s ON s.number = l.slot
WHERE l.slot >= :priced_from AND l.slot NOT IN ({_DOUBTFUL}) AND {_COUNTED}
    AND NOT EXISTS ({_BY_BATCH.format(slot="l.slot")})
GROUP BY s.tier
"""  # noqa: S608 - our own words


@dataclass(frozen=True, slots=True, kw_only=True)
class Era:
    """From which slot on what was measured says something about today."""

    judged_from: int
    """The first slot whose candidate or draft today's filters judged."""
    finishes_from: int
    """The first slot whose finish today's filters judged."""
    priced_from: int
    """The first slot that was billed at today's prices."""
    model_ids: Mapping[Tier, str]
    """The models of today; what others drew teaches nothing about them."""

    def covers(self, slot: NewSlot) -> bool:
        """Return whether what a slot comes to says something about today."""
        is_finish = slot.stage is Stage.FINISH
        since = self.finishes_from if is_finish else self.judged_from
        return slot.number >= since and slot.model_id == self.model_ids.get(slot.tier)

    def prices(self, slot: NewSlot) -> bool:
        """Return whether what a slot costs at the full price is what one costs today."""
        return slot.number >= self.priced_from

    @property
    def values(self) -> dict[str, object]:
        """What queries call it."""
        return {
            "judged_from": self.judged_from,
            "finishes_from": self.finishes_from,
            "priced_from": self.priced_from,
            "lite": self.model_ids.get(Tier.LITE, ""),
            "quality": self.model_ids.get(Tier.QUALITY, ""),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotSums:
    """The settled candidate slots of one tag, tier and size."""

    tag: str
    tier: Tier
    size: str
    slots: int
    """With a billed call."""
    passed: int
    priced_slots: int
    """Those of them whose money is known and was billed at today's prices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """What candidate slots came to, and what the priced ones cost."""

    sums: tuple[SlotSums, ...]
    usd_nano: Mapping[Tier, int]
    """What the priced slots of each tier cost, nano-dollars."""


def begin_era(
    db: sqlite3.Connection,
    *,
    filters: str,
    finish_filters: str,
    prices: str,
    model_ids: Mapping[Tier, str],
) -> Era:
    """Return what counts in a run, and write down where another set of filters or prices begins.

    Args:
        db: Inside a transaction, before the run has a slot.
        filters: What identifies today's filters; a change makes all earlier verdicts on candidates
            and drafts void.
        finish_filters: The same of those that judge finishes.
        prices: What identifies today's prices; a change makes all earlier bills void.
        model_ids: The models of today.
    """
    era = era_now(
        db,
        filters=filters,
        finish_filters=finish_filters,
        prices=prices,
        model_ids=model_ids,
    )
    for key, identity, slot in (
        (JUDGED, filters, era.judged_from),
        (FINISHES_JUDGED, finish_filters, era.finishes_from),
        (PRICED, prices, era.priced_from),
    ):
        value = json.dumps({"identity": identity, "slot": slot})
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
    return era


def era_now(
    db: sqlite3.Connection,
    *,
    filters: str,
    finish_filters: str,
    prices: str,
    model_ids: Mapping[Tier, str],
) -> Era:
    """Return what would count in a run that begins now, and write nothing down.

    Args:
        db: A connection, reading is enough.
        filters: As `begin_era`.
        finish_filters: As `begin_era`.
        prices: As `begin_era`.
        model_ids: As `begin_era`.
    """
    return Era(
        judged_from=_since(db, JUDGED, filters),
        finishes_from=_since(db, FINISHES_JUDGED, finish_filters),
        priced_from=_since(db, PRICED, prices),
        model_ids=model_ids,
    )


def experience(db: sqlite3.Connection, era: Era, *, job: int | None = None) -> Experience:
    """Return what the candidate slots of an era came to, of all jobs or of one.

    Every slot counts under the tag its job has now.

    Raises:
        CheckpointError: Somebody edited the rows, and they make no sense.
    """
    values = {**era.values, "job": job}
    its_slots, its_lines = ("true", "true") if job is None else ("s.job = :job", "job = :job")
    sums, usd = (
        db.execute(query.format(its_slots=its_slots, its_lines=its_lines), values).fetchall()
        for query in (_SUMS, _USD)
    )
    with row_errors(folder_of(db)):
        return Experience(
            sums=tuple(
                SlotSums(
                    tag=tag,
                    tier=Tier(tier),
                    size=size,
                    slots=slots,
                    passed=passed,
                    priced_slots=priced,
                )
                for tag, tier, size, slots, passed, priced in sums
            ),
            usd_nano={Tier(tier): usd_nano for tier, usd_nano in usd},
        )


def changed_jobs(db: sqlite3.Connection, entries: Sequence[JobEntry]) -> list[int]:
    """Return the jobs whose slots will count under another tag or size once they are taken."""
    numbers: list[int] = []
    for entry in entries:
        row = db.execute(
            "SELECT number FROM jobs WHERE id = ? "
            "AND NOT (tag = ? AND json_extract(body, '$.size') = ?)",
            (entry.job.id, entry.job.tag, entry.job.size),
        ).fetchone()
        if row is not None:
            numbers.append(row[0])
    return numbers


class _Note(BaseModel, strict=True, defer_build=True):
    """What has been the same since which slot."""

    identity: str
    slot: int = Field(ge=0, lt=2**63)


def note_of(stored: str) -> tuple[str, int]:
    """Return what has been the same since which slot, as `begin_era` wrote it down.

    Raises:
        ValueError: Somebody edited it, and it makes no sense.
    """
    note = _Note.model_validate_json(stored)
    return note.identity, note.slot


def _since(db: sqlite3.Connection, key: str, identity: str) -> int:
    """Return the slot since when something has been what it is now."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    if row is not None:
        with suppress(ValueError):  # then nobody knows, and it is another one
            known, slot = note_of(row[0])
            if known == identity:
                return slot
    return int(db.execute("SELECT coalesce(max(number), 0) + 1 FROM slots").fetchone()[0])
