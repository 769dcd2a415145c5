"""What the filters said of a candidate, and how that is kept while it waits."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanobatch.candidate import Verdict
from nanobatch.filters.protocol import as_verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Judgement"]

_ANSWER = "answer of "
"""Begins the names under which answers are stored among the memos."""


@dataclass(slots=True, kw_only=True)
class Judgement:
    """The verdict of all filters together."""

    is_broken: bool = False
    accepted: bool = True
    filter_name: str = ""
    """The filter that rejected it."""
    reason: str = ""
    score: float | None = None
    """The last score a filter gave."""
    memos: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """What filters want to remember of it if it is accepted, by filter name."""
    answers: dict[str, Verdict] = field(default_factory=dict[str, Verdict])
    """What parts of combinations said that remember nothing, by their place: they are not asked
    again, and not paid again, when a candidate that waited is compared once more."""
    is_again: bool = False
    """Whether memos and answers are those of an earlier judgement, so that they may be used."""

    @property
    def memos_json(self) -> str:
        """The memos as they are stored of an accepted image."""
        return json.dumps({name: memo.hex() for name, memo in self.memos.items()})

    @property
    def waiting_json(self) -> str:
        """The memos as they are stored of a candidate that waits, with the answers."""
        answers = {f"{_ANSWER}{place}": _as_memo(said) for place, said in self.answers.items()}
        return json.dumps({name: memo.hex() for name, memo in (self.memos | answers).items()})

    @classmethod
    def again(cls, stored: Mapping[str, bytes], *, score: float | None = None) -> Judgement:
        """Return what was known of a candidate that waited, to go on with.

        Args:
            stored: What `waiting_json` was read as.
            score: The score it has.

        Raises:
            ValueError: Somebody edited it, and it makes no sense.
        """
        return cls(
            score=score,
            memos={name: memo for name, memo in stored.items() if not name.startswith(_ANSWER)},
            answers={
                name.removeprefix(_ANSWER): _as_answer(memo)
                for name, memo in stored.items()
                if name.startswith(_ANSWER)
            },
            is_again=True,
        )


def _as_memo(said: Verdict) -> bytes:
    return json.dumps([said.accepted, said.reason, said.score]).encode()


def _as_answer(memo: bytes) -> Verdict:
    accepted, reason, score = json.loads(memo)
    return as_verdict(
        Verdict(accepted=accepted, reason=reason, score=score), filter_name="of an earlier run"
    )
