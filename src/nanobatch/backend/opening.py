"""Opens a client of the SDK that sends through our transport, and only where a key may go."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from pydantic import SecretStr

from nanobatch.backend.address import checked, proxy_for
from nanobatch.backend.redact import KeyLogFilter
from nanobatch.errors import ConfigError, MissingKeyError

if TYPE_CHECKING:
    from google import genai

    from nanobatch.backend.transport import GuardedTransport

__all__ = ["Opened", "opened", "scribe"]

# The SDK's default `v1` has refused responseModalities:
# https://github.com/googleapis/js-genai/issues/1322, seen 2026-11-23.
API_VERSION = "v1beta"
KEY_VARIABLES = ("GOOGLE_API_KEY", "GEMINI_API_KEY")  # the order the SDK reads them in
_GOOGLE = "https://generativelanguage.googleapis.com"
_NOWHERE = "http://127.0.0.1"


class Opened(NamedTuple):
    """What is open until it is closed."""

    client: genai.Client
    transport: GuardedTransport
    log_filter: KeyLogFilter
    """Knows the key; for the loggers of the HTTP stack."""


def opened(api_key: SecretStr | None, base_url: str | None) -> Opened:
    """Make a client of the SDK with our transport under it.

    Args:
        api_key: The key; that of the environment if there is none.
        base_url: Where the API is, a checked address; by default the environment's or Google's.

    Raises:
        MissingKeyError: No key was given and none is in the environment.
        ConfigError: The environment names an API address, a proxy or an HTTP stack that cannot
            be used.
    """
    base_url = base_url or checked(os.environ.get("GOOGLE_GEMINI_BASE_URL"))
    if os.environ.get("GOOGLE_GENAI_HTTP_CLIENT", "").strip().lower() == "httpx":
        raise ConfigError(
            "GOOGLE_GENAI_HTTP_CLIENT is httpx, but nanobatch sends with httpx2: unset it."
        )

    import httpx2  # noqa: PLC0415 - these take half a second: imported when opened
    from google import genai  # noqa: PLC0415 - as above
    from google.genai import types  # noqa: PLC0415 - as above

    from nanobatch.backend.transport import GuardedTransport  # noqa: PLC0415 - as above

    try:
        transport = GuardedTransport(
            proxy_for(base_url or _GOOGLE),
            is_tls=not (base_url or _GOOGLE).startswith("http://"),
        )
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        raise ConfigError(
            f"The proxy that the environment names cannot be used ({type(error).__name__}): "
            "it must be an http or https address."
        ) from None
    key = _key(api_key)  # last: a traceback with locals would show it
    client = genai.Client(
        api_key=key,
        vertexai=False,
        http_options=types.HttpOptions(
            base_url=base_url,
            api_version=API_VERSION,
            retry_options=types.HttpRetryOptions(attempts=1),
            # The context spares the SDK to make two more, 20 ms each, that nobody uses.
            client_args={"verify": transport.context},
            async_client_args={"transport": transport, "ssl": transport.context},
        ),
    )
    return Opened(client, transport, KeyLogFilter(key))


def scribe() -> genai.Client:
    """Make a client that writes requests down for one whose transport is not ours.

    It has no key and goes nowhere.
    """
    return opened(SecretStr("none"), _NOWHERE).client


def _key(api_key: SecretStr | None) -> str:
    keys = [api_key] if api_key else []
    keys += [SecretStr(os.environ.get(name, "").strip()) for name in KEY_VARIABLES]
    key = next((key for key in keys if key), None)
    if key is None:
        raise MissingKeyError(
            "No API key: set GEMINI_API_KEY (or GOOGLE_API_KEY) or pass Gemini(api_key=...). "
            "To try things out without one, use nanobatch.simulator."
        )
    if not _is_header_text(key.get_secret_value()):
        raise ConfigError(
            "The API key has characters that no HTTP header can carry: copy it again."
        )
    return key.get_secret_value()


def _is_header_text(text: str) -> bool:
    return text.isascii() and text.isprintable()
