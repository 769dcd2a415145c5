"""Writes the result file of a batch job: shuffled, with what is missing and what is too much."""

from __future__ import annotations

import hashlib
import json
from random import Random
from typing import TYPE_CHECKING, Any

from nanobatch.simulator.batch.settings import picks
from nanobatch.simulator.chance import digest

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from nanobatch.simulator.batch.job import Done, Job
    from nanobatch.simulator.batch.settings import Settings

__all__ = ["inline_output", "write_results"]


def write_results(
    job: Job, settings: Settings, path: Path, *, seed: int
) -> tuple[bytes, frozenset[int]]:
    """Write the results of a job that is done; never more than one of them is held.

    Returns:
        The SHA-256 digest of the file, and the numbers of the bill's lines that are in it.
    """
    order: list[tuple[str, Done]] = []
    for done in job.done:
        key = done.line.key
        if picks(settings.missing, key, seed, "missing", job.name):
            continue
        order.append((key, done))
        if picks(settings.duplicates, key, seed, "duplicate", job.name):
            order.append((key, done))
    if job.done:
        order += [
            (f"stranger-{digest(seed, job.name, nth)}", job.done[nth % len(job.done)])
            for nth in range(settings.strangers)
        ]
    if settings.shuffled:
        Random(digest(seed, job.name, "order")).shuffle(order)  # noqa: S311 - reproducible
    hashed = hashlib.sha256()
    with path.open("wb") as out, job.work_path.open("rb") as work:
        for key, done in order:
            line = _line(key, done, work)
            hashed.update(line)
            out.write(line)
    return hashed.digest(), frozenset(
        done.bill_number for key, done in order if key == done.line.key
    )


def inline_output(job: Job, path: Path, *, drops_metadata: bool) -> dict[str, Any]:
    """Return the results of a job of inline requests."""
    metadata = {line.key: line.metadata for line in job.lines}
    responses: list[dict[str, Any]] = []
    with path.open("rb") as file:
        for text in file:
            try:
                result: dict[str, Any] = json.loads(text)
            except ValueError:  # an answer that is no JSON cannot stand in one that is
                result = {"error": {"code": 13, "message": "Internal error encountered."}}
            key = result.pop("key", "")
            if not drops_metadata and metadata.get(key, {"key": key}) is not None:
                result["metadata"] = metadata.get(key, {"key": key})
            responses.append(result)
    return {"inlinedResponses": {"inlinedResponses": responses}}


def _line(key: str, done: Done, work: BinaryIO) -> bytes:
    work.seek(done.offset)
    result = work.read(done.size_bytes)
    start = f'"key":{json.dumps(key)},' if key else ""
    return f'{{{start}"{"error" if done.is_error else "response"}":'.encode() + result + b"}\n"
