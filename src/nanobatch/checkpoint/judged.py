"""What each filter was asked, rejected and charged: whether the order of the list is a good one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from nanobatch.checkpoint.lessons import FINISHES_JUDGED, JUDGED, PRICED, note_of
from nanobatch.models.money import usd_of_nano

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence
    from decimal import Decimal

    from nanobatch.checkpoint.rows import Row

__all__ = [
    "NOTES",
    "QUESTIONS",
    "VERDICTS",
    "FilterFigures",
    "edited_notes",
    "figures_of",
    "forget_notes",
    "names_of",
    "note_filters",
    "since",
]

_KEY = "filter_names"
_TWO_LISTS = TypeAdapter(tuple[list[str], list[str]])

# What `begin_era` and `note_filters` wrote; empty if there was no run yet.
NOTES = f"""
SELECT coalesce((SELECT value FROM meta WHERE key = '{JUDGED}'), ''),
    coalesce((SELECT value FROM meta WHERE key = '{FINISHES_JUDGED}'), ''),
    coalesce((SELECT value FROM meta WHERE key = '{_KEY}'), '')
"""  # noqa: S608 - our own words

_SINCE = "s.number >= CASE s.stage WHEN 'finish' THEN ?2 ELSE ?1 END"

# By stage and rejecting filter (empty for those that passed): how many candidates.
VERDICTS = f"""
SELECT s.stage = 'finish', c.filter_name, count(*) FROM candidates c
JOIN slots s ON s.number = c.slot
WHERE {_SINCE} AND (c.state = 'rejected'
    OR c.state IN ('passed', 'picked', 'accepted', 'unpicked', 'spent'))
GROUP BY s.stage = 'finish', c.filter_name
"""  # noqa: S608 - our own words

# By filter: what its judgements cost; the note of such a line is its name, and perhaps more.
QUESTIONS = f"""
SELECT CASE instr(note, ': ') WHEN 0 THEN note ELSE substr(note, 1, instr(note, ': ') - 1) END
        AS name,
    sum(outcome = 'billed'), sum(usd_nano), sum(unknown_nano)
FROM ledger l JOIN slots s ON s.number = l.slot
WHERE kind = 'judge' AND {_SINCE} AND outcome IS NOT NULL GROUP BY name
"""  # noqa: S608 - our own words


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterFigures:
    """How one filter did since the list of filters was last changed."""

    name: str

    asked: int
    """Candidates that came to it and got a verdict of the whole list; of a part of a combination,
    its billed judgements."""

    rejected: int
    """Candidates that it rejected; 0 for a part of a combination, which rejects as a whole."""

    usd: Decimal
    """What its judgements cost, confirmed."""

    unknown_usd: Decimal
    """Judgements without a complete answer, at their worst case."""

    @property
    def reject_share(self) -> float:
        """Rejected of asked, 0 to 1; 0 if it was asked nothing."""
        return self.rejected / self.asked if self.asked else 0.0

    @property
    def usd_per_rejection(self) -> Decimal | None:
        """What it costs to find one candidate to reject; `None` if it found none."""
        return self.usd / self.rejected if self.rejected else None


def note_filters(
    db: sqlite3.Connection, *, candidates: Sequence[str], finishes: Sequence[str]
) -> None:
    """Write down which filters judge, in the order in which they are asked."""
    names = json.dumps([list(candidates), list(finishes)])
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_KEY, names))


def names_of(stored: str) -> tuple[list[str], list[str]]:
    """Return the filters of candidates and those of finishes, as `note_filters` wrote them.

    Raises:
        ValueError: Somebody edited it, and it makes no sense.
    """
    return _TWO_LISTS.validate_json(stored, strict=True) if stored else ([], [])


def since(*stored: str) -> tuple[int, ...]:
    """Return since which slot today's filters have judged; 0 if there was no run yet.

    Raises:
        ValueError: Somebody edited it, and it makes no sense.
    """
    return tuple(note_of(one)[1] if one else 0 for one in stored)


def edited_notes(db: sqlite3.Connection) -> list[str]:
    """Return what was noted of filters and prices and makes no sense any more, by its key."""
    readers: dict[str, Callable[[str], object]] = {
        JUDGED: note_of,
        FINISHES_JUDGED: note_of,
        PRICED: note_of,
        _KEY: names_of,
    }
    edited: list[str] = []
    for key, value in db.execute("SELECT key, value FROM meta ORDER BY key").fetchall():
        if key in readers:
            try:
                readers[key](value)
            except (ValueError, TypeError):
                edited.append(key)
    return edited


def forget_notes(db: sqlite3.Connection, keys: Sequence[str]) -> None:
    """Remove such notes: the next run writes them anew."""
    db.executemany("DELETE FROM meta WHERE key = ?", [(key,) for key in keys])


def figures_of(
    names: Sequence[Sequence[str]], verdicts: Iterable[Row], questions: Iterable[Row]
) -> tuple[FilterFigures, ...]:
    """Return the figures of every filter, in the order in which they are asked.

    Args:
        names: The filters of candidates and those of finishes.
        verdicts: The rows of `VERDICTS`.
        questions: The rows of `QUESTIONS`.
    """
    counts = {(bool(is_finish), name): count for is_finish, name, count in verdicts}
    paid = {name: (times, usd, unknown) for name, times, usd, unknown in questions}
    asked: dict[str, int] = {}
    rejected: dict[str, int] = {}
    for is_finish, listed in zip((False, True), names, strict=True):
        left = sum(count for (finish, _), count in counts.items() if finish is is_finish)
        for name in listed:
            here = counts.get((is_finish, name), 0)
            asked[name] = asked.get(name, 0) + left
            rejected[name] = rejected.get(name, 0) + here
            left -= here
    for name, (times, _, _) in paid.items():
        asked.setdefault(name, times)
    found: list[FilterFigures] = []
    for name, times in asked.items():
        _, usd_nano, unknown_nano = paid.get(name, (0, 0, 0))
        found.append(
            FilterFigures(
                name=name,
                asked=times,
                rejected=rejected.get(name, 0),
                usd=usd_of_nano(usd_nano),
                unknown_usd=usd_of_nano(unknown_nano),
            )
        )
    return tuple(found)
