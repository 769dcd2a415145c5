"""The clients that are compared: each makes the same images, as somebody would write it today."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import selectors
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["CANDIDATES", "Work"]

MODEL: Final = "gemini-3.1-flash-lite-image"
KEY: Final = "AIzaSyNobodysKeyForTheBenchmark00000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a candidate has to do."""

    base_url: str
    images: int
    concurrency: int
    image: Path
    """The file every answer holds."""
    out: Path
    """An empty folder for the files."""

    def file(self, number: int) -> Path:
        """Return where an image goes."""
        return self.out / f"{number}.png"

    def prompt(self, number: int) -> str:
        """Return the prompt of an image: no two are the same."""
        return f"wallpaper {number}: a quiet aurora above a frozen lake, seen from the shore"


def sdk_httpx2(work: Work) -> None:
    """Run the plain SDK loop of today: gather and a semaphore, files written, nothing else."""
    _without_aiohttp()
    asyncio.run(_sdk(work, {}))


def sdk_uncapped(work: Work) -> None:
    """Run the same with httpx2's cap of 100 connections lifted."""
    _without_aiohttp()
    import httpx2  # noqa: PLC0415 - each candidate imports only what it needs

    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    asyncio.run(_sdk(work, {"async_client_args": {"limits": limits}}))


def sdk_aiohttp(work: Work) -> None:
    """Run the same where aiohttp is installed: the SDK then takes it."""
    import aiohttp  # noqa: F401, PLC0415 - it must be there

    asyncio.run(_sdk(work, {}))


def sdk_threads(work: Work) -> None:
    """Run the sync SDK in a pool of threads."""
    _without_aiohttp()
    client = _client(work, {})

    def make(number: int) -> None:
        answer = client.models.generate_content(
            model=MODEL, contents=work.prompt(number), config=_config()
        )
        work.file(number).write_bytes(_image_of(answer))

    with ThreadPoolExecutor(work.concurrency) as pool:
        list(pool.map(make, range(work.images)))
    client.close()


def litellm(work: Work) -> None:
    """Run litellm's image generation."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it fetches a price list first
    peer: Any = import_module("litellm")

    async def make(number: int) -> None:
        answer: Any = await peer.aimage_generation(
            model=f"gemini/{MODEL}",
            prompt=work.prompt(number),
            api_key=KEY,
            api_base=f"{work.base_url}/v1beta/models/{MODEL}:generateContent",
        )
        work.file(number).write_bytes(base64.b64decode(answer.data[0].b64_json))

    asyncio.run(_gather(work, make))


def inspect_ai(work: Work) -> None:
    """Run inspect-ai's Google provider."""
    peer: Any = import_module("inspect_ai.model")
    model = peer.get_model(
        f"google/{MODEL}",
        base_url=work.base_url,
        api_key=KEY,
        config=peer.GenerateConfig(max_connections=work.concurrency, modalities=["image"]),
    )

    async def make(number: int) -> None:
        answer = await model.generate(work.prompt(number))
        for part in answer.message.content:
            if part.type == "image":
                work.file(number).write_bytes(base64.b64decode(part.image.partition(",")[2]))

    asyncio.run(_gather(work, make))


def limit(work: Work) -> None:
    """Come near the physical limit: sockets, base64, hash, write and fsync, no HTTP library."""
    _Limit(work).run()


def nanobatch(work: Work) -> None:
    """Run nanobatch with every durable and structural check on, and no pixel filter."""
    _nanobatch(work, [])


def nanobatch_filters(work: Work) -> None:
    """Run nanobatch as it comes, with `filters.default()`."""
    _nanobatch(work, None)


def decode(work: Work) -> None:
    """Decode the image as often as it comes, and nothing else."""
    import PIL.Image  # noqa: PLC0415 - as above

    content = work.image.read_bytes()
    for _ in range(work.images):
        PIL.Image.open(BytesIO(content)).load()


CANDIDATES: Final[dict[str, Callable[[Work], None]]] = {
    "sdk": sdk_httpx2,
    "sdk-uncapped": sdk_uncapped,
    "sdk-aiohttp": sdk_aiohttp,
    "sdk-threads": sdk_threads,
    "litellm": litellm,
    "inspect-ai": inspect_ai,
    "limit": limit,
    "nanobatch": nanobatch,
    "nanobatch-filters": nanobatch_filters,
    "decode": decode,
}


async def _sdk(work: Work, options: dict[str, Any]) -> None:
    client = _client(work, options)

    async def make(number: int) -> None:
        answer = await client.aio.models.generate_content(
            model=MODEL, contents=work.prompt(number), config=_config()
        )
        work.file(number).write_bytes(_image_of(answer))

    await _gather(work, make)
    await client.aio.aclose()


async def _gather(work: Work, make: Callable[[int], Any]) -> None:
    semaphore = asyncio.Semaphore(work.concurrency)

    async def one(number: int) -> None:
        async with semaphore:
            await make(number)

    await asyncio.gather(*(one(number) for number in range(work.images)))


def _client(work: Work, options: dict[str, Any]) -> Any:
    from google import genai  # noqa: PLC0415 - as above
    from google.genai import types  # noqa: PLC0415 - as above

    return genai.Client(
        api_key=KEY,
        http_options=types.HttpOptions(base_url=work.base_url, api_version="v1beta", **options),
    )


def _config() -> Any:
    from google.genai import types  # noqa: PLC0415 - as above

    return types.GenerateContentConfig(
        response_modalities=["IMAGE"],
        image_config=types.ImageConfig(aspect_ratio="1:1", image_size="1K"),
    )


def _image_of(answer: Any) -> bytes:
    for part in answer.candidates[0].content.parts:
        if part.inline_data is not None:
            return cast("bytes", part.inline_data.data)
    raise AssertionError("an answer without an image")


def _without_aiohttp() -> None:
    """Hide aiohttp: most people have not installed it, and the SDK looks for it when imported."""
    cast("dict[str, Any]", sys.modules)["aiohttp"] = None


def _nanobatch(work: Work, filters: list[Any] | None) -> None:
    from nanobatch import Budget, Gemini, Job, TwoTierPipeline  # noqa: PLC0415 - as above

    pipeline = TwoTierPipeline(
        Gemini(KEY, base_url=work.base_url),
        filters=filters,
        checkpoint=work.out,
        budget=Budget(usd="1000000"),
        concurrency=work.concurrency,
    )
    result = pipeline.run_sync(
        Job(id=str(number), prompt=work.prompt(number)) for number in range(work.images)
    )
    if result.delivered != work.images:
        raise AssertionError(f"{result.ended}: {result.delivered} images. {result.reason}")


class _Limit:
    """As many blocking steps as there must be, on plain sockets in one thread."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._address = ("127.0.0.1", int(work.base_url.rpartition(":")[2]))
        self._selector = selectors.DefaultSelector()
        self._next = 0
        self._done = 0

    def run(self) -> None:
        for _ in range(min(self._work.concurrency, self._work.images)):
            connection = socket.create_connection(self._address)
            self._selector.register(connection, selectors.EVENT_READ, [bytearray(), 0, 0, 0])
            self._ask(connection)
        while self._done < self._work.images:
            for key, _ in self._selector.select():
                self._read(cast("socket.socket", key.fileobj), key.data)
        for key in list(self._selector.get_map().values()):
            cast("socket.socket", key.fileobj).close()

    def _ask(self, connection: socket.socket) -> None:
        body = (
            b'{"contents":[{"parts":[{"text":"%s"}],"role":"user"}],"generationConfig":'
            b'{"responseModalities":["IMAGE"]}}' % self._work.prompt(self._next).encode()
        )
        self._next += 1
        path = f"/v1beta/models/{MODEL}:generateContent".encode()
        connection.sendall(
            b"POST %s HTTP/1.1\r\nhost: localhost\r\nx-goog-api-key: %s\r\n"
            b"content-length: %d\r\n\r\n%s" % (path, KEY.encode(), len(body), body)
        )

    def _read(self, connection: socket.socket, state: list[Any]) -> None:
        """Read what is there; the buffer is the connection's and is used again and again."""
        buffer, filled, end, number = state
        if filled == len(buffer):
            buffer.extend(bytes(max(65_536, len(buffer))))
        filled += connection.recv_into(memoryview(buffer)[filled:])
        if not end and (head := buffer.find(b"\r\n\r\n", 0, filled)) >= 0:
            length = int(buffer[:head].partition(b"content-length: ")[2].partition(b"\r\n")[0])
            end = head + 4 + length
        if end and filled >= end:
            self._keep(buffer, end)
            filled = end = 0
            self._done += 1
            if self._next < self._work.images:
                self._ask(connection)
        state[:] = buffer, filled, end, number

    def _keep(self, buffer: bytearray, end: int) -> None:
        import pybase64  # noqa: PLC0415 - as above

        start = buffer.index(b'"', buffer.index(b'"data":') + 7) + 1
        text = memoryview(buffer)[start : buffer.index(b'"', start, end)]
        image = pybase64.b64decode(text, validate=True)
        text.release()
        hashlib.sha256(image).hexdigest()
        with self._work.file(self._done).open("wb") as file:
            file.write(image)
            file.flush()
            os.fsync(file.fileno())
