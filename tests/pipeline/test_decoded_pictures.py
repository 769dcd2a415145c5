"""Decoded pictures are thirty times their files: few are in memory at a time, each made once."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from nanobatch import Candidate, Job, filters
from nanobatch.pipeline.panel import FILTER_THREADS
from tests.support import pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

JOBS = [Job(id=str(number), prompt=f"{number} dunes at night") for number in range(40)]


async def test_a_candidate_is_judged_to_its_end_before_many_others_are_decoded(
    tmp_path: Path,
) -> None:
    decoded: set[int] = set()
    at_once: list[int] = []
    lock = threading.Lock()

    def first(candidate: Candidate) -> bool:
        candidate.image.load()
        with lock:
            decoded.add(candidate.slot)
            at_once.append(len(decoded))
        return True

    def last(candidate: Candidate) -> bool:
        with lock:
            decoded.discard(candidate.slot)
        return True

    async with simulator() as server:
        result = await pipeline_on(
            server, tmp_path, filters=[first, filters.MinBytes(1), last], concurrency=40
        ).run(JOBS)

    assert result.delivered == len(JOBS)
    assert 0 < max(at_once) <= FILTER_THREADS


async def test_pixels_are_decoded_once_and_dropped_with_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL.ImageFile import ImageFile

    times: Counter[int] = Counter()
    held: list[Candidate] = []
    kept: list[ImageFile] = []  # or another picture gets the same id
    load = ImageFile.load

    def counted(picture: ImageFile) -> object:
        times[id(picture)] += bool(picture.tile)  # there are pixels still to be decoded
        kept.append(picture)
        return load(picture)

    def hold(candidate: Candidate) -> bool:
        held.append(candidate)
        return True

    monkeypatch.setattr(ImageFile, "load", counted)

    async with simulator() as server:
        result = await pipeline_on(server, tmp_path, filters=[hold, *filters.default()]).run(
            JOBS[:5]
        )

    assert result.delivered == 5
    assert sorted(filter(None, times.values())) == [1] * 5
    assert [one for one in held if "image" in vars(one)] == []
