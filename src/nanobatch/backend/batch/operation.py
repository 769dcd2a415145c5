"""What the provider says of a batch job: its long-running operation, where anything may be missing.

The SDK's own reading drops why a job failed and how many of its lines did (google-genai 3.4.0:
`_BatchJob_from_mldev`).
"""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast

from nanobatch.backend.batch.protocol import BatchJob, BatchState
from nanobatch.backend.foreign import (
    Json,
    as_object,
    number_of,
    objects_in,
    plain_text,
    shown_text,
    text_of,
)
from nanobatch.backend.translate import unreadable
from nanobatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.genai import types

__all__ = [
    "checked_batch",
    "checked_display_name",
    "checked_file",
    "is_file",
    "jobs_in",
    "operation_of_sdk",
    "read_job",
]

_log = logging.getLogger("nanobatch")
_BATCH: Final = re.compile(r"batches/[A-Za-z0-9_-]{1,200}")
_FILE: Final = re.compile(r"files/[A-Za-z0-9_-]{1,200}")
_MAX_WORD_CHARACTERS: Final = 200
_UNSPECIFIED: Final = "UNSPECIFIED"
_STATES: Final[Mapping[str, BatchState]] = {
    **{state.name: state for state in BatchState},
    "QUEUED": BatchState.PENDING,
    "PARTIALLY_SUCCEEDED": BatchState.SUCCEEDED,
}


def checked_batch(name: str) -> str:
    """Return the name of a batch job.

    Raises:
        ConfigError: It is none: it would go into an address.
    """
    if _BATCH.fullmatch(name) is None:
        raise ConfigError(f"{plain_text(name)!r} is no name of a batch job: batches/...")
    return name


def checked_file(name: str) -> str:
    """Return the name of an uploaded file.

    Raises:
        ConfigError: It is none: it would go into an address.
    """
    if not is_file(name):
        raise ConfigError(f"{plain_text(name)!r} is no name of a file: files/...")
    return name


def checked_display_name(name: str) -> str:
    """Return the name by which a job or file is found again.

    Raises:
        ConfigError: The provider may not give it back as it is.
    """
    if not (name.isascii() and name.isprintable() and 1 <= len(name) <= _MAX_WORD_CHARACTERS):
        raise ConfigError(
            f"A display name has 1 to {_MAX_WORD_CHARACTERS} printable ASCII characters, "
            f"unlike {plain_text(name)!r}."
        )
    return name


def is_file(name: object) -> bool:
    """Return whether the provider can call a file so."""
    return isinstance(name, str) and _FILE.fullmatch(name) is not None


def read_job(operation: Json) -> BatchJob | None:
    """Return the job of an operation; `None` if it names none."""
    metadata = as_object(operation.get("metadata"))
    name = operation.get("name") or metadata.get("name")
    if not isinstance(name, str) or _BATCH.fullmatch(name) is None:
        return None
    output_file = _output_file(operation, metadata)
    error = as_object(operation.get("error")) or as_object(metadata.get("error"))
    stats = as_object(metadata.get("batchStats"))
    return BatchJob(
        name=name,
        display_name=shown_text(metadata.get("displayName"), _MAX_WORD_CHARACTERS),
        model=shown_text(metadata.get("model"), _MAX_WORD_CHARACTERS).removeprefix("models/"),
        state=_state(operation, metadata, name=name, has_output=output_file is not None),
        created_at=_moment(metadata.get("createTime")),
        output_file=output_file,
        error_code=number_of(error.get("code")),
        error_message=plain_text(text_of(error.get("message"))),
        requests=number_of(stats.get("requestCount")),
        succeeded=number_of(stats.get("successfulRequestCount")),
        failed=number_of(stats.get("failedRequestCount")),
    )


def jobs_in(page: object) -> list[BatchJob]:
    """Return the jobs of one page of the list; what has no name of a job is left out.

    Raises:
        TransientError: It is no such page: nobody may take it for an empty one.
    """
    listed: object = as_object(page).get("operations", [])
    if not isinstance(page, dict) or not isinstance(listed, list):
        raise unreadable("no list of batch jobs", is_free=True)
    found = [read_job(operation) for operation in objects_in(cast("list[object]", listed))]
    return [job for job in found if job is not None]


def operation_of_sdk(job: types.BatchJob) -> Json:
    """Return what is left of an operation when the SDK has read it, for a caller's own client."""
    created, error = job.create_time, job.error
    return {
        "name": job.name,
        "error": None if error is None else {"code": error.code, "message": error.message},
        "metadata": {
            "displayName": job.display_name,
            "model": job.model,
            "state": None if job.state is None else str(job.state.value),
            "createTime": None if created is None else created.isoformat(),
            "output": None if job.dest is None else {"responsesFile": job.dest.file_name},
        },
    }


def _output_file(operation: Json, metadata: Json) -> str | None:
    """Return where the results are: the operation says it twice, and either may be missing."""
    for output in (metadata.get("output"), operation.get("response")):
        name: object = as_object(output).get("responsesFile")
        if isinstance(name, str) and is_file(name):
            return name
    return None


def _state(operation: Json, metadata: Json, *, name: str, has_output: bool) -> BatchState:
    word = text_of(metadata.get("state"), _MAX_WORD_CHARACTERS)
    short = word.removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_")
    if short in _STATES:
        return _STATES[short]
    if operation.get("done") is True and has_output:
        return BatchState.SUCCEEDED
    if operation.get("done") is True and as_object(operation.get("error")):
        return BatchState.FAILED
    _warn_once(name, plain_text(word) or _UNSPECIFIED)
    return BatchState.RUNNING


@lru_cache(maxsize=1_000)
def _warn_once(name: str, word: str) -> None:
    _log.warning("Batch job %s is in a state %r that is not known: taken as running", name, word)


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text_of(value, _MAX_WORD_CHARACTERS))
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
