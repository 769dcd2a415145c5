"""The google-genai adapter: the only place that knows Google."""

from __future__ import annotations

import json
import logging
import math
import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Self, cast

import anyio
import anyio.to_thread
from pydantic import SecretStr

from nanobatch.backend.address import checked, origin
from nanobatch.backend.answer import read_answer
from nanobatch.backend.body import config_of, content_of
from nanobatch.backend.opening import opened, scribe
from nanobatch.backend.protocol import ImageRequest
from nanobatch.backend.redact import Redactor
from nanobatch.backend.sdk_faults import fault_of_sdk
from nanobatch.backend.translate import unreadable
from nanobatch.errors import ConfigError, ProviderError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator
    from pathlib import Path
    from types import TracebackType

    from google import genai

    from nanobatch.backend.batch.protocol import BatchJob, BatchLine
    from nanobatch.backend.batch.service import BatchService
    from nanobatch.backend.cut import Cut
    from nanobatch.backend.letter import Kind, Letter
    from nanobatch.backend.protocol import JsonRequest, Reply
    from nanobatch.backend.redact import KeyLogFilter
    from nanobatch.backend.transport import GuardedTransport

__all__ = ["Gemini"]

COUNT_TIMEOUT_SECONDS = 30.0
MAX_LETTERS = 64
"""Kinds of requests kept ready; a run has one per model, size and ratio."""
HEADER_LOGGER = "httpcore2.http11"
"""Writes down the headers of every answer at DEBUG, also of one that repeats the key."""


class Gemini:
    """Gemini image models through the google-genai SDK: one call is exactly one request.

    Args:
        api_key: The key; by default the SDK's own environment variables, `GOOGLE_API_KEY` before
            `GEMINI_API_KEY`. Its form is not checked.
        client: A caller's own `genai.Client` (Vertex too). It is used as it is and never closed.
            Its transport stays the caller's: hidden retries are switched off per call, but size
            caps and the ban on redirects are then the caller's to set.
        base_url: Where the API is, `https` only; plain `http` on loopback, for the simulator. By
            default `GOOGLE_GEMINI_BASE_URL` or Google's.
        timeout_seconds: Deadline of one call for every model; by default the model's own.

    A proxy in the environment (`HTTPS_PROXY`, `NO_PROXY`) is used, except for loopback.

    Raises:
        ConfigError: A `base_url` that would send the key in the clear, or a timeout that is not a
            finite number above 0.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        client: genai.Client | None = None,
        base_url: str | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        if not isinstance(cast("object", api_key), str | None):
            raise ConfigError(f"api_key must be text, not of type {type(api_key).__name__}.")
        self._api_key = None if api_key is None else SecretStr(api_key.strip())
        api_key = None  # a traceback with locals would show it
        self._own_client = client
        self._base_url: str | None = None
        self._timeout_seconds = timeout_seconds
        self._client: genai.Client | None = None
        self._scribe: genai.Client | None = None
        self._log_filter: KeyLogFilter | None = None
        self._transport: GuardedTransport | None = None
        self._letters: dict[Kind, Letter] = {}
        if client is not None and not hasattr(client, "aio"):
            raise ConfigError(
                f"client is of type {type(client).__name__}, not a google.genai.Client."
            )
        if client is not None and (self._api_key is not None or base_url is not None):
            raise ConfigError("Pass either client= or api_key=/base_url=: a client has its own.")
        if timeout_seconds is not None and not 0 < timeout_seconds < math.inf:
            raise ConfigError(
                f"timeout_seconds must be finite and greater than 0, not {timeout_seconds}."
            )
        self._base_url = checked(base_url)

    def __repr__(self) -> str:
        """Show where it talks to, never the key."""
        if self._own_client is not None:
            return "Gemini(client=...)"
        return f"Gemini(base_url={origin(self._base_url)!r})" if self._base_url else "Gemini()"

    @property
    def is_open(self) -> bool:
        """Whether it can take calls now."""
        return self._client is not None

    async def __aenter__(self) -> Self:
        """Open the connection pool; the SDK is imported here, not before.

        Raises:
            MissingKeyError: No key was given and none is in the environment.
            ConfigError: The environment names an API address, a proxy or an HTTP stack that
                cannot be used.
        """
        if self._client is None:
            self._client = self._own_client or await anyio.to_thread.run_sync(self._connect)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what was opened; it can be opened again."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; a caller's own client stays open."""
        client, self._client = self._client, None
        scribe_client, self._scribe = self._scribe, None
        self._transport = None
        self._letters.clear()  # they carry the key
        if self._log_filter is not None:
            logging.getLogger(HEADER_LOGGER).removeFilter(self._log_filter)
            self._log_filter = None
        for ours in (client, scribe_client):
            if ours is not None and ours is not self._own_client:
                with anyio.CancelScope(shield=True):
                    await ours.aio.aclose()
                    ours.close()

    @contextmanager
    def hold_back(self, is_full: Callable[[], bool]) -> Generator[None]:
        """Leave answers on the wire while `is_full()`; see `ThrottledBackend`.

        It does so on our own wire only: not on trio, through a proxy or with a caller's client.
        """
        with nullcontext() if self._transport is None else self._transport.hold_back(is_full):
            yield

    async def generate(self, request: ImageRequest) -> Reply:
        """Send one `generateContent` request and return its complete answer.

        A cancelled call closes its connection; whether it is billed is then unknown.

        Raises:
            ProviderError: The class says who must act; see `nanobatch.backend.ImageBackend`.
        """
        return await self._answer(request)

    async def generate_json(self, request: JsonRequest) -> Reply:
        """Send one `generateContent` request for JSON and return its complete answer.

        Cancellation and errors are as with `generate`.

        Raises:
            ProviderError: The class says who must act; see `nanobatch.backend.ImageBackend`.
        """
        return await self._answer(request)

    async def _answer(self, request: ImageRequest | JsonRequest) -> Reply:
        client = self._opened()
        seconds = self._timeout_seconds or request.timeout_seconds
        started = time.perf_counter()
        answer = await self._send(client, request, seconds)
        took = time.perf_counter() - started
        try:
            try:
                return read_answer(answer.skeleton, images=answer.images, latency_seconds=took)
            except ProviderError:
                if not answer.images:
                    raise
            return read_answer(answer.whole(), latency_seconds=took)
        except ProviderError as raised:
            fault = raised.with_traceback(None)
        del answer  # up to 64 MiB, which the traceback of the fault would hold through all waits
        raise fault

    async def batch_request(self, request: ImageRequest, *, key: str) -> bytes:
        """Return the line of a batch's input file that asks for one image; see `BatchBackend`.

        Raises:
            BadRequestError: The SDK refuses the request.
            ConfigError: The key is empty, too long or not printable.
        """
        from nanobatch.backend.batch.result import checked_key  # noqa: PLC0415 - as elsewhere

        self._batches()
        head = json.dumps({"key": checked_key(key)})[:-1].encode()
        return b'%s, "request": %s}\n' % (head, await self._written(request))

    async def upload_requests(self, path: Path, *, display_name: str) -> str:
        """Upload an input file and return its name, `files/...`; see `BatchBackend`."""
        return await self._batches().upload(path, display_name=display_name)

    async def create_batch(self, *, model: str, file: str, display_name: str) -> BatchJob:
        """Send exactly one request to start a batch job; see `BatchBackend`.

        Raises:
            ProviderError: There is no job; or, with `is_unknown_money`, nobody can know: the
                answer was lost, or it was one of 408, 500, 502, 504.
        """
        return await self._batches().create(model=model, file=file, display_name=display_name)

    async def get_batch(self, name: str) -> BatchJob:
        """Return how a batch job stands; see `BatchBackend`."""
        return await self._batches().get(name)

    def list_batches(self) -> AsyncIterator[BatchJob]:
        """Yield all batch jobs of the account; see `BatchBackend`."""
        return self._batches().list()

    async def cancel_batch(self, name: str) -> None:
        """Ask for a batch job to be cancelled; one that is over is fine; see `BatchBackend`."""
        await self._batches().cancel(name)

    async def delete_file(self, name: str) -> None:
        """Delete an uploaded file; one that is gone is fine; see `BatchBackend`."""
        await self._batches().delete_file(name)

    async def download_results(self, file: str, path: Path) -> None:
        """Bring a results file to the disk; see `BatchBackend`.

        Our own transport goes on where an earlier call broke off; a caller's client begins again.
        """
        await self._batches().download(file, path)

    def read_line(self, line: bytes) -> BatchLine:
        """Read one line of a results file; see `BatchBackend`."""
        from nanobatch.backend.batch.result import read_line  # noqa: PLC0415 - as elsewhere

        return read_line(line)

    async def count_tokens(self, *, model: str, prompt: str) -> int:
        """Return how many input tokens a prompt has; the call is free.

        Raises:
            ProviderError: As `generate`, but the money is never unknown.
        """
        client = self._opened()
        seconds = self._timeout_seconds or COUNT_TIMEOUT_SECONDS
        tokens: int | None = None
        fault: ProviderError = unreadable("no totalTokens", is_free=True)
        try:
            with anyio.fail_after(seconds):
                counted = await client.aio.models.count_tokens(model=model, contents=prompt)
                tokens = counted.total_tokens
        except Exception as error:  # noqa: BLE001 - every kind of failure ends in one tree
            fault = fault_of_sdk(error, seconds, is_free=True)
            fault.is_unknown_money = False
        if tokens is None:
            raise fault
        return tokens

    async def _send(
        self, client: genai.Client, request: ImageRequest | JsonRequest, seconds: float
    ) -> Cut:
        """Return the body of a 200 answer."""
        from nanobatch.backend.cut import cut  # noqa: PLC0415 - as below
        from nanobatch.backend.transport import keep_answer  # noqa: PLC0415 - httpx2 is heavy

        fault: ProviderError | None = None
        with keep_answer() as kept:
            try:
                with anyio.fail_after(seconds):
                    letter = await self._letter(client, request, seconds)
                    if letter is not None and self._transport is not None:
                        await self._transport.send(letter, request.prompt, seconds=seconds)
                    else:
                        body = await self._send_by_sdk(client, request, seconds)
                        if not kept and body is not None:
                            raw = body.encode("utf-8", "surrogatepass")
                            kept.append(cut(raw, Redactor("")))
            except Exception as error:  # noqa: BLE001 - every kind of failure ends in one tree
                fault = fault_of_sdk(error, seconds)
        if kept:
            return kept[-1]  # it is here and paid for, whatever happened after
        # Raised out here: a context would carry the SDK's request along, and with it the key.
        raise fault or unreadable("no body")

    async def _send_by_sdk(
        self, client: genai.Client, request: ImageRequest | JsonRequest, seconds: float
    ) -> str | None:
        """Have the SDK write and send a request; return the body if a caller's client has it."""
        response = await client.aio.models.generate_content(
            model=request.model,
            contents=content_of(request),
            config=config_of(request, seconds, keep_body=client is self._own_client),
        )
        raw = response.sdk_http_response
        return None if raw is None else raw.body or ""

    async def _letter(
        self, client: genai.Client, request: ImageRequest | JsonRequest, seconds: float
    ) -> Letter | None:
        """Return such a request as the SDK writes it; `None` if it has to write this one itself."""
        if self._transport is None or not isinstance(request, ImageRequest):
            return None
        if request.input_images or not _is_text(request.prompt):
            return None
        from nanobatch.backend.letter import (  # noqa: PLC0415 - httpx2 is heavy
            MARK,
            Kind,
            dictation,
            written,
        )

        kind = Kind(
            model=request.model,
            aspect_ratio=request.aspect_ratio,
            size=request.size,
            thinking_level=request.thinking_level,
            seconds=seconds,
        )
        letter = self._letters.get(kind)
        if letter is None:
            with dictation() as requests:
                try:
                    await self._send_by_sdk(client, replace(request, prompt=MARK), seconds)
                except Exception:
                    if not requests:  # else it only fails to read the answer it was given
                        raise
            letter = written(requests[-1]) if requests else None
            if letter is not None:
                if len(self._letters) >= MAX_LETTERS:
                    self._letters.clear()
                self._letters[kind] = letter
        return letter

    async def _written(self, request: ImageRequest) -> bytes:
        """Return the body of a request as `generate` would send it."""
        from nanobatch.backend.letter import dictation  # noqa: PLC0415 - httpx2 is heavy

        client = self._opened()
        seconds = self._timeout_seconds or request.timeout_seconds
        if self._transport is None:  # then nobody can look over the client's shoulder
            if self._scribe is None:
                self._scribe = await anyio.to_thread.run_sync(scribe)
            client = self._scribe
        fault: ProviderError | None = None
        with dictation() as requests:
            try:
                letter = await self._letter(client, request, seconds)
                if letter is not None:
                    return letter.body(request.prompt)
                await self._send_by_sdk(client, request, seconds)
            except Exception as error:  # noqa: BLE001 - every kind of failure ends in one tree
                fault = fault_of_sdk(error, seconds, is_free=True)
        if not requests:  # else it only fails to read the answer it was given
            raise fault or unreadable("nothing written", is_free=True)
        return requests[-1].content

    def _batches(self) -> BatchService:
        from nanobatch.backend.batch.service import (  # noqa: PLC0415 - the SDK is heavy
            BatchService,
        )

        return BatchService(self._opened(), self._transport, timeout_seconds=self._timeout_seconds)

    def _connect(self) -> genai.Client:
        client, self._transport, self._log_filter = opened(self._api_key, self._base_url)
        logging.getLogger(HEADER_LOGGER).addFilter(self._log_filter)
        return client

    def _opened(self) -> genai.Client:
        if self._client is None:
            raise ConfigError("This Gemini backend is not open: use `async with Gemini() as ...`.")
        return self._client


def _is_text(prompt: object) -> bool:
    """Return whether a prompt is text that UTF-8 can carry; others are the SDK's to judge."""
    try:
        return isinstance(prompt, str) and bool(prompt.encode("utf-8"))
    except UnicodeEncodeError:
        return False
