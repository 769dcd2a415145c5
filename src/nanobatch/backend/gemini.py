"""The google-genai adapter: the only place that knows Google."""

from __future__ import annotations

import ipaddress
import os
import time
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from pydantic import SecretStr

from nanobatch.backend.answer import read_answer
from nanobatch.backend.faults import fault_of_answer, fault_of_exception, plain_text
from nanobatch.errors import BadRequestError, ConfigError, MissingKeyError, ProviderError

if TYPE_CHECKING:
    from types import TracebackType

    from google import genai
    from google.genai import types

    from nanobatch.backend.protocol import ImageRequest, Reply

__all__ = ["Gemini"]

API_VERSION = "v1beta"  # the SDK's default `v1` has refused responseModalities (gemini-api.md 0.1)
KEY_VARIABLES = ("GOOGLE_API_KEY", "GEMINI_API_KEY")  # the order the SDK reads them in


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

    Raises:
        ConfigError: A `base_url` that would send the key in the clear, or a timeout <= 0.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        client: genai.Client | None = None,
        base_url: str | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        if client is not None and (api_key is not None or base_url is not None):
            raise ConfigError("Pass either client= or api_key=/base_url=: a client has its own.")
        if timeout_seconds is not None and not timeout_seconds > 0:
            raise ConfigError(f"timeout_seconds must be greater than 0, not {timeout_seconds}.")
        self._api_key = None if api_key is None else SecretStr(api_key.strip())
        self._own_client = client
        self._base_url = _checked(base_url)
        self._timeout_seconds = timeout_seconds
        self._client: genai.Client | None = None

    def __repr__(self) -> str:
        """Show where it talks to, never the key."""
        where = "client=..." if self._own_client else f"base_url={self._base_url!r}"
        return f"Gemini({where})"

    @property
    def is_open(self) -> bool:
        """Whether it can take calls now."""
        return self._client is not None

    async def __aenter__(self) -> Self:
        """Open the connection pool; the SDK is imported here, not before.

        Raises:
            MissingKeyError: No key was given and none is in the environment.
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
        if client is not None and client is not self._own_client:
            with anyio.CancelScope(shield=True):
                await client.aio.aclose()
                client.close()

    async def generate(self, request: ImageRequest) -> Reply:
        """Send one `generateContent` request and return its complete answer.

        A cancelled call closes its connection; whether it is billed is then unknown.

        Raises:
            ProviderError: The class says who must act; see `nanobatch.backend.ImageBackend`.
        """
        from google.genai import types  # noqa: PLC0415 - heavy: imported when used

        client = self._opened()
        seconds = self._timeout_seconds or request.timeout_seconds
        config = _config(types, request, seconds, keep_body=client is self._own_client)
        parts = [types.Part(text=request.prompt)]
        parts += [
            types.Part.from_bytes(data=image, mime_type=_mime_type(image))
            for image in request.input_images
        ]
        content = types.Content(role="user", parts=parts)
        started = time.perf_counter()
        body = await self._send(client, request.model, content, config, seconds)
        return read_answer(body, latency_seconds=time.perf_counter() - started)

    async def count_tokens(self, *, model: str, prompt: str) -> int:
        """Return how many input tokens a prompt has; the call is free.

        Raises:
            ProviderError: As `generate`.
        """
        client = self._opened()
        try:
            with anyio.fail_after(self._timeout_seconds or 30):
                counted = await client.aio.models.count_tokens(model=model, contents=prompt)
        except Exception as error:
            raise _translated(error, self._timeout_seconds or 30) from None
        return counted.total_tokens or 0

    async def _send(
        self,
        client: genai.Client,
        model: str,
        content: types.Content,
        config: types.GenerateContentConfig,
        seconds: float,
    ) -> bytes | str:
        from nanobatch.backend.transport import keep_answer  # noqa: PLC0415 - httpx2 is heavy

        try:
            with anyio.fail_after(seconds), keep_answer() as bodies:
                response = await client.aio.models.generate_content(
                    model=model, contents=content, config=config
                )
        except Exception as error:
            raise _translated(error, seconds) from None
        if bodies:
            return bodies[-1]
        kept = response.sdk_http_response
        return (kept.body if kept is not None else None) or ""

    def _opened(self) -> genai.Client:
        if self._client is None:
            raise ConfigError("This Gemini backend is not open: use `async with Gemini() as ...`.")
        return self._client

    def _connect(self) -> genai.Client:
        from google import genai  # noqa: PLC0415 - takes over a second: imported when opened
        from google.genai import types  # noqa: PLC0415

        from nanobatch.backend.transport import GuardedTransport  # noqa: PLC0415

        base_url = self._base_url or _checked(os.environ.get("GOOGLE_GEMINI_BASE_URL"))
        return genai.Client(
            api_key=self._key(),
            vertexai=False,
            http_options=types.HttpOptions(
                base_url=base_url,
                api_version=API_VERSION,
                retry_options=types.HttpRetryOptions(attempts=1),
                async_client_args={"transport": GuardedTransport()},
            ),
        )

    def _key(self) -> str:
        keys = [self._api_key.get_secret_value()] if self._api_key else []
        keys += [os.environ.get(name, "").strip() for name in KEY_VARIABLES]
        key = next((key for key in keys if key), None)
        if key is None:
            raise MissingKeyError(
                "No API key: set GEMINI_API_KEY (or GOOGLE_API_KEY) or pass Gemini(api_key=...). "
                "To try things out without one, use nanobatch.simulator."
            )
        return key


def _config(
    types: Any, request: ImageRequest, seconds: float, *, keep_body: bool
) -> types.GenerateContentConfig:
    level = request.thinking_level
    config: types.GenerateContentConfig = types.GenerateContentConfig(
        response_modalities=["IMAGE"],
        image_config=types.ImageConfig(
            aspect_ratio=request.aspect_ratio, image_size=request.size
        ),
        thinking_config=types.ThinkingConfig(thinking_level=level) if level else None,
        # One call is one request: neither of these may send another.
        automatic_continuation=False,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        should_return_http_response=keep_body or None,
        http_options=types.HttpOptions(
            timeout=max(1, round(seconds * 1000)),
            retry_options=types.HttpRetryOptions(attempts=1),
        ),
    )
    return config


def _translated(error: Exception, seconds: float) -> ProviderError:
    """Translate what the SDK or its HTTP stack raised, once and for all."""
    if isinstance(error, ProviderError):
        return error  # from our transport
    from google.genai import errors  # noqa: PLC0415 - loaded by now

    if isinstance(error, errors.APIError):  # from a caller's own client
        import json  # noqa: PLC0415

        headers = getattr(error.response, "headers", None) or {}
        body = json.dumps(error.details, default=str).encode()
        return fault_of_answer(int(error.code), headers, body)
    if isinstance(error, ValueError | TypeError):
        return BadRequestError(
            f"The SDK refused the request before sending it: {plain_text(str(error))}",
            kind="bad_request",
        )
    return fault_of_exception(error, timeout_seconds=seconds)


def _checked(base_url: str | None) -> str | None:
    if not base_url:
        return None
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if parts.scheme == "https" and host:
        return base_url
    if parts.scheme == "http" and (host == "localhost" or _is_loopback(host)):
        return base_url
    shown = f"{parts.scheme}://{host}"
    raise ConfigError(
        f"base_url {shown!r} would send the API key in the clear: use https, "
        "or http on loopback (127.0.0.1, localhost, [::1])."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_MAGIC = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"))


def _mime_type(image: bytes) -> str:
    """Name the type of an input image by its first bytes, as the API wants it named."""
    return next((name for magic, name in _MAGIC if image.startswith(magic)), "image/heic")
