"""What each filter was asked, rejected and charged: whether the order of the list is a good one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanobatch.models.money import usd_of_nano

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence
    from decimal import Decimal

    from nanobatch.checkpoint.rows import Row

__all__ = ["JUDGED_SINCE", "QUESTIONS", "VERDICTS", "FilterFigures", "figures_of", "note_filters"]

_KEY = "filter_names"

JUDGED_SINCE = f"""
SELECT coalesce((SELECT json_extract(value, '$.slot') FROM meta WHERE key = 'judged_since'), 0),
    coalesce((SELECT value FROM meta WHERE key = '{_KEY}'), '[[], []]')
"""  # noqa: S608 - our own words

# By stage and rejecting filter (empty for those that passed): how many candidates.
VERDICTS = """
SELECT s.stage = 'finish', c.filter_name, count(*) FROM candidates c
JOIN slots s ON s.number = c.slot
WHERE s.number >= ? AND (c.state = 'rejected'
    OR c.state IN ('passed', 'picked', 'accepted', 'unpicked', 'spent'))
GROUP BY s.stage = 'finish', c.filter_name
"""

# By filter: what its judgements cost; the note of such a line is its name, and perhaps more.
QUESTIONS = """
SELECT CASE instr(note, ': ') WHEN 0 THEN note ELSE substr(note, 1, instr(note, ': ') - 1) END
        AS name,
    sum(outcome = 'billed'), sum(usd_nano), sum(unknown_nano)
FROM ledger WHERE kind = 'judge' AND slot >= ? AND outcome IS NOT NULL GROUP BY name
"""


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


def figures_of(
    names: str, verdicts: Iterable[Row], questions: Iterable[Row]
) -> tuple[FilterFigures, ...]:
    """Return the figures of every filter, in the order in which they are asked.

    Args:
        names: What `note_filters` wrote.
        verdicts: The rows of `VERDICTS`.
        questions: The rows of `QUESTIONS`.
    """
    lists: list[list[str]] = json.loads(names)
    counts = {(bool(is_finish), name): count for is_finish, name, count in verdicts}
    paid = {name: (times, usd, unknown) for name, times, usd, unknown in questions}
    asked: dict[str, int] = {}
    rejected: dict[str, int] = {}
    for is_finish, listed in zip((False, True), lists, strict=True):
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
