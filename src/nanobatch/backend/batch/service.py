"""Talks to the Batch API through the SDK: one call is one request, and what it says is kept raw."""

from __future__ import annotations

import ssl
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import anyio
import anyio.to_thread
from google.genai import types
from google.genai.pagers import AsyncPager
from pydantic import ValidationError

from nanobatch.backend.answer import parsed
from nanobatch.backend.batch.download import download, finish, part_of
from nanobatch.backend.batch.operation import (
    checked_batch,
    checked_display_name,
    checked_file,
    is_file,
    jobs_in,
    operation_of_sdk,
    read_job,
)
from nanobatch.backend.foreign import Json, as_object, text_of
from nanobatch.backend.letter import dictation
from nanobatch.backend.sdk_faults import fault_of_sdk
from nanobatch.backend.translate import not_found, unreadable
from nanobatch.backend.transport import keep_answer
from nanobatch.errors import (
    AccountError,
    BadRequestError,
    ConfigError,
    ModelGoneError,
    ProviderError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    import httpx2
    from google import genai

    from nanobatch.backend.batch.protocol import BatchJob
    from nanobatch.backend.transport import GuardedTransport

__all__ = ["BatchService"]

ASK_SECONDS: Final = 60.0
CREATE_SECONDS: Final = 180.0
"""Longer: giving up on it leaves a job behind that nobody knows."""
CALLERS_DOWNLOAD_SECONDS: Final = 3600.0
"""aiohttp, which a caller's own client may have, counts the whole download."""
SLOWEST_BYTES_PER_SECOND: Final = 32 * 1024
"""How slowly a file may go up."""
MIME_TYPE: Final = "application/jsonl"
PAGE_SIZE: Final = 100
MAX_PAGES: Final = 10_000
# A front that gave up on what is behind it, or an error in the middle: there may be a job. 429 and
# 503 are said before anything is done.
# Source: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto on
# DEADLINE_EXCEEDED ("may be returned even if the operation has completed successfully"), from
# memory, 2026-11-27.
_MAY_BE_DONE: Final = frozenset({408, 500, 502, 504})

_MISREAD: Final = (AttributeError, KeyError, TypeError, ValidationError)
"""What the SDK says of an answer whose fields are not as it expects them."""


class BatchService:
    """The batch jobs and files of one account.

    Args:
        client: An open client of the SDK.
        transport: Ours, if it is the one under the client.
        timeout_seconds: Deadline of a request; by default what suits each.

    Raises:
        ConfigError: The client is one for Vertex AI, whose batches work in another way.
    """

    def __init__(
        self,
        client: genai.Client,
        transport: GuardedTransport | None,
        *,
        timeout_seconds: float | None,
    ) -> None:
        if client.vertexai:
            raise ConfigError(
                "Batches go through the Gemini Developer API only: Vertex AI takes them from "
                "Cloud Storage. Use Gemini(api_key=...), or run without batch=."
            )
        self._client = client
        self._transport = transport
        self._timeout_seconds = timeout_seconds

    async def upload(self, path: Path, *, display_name: str) -> str:
        """Upload a file of requests; see `BatchBackend.upload_requests`."""
        name: object = None
        fault: ProviderError = unreadable("no name of a file", is_free=True)
        options = self._options(ASK_SECONDS)
        config = types.UploadFileConfig(
            display_name=checked_display_name(display_name),
            mime_type=MIME_TYPE,
            http_options=options,
        )
        size_bytes = (await anyio.Path(path).stat()).st_size
        seconds = _seconds(options) + size_bytes / SLOWEST_BYTES_PER_SECOND
        # Opened here: the SDK would make a header of the file's name, which not every name can be.
        with await anyio.to_thread.run_sync(partial(open, path, "rb")) as file:
            try:
                with anyio.fail_after(seconds):
                    uploaded = await self._client.aio.files.upload(file=file, config=config)
                    name = uploaded.name
            except (*_MISREAD, ValueError) as error:
                fault = unreadable(type(error).__name__, is_free=True)
            except Exception as error:  # noqa: BLE001 - every kind of failure ends in one tree
                fault = _free(error, seconds)
        if isinstance(name, str) and is_file(name):
            return name
        raise fault

    async def create(self, *, model: str, file: str, display_name: str) -> BatchJob:
        """Start a batch job; see `BatchBackend.create_batch`."""
        options = self._options(CREATE_SECONDS)
        config = types.CreateBatchJobConfig(
            display_name=checked_display_name(display_name), http_options=options
        )
        source = checked_file(file)
        try:
            operation = await self._ask(
                lambda: self._client.aio.batches.create(model=model, src=source, config=config),
                _seconds(options),
            )
        except ProviderError as error:
            if error.status in _MAY_BE_DONE:
                error.is_unknown_money = True
                error.args = (f"{error} The batch job may have been created all the same.",)
            raise
        job = read_job(as_object(operation))
        if job is None:
            raise unreadable("no name of a batch job")
        return job

    async def get(self, name: str) -> BatchJob:
        """Ask for a batch job; see `BatchBackend.get_batch`."""
        options = self._options(ASK_SECONDS)
        config = types.GetBatchJobConfig(http_options=options)
        asked = checked_batch(name)
        operation = await self._ask(
            lambda: self._client.aio.batches.get(name=asked, config=config),
            _seconds(options),
            is_free=True,
        )
        job = read_job(as_object(operation))
        if job is None or job.name != name:
            raise unreadable("not the batch job that was asked for", is_free=True)
        return job

    async def list(self) -> AsyncIterator[BatchJob]:
        """Yield all batch jobs; see `BatchBackend.list_batches`."""
        options = self._options(ASK_SECONDS)
        seen: set[str] = set()
        token = ""
        while token not in seen and len(seen) < MAX_PAGES:
            seen.add(token)
            config = types.ListBatchJobsConfig(
                page_size=PAGE_SIZE, page_token=token or None, http_options=options
            )
            page = await self._ask(
                partial(self._client.aio.batches.list, config=config),
                _seconds(options),
                is_free=True,
            )
            for job in jobs_in(page):
                yield job
            token = text_of(as_object(page).get("nextPageToken"))
            if not token:
                return
        raise unreadable("a list without an end", is_free=True)

    async def cancel(self, name: str) -> None:
        """Ask for a job to be cancelled; see `BatchBackend.cancel_batch`."""
        options = self._options(ASK_SECONDS)
        config = types.CancelBatchJobConfig(http_options=options)
        asked = checked_batch(name)
        try:
            await self._ask(
                lambda: self._client.aio.batches.cancel(name=asked, config=config),
                _seconds(options),
                is_free=True,
            )
        except AccountError as error:
            if error.kind != "precondition":  # what is said of a job that is over already
                raise

    async def delete_file(self, name: str) -> None:
        """Delete a file; see `BatchBackend.delete_file`."""
        options = self._options(ASK_SECONDS)
        config = types.DeleteFileConfig(http_options=options)
        asked = checked_file(name)
        try:
            await self._ask(
                lambda: self._client.aio.files.delete(name=asked, config=config),
                _seconds(options),
                is_free=True,
            )
        except BadRequestError as error:
            if error.kind != "not_found":
                raise

    async def download(self, file: str, path: Path) -> None:
        """Bring a results file to the disk; see `BatchBackend.download_results`."""
        is_ours = self._transport is not None
        options = self._options(ASK_SECONDS if is_ours else CALLERS_DOWNLOAD_SECONDS)
        seconds = _seconds(options)
        config = types.DownloadFileConfig(http_options=options)
        asked = checked_file(file)
        try:
            if self._transport is not None:
                request = await self._written_download(asked, config)
                await download(self._transport, request, path, seconds=seconds)
            else:
                await self._client.aio.files.download(
                    file=asked, config=config, destination=part_of(path)
                )
                await finish(path)
        except Exception as error:
            if isinstance(error, OSError) and not _is_of_the_wire(error):
                raise
            fault = _free(error, seconds)
        else:
            return
        raise fault

    async def _written_download(
        self, file: str, config: types.DownloadFileConfig
    ) -> httpx2.Request:
        with dictation() as requests:
            await self._client.aio.files.download(file=file, config=config)
        return requests[-1]

    def _options(self, seconds: float) -> types.HttpOptions:
        seconds = self._timeout_seconds or seconds
        return types.HttpOptions(
            timeout=max(1, round(seconds * 1000)),
            retry_options=types.HttpRetryOptions(attempts=1),  # one call is one request
        )

    async def _ask(
        self, ask: Callable[[], Awaitable[object]], seconds: float, *, is_free: bool = False
    ) -> object:
        """Have the SDK send one request.

        Returns:
            The JSON object that came; `None` if what came is none.

        Raises:
            ProviderError: No answer came, or an error.
        """
        fault: ProviderError | None = None
        answer: object = None
        with keep_answer() as kept:
            try:
                with anyio.fail_after(seconds):
                    answer = await ask()
            except _MISREAD as error:
                # It is the answer that the SDK cannot read: the request was checked before.
                fault = unreadable(type(error).__name__, is_free=is_free)
            except Exception as error:  # noqa: BLE001 - every kind of failure ends in one tree
                fault = _free(error, seconds) if is_free else fault_of_sdk(error, seconds)
        if kept:  # it is here, whatever the SDK made of it
            return parsed(kept[-1].skeleton)
        if fault is not None:
            raise fault
        return _read_by_sdk(answer)


def _read_by_sdk(answer: object) -> Json:
    """Return what is left of an answer when a caller's own client has read it."""
    if isinstance(answer, types.BatchJob):
        return operation_of_sdk(answer)
    if isinstance(answer, AsyncPager):
        pager = cast("AsyncPager[types.BatchJob]", answer)
        token: object = as_object(pager.config).get("page_token")
        return {"operations": [operation_of_sdk(job) for job in pager.page], "nextPageToken": token}
    return {}


def _free(error: Exception, seconds: float) -> ProviderError:
    """Translate what was raised where nothing costs and no model is asked."""
    fault = fault_of_sdk(error, seconds, is_free=True)
    fault.is_unknown_money = False
    return not_found(fault) if isinstance(fault, ModelGoneError) else fault


def _is_of_the_wire(error: OSError) -> bool:
    """Return whether it is no error of the disk; aiohttp's are of both kinds."""
    if isinstance(error, TimeoutError | ConnectionError | ssl.SSLError):
        return True
    return type(error).__module__.startswith("aiohttp")


def _seconds(options: types.HttpOptions) -> float:
    return (options.timeout or 0) / 1000
