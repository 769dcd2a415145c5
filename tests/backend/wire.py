"""Both ends of the wire for the tests of the backend."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import SocketAttribute
from google import genai
from google.genai import types

from nanobatch.backend import Gemini, ImageRequest
from nanobatch.errors import ProviderError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.abc import SocketStream

    from nanobatch.backend import Reply
    from nanobatch.simulator import Answer, Call, Simulator

LITE = "gemini-3.1-flash-lite-image"
BANANA = "gemini-nano-banana-2.1"
KEY = "AIzaSyTheKeyOfTheseTests-0123456789abcd"
SMALL = 0.05
"""Pictures at a twentieth of their size are drawn in no time."""


def backend(simulator: Simulator, *, timeout_seconds: float | None = 20) -> Gemini:
    return Gemini(KEY, base_url=simulator.base_url, timeout_seconds=timeout_seconds)


def callers_client(simulator: Simulator | Recorder, **options: Any) -> genai.Client:
    """A client as somebody else's program may have it; by default the SDK takes aiohttp."""
    return genai.Client(
        api_key=KEY, http_options=types.HttpOptions(base_url=simulator.base_url, **options)
    )


def asking(prompt: str = "a quiet aurora", **fields: Any) -> ImageRequest:
    return ImageRequest(model=fields.pop("model", LITE), prompt=prompt, **fields)


async def draw(gemini: Gemini, prompt: str = "a quiet aurora", **fields: Any) -> Reply:
    return await gemini.generate(asking(prompt, **fields))


async def fault_of(gemini: Gemini, prompt: str = "a quiet aurora", **fields: Any) -> ProviderError:
    """Make one call that must fail; return its error."""
    try:
        reply = await draw(gemini, prompt, **fields)
    except ProviderError as error:
        return error
    raise AssertionError(f"It answered: {reply}")


def answering(*given: Answer | None) -> Callable[[Call], Answer | None]:
    """Give these answers in the order of the requests, then the usual ones."""
    return lambda call: given[call.number] if call.number < len(given) else None


@dataclass
class Recorder:
    """A server that keeps what it is sent and always writes the same bytes."""

    base_url: str = ""
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    left: anyio.Event = field(default_factory=anyio.Event)
    """Set when a client has gone in the middle of an answer."""

    @property
    def path(self) -> str:
        return self.heads[0].split()[1]

    @property
    def headers(self) -> dict[str, str]:
        return headers_of(self.heads[0])

    @property
    def json(self) -> Any:
        return json.loads(self.bodies[0])


def headers_of(head: str) -> dict[str, str]:
    """Return the headers in the head of a request, by their names in lower case."""
    pairs = (line.partition(":") for line in head.split("\r\n")[1:])
    return {name.lower(): value.strip() for name, _, value in pairs}


async def read_request(stream: SocketStream) -> tuple[str, bytes]:
    """Read one request whole; return its head and its body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += await stream.receive()
    head, _, body = received.partition(b"\r\n\r\n")
    while len(body) < int(headers_of(head.decode()).get("content-length", "0")):
        body += await stream.receive()
    return head.decode(), body


@asynccontextmanager
async def recording(answer: bytes, *, again_and_again: bool = False) -> AsyncIterator[Recorder]:
    """Listen on loopback; write the answer once, or until the client leaves."""
    recorder = Recorder()

    async def serve(stream: SocketStream) -> None:
        async with stream:
            head, body = await read_request(stream)
            recorder.heads.append(head)
            recorder.bodies.append(body)
            try:
                await stream.send(answer)
                while again_and_again:
                    await stream.send(answer)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                recorder.left.set()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - no Django here
        recorder.base_url = f"http://127.0.0.1:{port}"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, serve)
            yield recorder
            tasks.cancel_scope.cancel()


def http(body: bytes | str, status: str = "200 OK", *headers: str) -> bytes:
    """Return an HTTP answer as bytes."""
    body = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answer_json(*parts: dict[str, Any], **top: Any) -> str:
    """Return the text of an answer with these parts: 10 tokens in, 1,120 of image, 80 of text."""
    usage = {
        "promptTokenCount": 10,
        "candidatesTokenCount": 1200,
        "totalTokenCount": 1210,
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
    }
    content = {"role": "model", "parts": list(parts)}
    candidate = {"content": content, "finishReason": "STOP", "index": 0}
    return json.dumps({"candidates": [candidate], "usageMetadata": usage, **top})
