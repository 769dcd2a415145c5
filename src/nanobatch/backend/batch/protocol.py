"""What the pipeline asks of a provider that answers many requests at half price, hours later."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from nanobatch.backend.protocol import ImageBackend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime
    from pathlib import Path

    from nanobatch.backend.protocol import ImageRequest, Reply
    from nanobatch.errors import ProviderError

__all__ = ["BatchBackend", "BatchJob", "BatchLine", "BatchState"]


class BatchState(StrEnum):
    """Where a batch job stands."""

    PENDING = "pending"
    RUNNING = "running"
    """Also whatever the provider calls by a name that is not known here."""
    SUCCEEDED = "succeeded"
    """It ended and has a results file; each line of it may still be an error."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """It was not done within 48 hours."""

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more."""
        return self not in {BatchState.PENDING, BatchState.RUNNING}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchJob:
    """A batch job, as the provider described it when it was asked."""

    name: str
    """The provider's name of it, `batches/...`."""

    display_name: str
    """The name its creator gave it; empty if the provider does not say."""

    model: str
    """Model id without `models/`; empty if the provider does not say."""

    state: BatchState

    created_at: datetime | None
    """When it was created, UTC; `None` if the provider does not say."""

    output_file: str | None
    """Where its results are, `files/...`; `None` if there are none, or not yet."""

    error_code: int | None
    """Why the whole job failed, a code of `google.rpc.Code`; `None` if it did not or none is
    named."""

    error_message: str
    """Why the whole job failed, on one line; empty if it did not."""

    requests: int | None
    """Lines of its input, a count >= 0; `None` if the provider does not say."""

    succeeded: int | None
    """Lines with an answer, a count >= 0; `None` if the provider does not say."""

    failed: int | None
    """Lines that failed, a count >= 0; `None` if the provider does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLine:
    """One line of a results file: a complete answer or a fault, never both."""

    key: str | None
    """The key of the request it answers; `None` if it names none, or more than one."""

    reply: Reply | None = None
    """The answer. It is billed, whatever it holds; its `latency_seconds` is 0."""

    fault: ProviderError | None = None
    """What came instead of an answer. `is_unknown_money` is true only if the line cannot be read:
    what the provider itself calls an error is not billed."""


@runtime_checkable
class BatchBackend(ImageBackend, Protocol):
    """A provider that takes requests in a file and gives the answers in another, at half price.

    Every method is free but `create_batch`. Except for it, a failed call can simply be repeated.
    A name, key or display name that cannot be one is a `ConfigError`, and nothing is sent. What is
    not there (deleted, expired, another project's) is a `BadRequestError` of kind `not_found`.
    """

    async def batch_request(self, request: ImageRequest, *, key: str) -> bytes:
        """Return the line of an input file that asks for one image, its line end included.

        It is the request that `generate` would send; nothing is sent now.

        Args:
            request: The call; its deadline means nothing here.
            key: Comes back with the answer: 1 to 200 printable characters, unique in its file.

        Raises:
            BadRequestError: It cannot be written.
        """
        ...

    async def upload_requests(self, path: Path, *, display_name: str) -> str:
        """Upload an input file of at most 2 GB and return its name, `files/...`.

        Raises:
            ProviderError: The provider does not have it; part of it may lie there for two days.
            OSError: The file cannot be read.
        """
        ...

    async def create_batch(self, *, model: str, file: str, display_name: str) -> BatchJob:
        """Send exactly one request to start a batch job.

        It is not idempotent: after an error with `is_unknown_money` the job may exist, and only
        `list_batches` and a unique display name can tell.

        Args:
            model: Model id.
            file: The uploaded input file, `files/...`.
            display_name: How it is found again: unique, 1 to 200 printable ASCII characters.

        Raises:
            ProviderError: There is no job; or, with `is_unknown_money`, nobody can know.
        """
        ...

    async def get_batch(self, name: str) -> BatchJob:
        """Return how a batch job stands.

        Raises:
            ProviderError: The provider did not say.
        """
        ...

    def list_batches(self) -> AsyncIterator[BatchJob]:
        """Yield all batch jobs the provider still knows, in its order, page by page.

        Raises:
            ProviderError: The list is not complete.
        """
        ...

    async def cancel_batch(self, name: str) -> None:
        """Ask for a job to be cancelled; it may take its time, and may end otherwise.

        Raises:
            ProviderError: The provider did not take it.
        """
        ...

    async def delete_file(self, name: str) -> None:
        """Delete an uploaded file; one that is gone already is fine.

        Raises:
            ProviderError: It may still be there.
        """
        ...

    async def download_results(self, file: str, path: Path) -> None:
        """Bring a results file to the disk; it appears at `path` only when it is complete.

        What arrived lies in `path` + `.part` until then, and the next call goes on from there.

        Args:
            file: The output file of a job, `files/...`.
            path: Where it goes; its folder exists.

        Raises:
            TransientError: It broke off; call again.
            ProviderError: The provider does not give it.
            OSError: The disk does not take it.
        """
        ...

    def read_line(self, line: bytes) -> BatchLine:
        """Read one line of a results file; never raises for what stands in it."""
        ...
