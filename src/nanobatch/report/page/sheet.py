"""The contact sheet as JSON: every image and every failure, a portion at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from nanobatch.checkpoint import CandidateState
from nanobatch.cost.table import show_usd
from nanobatch.report.page.thumbnails import reference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nanobatch.checkpoint import (
        CandidateRecord,
        CheckpointReader,
        Failure,
        KeptCandidate,
        Moment,
    )
    from nanobatch.job import Job
    from nanobatch.report.page.thumbnails import Thumbnails

__all__ = ["MAX_FAILURES", "MAX_PROMPT_CHARACTERS", "Portion", "Sheet"]

PORTION_IMAGES: Final = 100
"""A browser parses the thumbnails of that many images when the first of them comes into view."""

MAX_FAILURES: Final = 2_000
"""Failures with a tile of their own; the table of failures counts all of them."""

MAX_PROMPT_CHARACTERS: Final = 20_000
"""A longer prompt is cut, and the page says so."""

MAX_REASON_CHARACTERS: Final = 2_000

WORKERS: Final = 4
"""Threads that make thumbnails; Pillow decodes without the interpreter's lock."""

Portion = dict[str, Any]
"""`jobs` that are new, `items`, and `thumbnails` by the number of their item."""

_VERDICTS: Final = {
    CandidateState.ACCEPTED: ("accepted", ""),
    CandidateState.REJECTED: ("rejected", ""),
    CandidateState.BROKEN: ("rejected", "broken file"),
    CandidateState.STAGED: ("held", "not judged yet"),
    CandidateState.PASSED: ("held", "passed, waits for its group or its finish"),
    CandidateState.PICKED: ("held", "picked, waits for its finish"),
    CandidateState.SPARE: ("aside", "further image of an answer, not needed"),
    CandidateState.UNPICKED: ("aside", "passed, another one of its group was better"),
    CandidateState.SPENT: ("aside", "draft that went into a finish"),
}
"""Of each state: the tab it belongs to, and what to say beyond that."""


class Sheet:
    """The images and failures of a checkpoint as the page needs them.

    Only the ids of jobs stay in memory; each job is written before the first item of it.
    """

    def __init__(
        self, reader: CheckpointReader, moment: Moment, *, thumbnails: Thumbnails, base: Path
    ) -> None:
        self._reader = reader
        self._moment = moment
        self._thumbnails = thumbnails
        self._base = base
        self._places: dict[str, int] = {}
        """By id: how many jobs were written before."""

    def portions(self) -> Iterator[Portion]:
        """Yield all images, oldest first, and then the failures."""
        pairs = self._pairs()
        with ThreadPoolExecutor(WORKERS) as threads:
            while pages := list(islice(pairs, PORTION_IMAGES)):
                small = list(threads.map(self._thumbnails.of, [record for record, _ in pages]))
                yield self._images(pages, small)
        failures = enumerate(islice(self._reader.failures(), MAX_FAILURES))
        while some := list(islice(failures, PORTION_IMAGES)):
            yield self._failures(some)

    def _pairs(self) -> Iterator[tuple[CandidateRecord, KeptCandidate]]:
        """Yield each candidate with its history; one that came since the moment has none."""
        histories = self._reader.kept_candidates(self._moment)
        history = next(histories, None)
        for record in self._reader.candidates():
            while history is not None and history.record.number < record.number:
                history = next(histories, None)
            if history is None:
                return
            if history.record.number == record.number:
                yield record, history

    def _images(
        self,
        pairs: list[tuple[CandidateRecord, KeptCandidate]],
        small: list[str | None],
    ) -> Portion:
        portion: Portion = {"jobs": [], "items": [], "thumbnails": {}}
        for (record, history), thumbnail in zip(pairs, small, strict=True):
            item = self._image(record, history)
            item["job"] = self._place(history.job, portion)
            if thumbnail is not None and self._thumbnails.is_embedded:
                portion["thumbnails"][item["key"]] = thumbnail
                item["thumbnail"] = True
            elif thumbnail is not None:
                item["thumbnail"] = thumbnail
            portion["items"].append(item)
        return portion

    def _image(self, record: CandidateRecord, history: KeptCandidate) -> dict[str, Any]:
        verdict, note = _VERDICTS[record.state]
        item = {
            "key": str(record.number),
            "verdict": verdict,
            "note": note,
            "tier": record.tier,
            "stage": record.stage,
            "model": record.model_id,
            "filter": record.filter_name,
            "reason": record.reason[:MAX_REASON_CHARACTERS],
            "score": record.score if isfinite(record.score or 0.0) else None,
            "usd": show_usd(history.usd),
            "slot": record.slot,
            "parent": history.parent,
            "attempt": history.attempt,
            "number": history.image_number,
            "width": record.width_px,
            "height": record.height_px,
            "type": record.mime_type,
            "at": record.at.isoformat(timespec="seconds"),
            "file": record.path and reference(record.path, base=self._base),
        }
        return {name: value for name, value in item.items() if value not in (None, "")}

    def _failures(self, failures: list[tuple[int, Failure]]) -> Portion:
        portion: Portion = {"jobs": [], "items": [], "thumbnails": {}}
        for number, failure in failures:
            job = self._places.get(failure.job_id)
            if job is None:
                stored = self._reader.job(failure.job_id)
                job = None if stored is None else self._place(stored, portion)
            item = {
                "key": f"f{number}",
                "verdict": "failed",
                "note": "the job ended with it" if failure.is_final else "",
                "kind": failure.kind,
                "reason": failure.message[:MAX_REASON_CHARACTERS],
                "model": failure.model_id,
                "usd": show_usd(failure.usd),
                "slot": failure.slot,
                "at": failure.at.isoformat(timespec="seconds"),
                "job": job,
            }
            portion["items"].append(
                {name: value for name, value in item.items() if value not in (None, "")}
            )
        return portion

    def _place(self, job: Job, portion: Portion) -> int:
        place = self._places.get(job.id)
        if place is None:
            place = self._places[job.id] = len(self._places)
            cut = job.prompt[:MAX_PROMPT_CHARACTERS]
            portion["jobs"].append(
                {
                    "id": job.id,
                    "tag": job.tag,
                    "want": job.want,
                    "prompt": cut,
                    **({"characters": len(job.prompt)} if cut != job.prompt else {}),
                }
            )
        return place
