"""A plain HTTP client for the tests of the simulator: no SDK, nothing of ours."""

from __future__ import annotations

import base64
import io
import ssl
from typing import TYPE_CHECKING, Any

import httpx2
from PIL import Image, ImageStat

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanobatch.simulator import Answer, Call, Simulator

LITE = "gemini-3.1-flash-lite-image"
BANANA = "gemini-nano-banana-2.1"
PRO = "gemini-3-pro-image"
KEY = {"x-goog-api-key": "anything"}
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Reading the root certificates again for every client would take most of the time."""
SMALL = 0.25
"""Pictures at a quarter of their size are drawn in no time."""


def answering(*given: Answer | None) -> Callable[[Call], Answer | None]:
    """Give these answers in the order of the requests, then the usual ones."""
    return lambda call: given[call.number] if call.number < len(given) else None


def body(
    prompt: str = "a quiet aurora", *, images: tuple[bytes, ...] = (), **config: Any
) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"text": prompt}]
    parts += [
        {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(image).decode()}}
        for image in images
    ]
    return {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}


async def send(
    simulator: Simulator,
    json: Any = None,
    *,
    model: str = LITE,
    version: str = "v1beta",
    headers: dict[str, str] | None = None,
) -> httpx2.Response:
    """Send one request to draw on a connection of its own."""
    async with httpx2.AsyncClient(timeout=20, verify=NO_TLS) as client:
        return await client.post(
            f"{simulator.base_url}/{version}/models/{model}:generateContent",
            json=body() if json is None else json,
            headers=KEY if headers is None else headers,
        )


def files_of(response: httpx2.Response) -> list[bytes]:
    """Return the image files of an answer, in their order."""
    parts = response.json()["candidates"][0]["content"]["parts"]
    return [base64.b64decode(p["inlineData"]["data"]) for p in parts if "inlineData" in p]


def opened(file: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(file))
    image.load()
    return image


def contrast(file: bytes) -> float:
    """Return the standard deviation of the grey levels, 0 to 255."""
    deviation: float = ImageStat.Stat(opened(file).convert("L")).stddev[0]
    return deviation


def png(width: int = 40, height: int = 30) -> bytes:
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize((width, height)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()
