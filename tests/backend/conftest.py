"""What these tests share: the event loop, a clean environment and a quick start of TLS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import certifi
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARIABLES = (
    "ALL_PROXY",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GOOGLE_GEMINI_BASE_URL",
    "GOOGLE_GENAI_API_VERSION",
    "GOOGLE_GENAI_HTTP_CLIENT",
    "GOOGLE_GENAI_USE_ENTERPRISE",
    "GOOGLE_GENAI_USE_VERTEXAI",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
)


@pytest.fixture
def anyio_backend() -> str:
    """Asyncio, unless a test asks for trio too."""
    return "asyncio"


@pytest.fixture(scope="session")
def one_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = Path(certifi.where()).read_text(encoding="utf-8")
    start, end = bundle.index("-----BEGIN"), bundle.index("-----END CERTIFICATE-----")
    path = tmp_path_factory.mktemp("tls") / "one.pem"
    path.write_text(bundle[start:end] + "-----END CERTIFICATE-----\n", encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def environment(one_certificate: Path) -> Iterator[pytest.MonkeyPatch]:
    """Nothing of the machine's; reading all root certificates would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _VARIABLES:
            patch.delenv(name, raising=False)
            patch.delenv(name.lower(), raising=False)
        patch.setenv("SSL_CERT_FILE", str(one_certificate))
        yield patch
