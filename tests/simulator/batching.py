"""The real google-genai SDK, asynchronous, for the tests of the simulator's Batch API."""

from __future__ import annotations

import io
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
from google import genai
from google.genai import types

from nanobatch.simulator.batch import Polls, Settings
from tests.simulator.wire import KEY, LITE, NO_TLS, body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from nanobatch.simulator import Simulator

AT_ONCE = Polls(pending=0, running=0)
"""The first `get` shows the end of a job."""


def at_once(**settings: Any) -> Settings:
    return Settings(schedule=AT_ONCE, **settings)


def jsonl(*lines: tuple[str, str]) -> bytes:
    """Return the input file of a batch; one pair of key and prompt a line."""
    return requests(*((key, body(prompt)) for key, prompt in lines))


def requests(*lines: tuple[str, Any]) -> bytes:
    return b"".join(json.dumps({"key": k, "request": r}).encode() + b"\n" for k, r in lines)


def numbered(count: int) -> bytes:
    """Return an input file with keys `k0`, `k1`, ... and a prompt of its own for each."""
    return jsonl(*((f"k{n}", f"fox number {n}") for n in range(count)))


def read(results: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.splitlines()]


def keys(results: Iterable[dict[str, Any]]) -> list[str]:
    return [result["key"] for result in results]


@asynccontextmanager
async def sdk(simulator: Simulator, *, version: str = "v1beta") -> AsyncIterator[genai.Client]:
    client = genai.Client(
        api_key="anything",
        http_options=types.HttpOptions(
            base_url=simulator.base_url,
            api_version=version,
            timeout=20_000,
            async_client_args={"transport": httpx2.AsyncHTTPTransport(verify=NO_TLS)},
        ),
    )
    try:
        yield client
    finally:
        await client.aio.aclose()
        client.close()


async def upload(client: genai.Client, content: bytes) -> str:
    config = types.UploadFileConfig(display_name="lines", mime_type="application/jsonl")
    file = await client.aio.files.upload(file=io.BytesIO(content), config=config)
    assert file.name is not None
    return file.name


async def create(
    client: genai.Client, content: bytes, *, name: str = "a batch", model: str = LITE
) -> str:
    job = await client.aio.batches.create(
        model=model,
        src=await upload(client, content),
        config=types.CreateBatchJobConfig(display_name=name),
    )
    assert job.name is not None
    return job.name


async def download(client: genai.Client, job: types.BatchJob) -> bytes:
    assert job.dest is not None
    assert job.dest.file_name is not None
    content = await client.aio.files.download(file=job.dest.file_name)
    assert content is not None
    return content


async def results_of(client: genai.Client, content: bytes) -> list[dict[str, Any]]:
    """Return the results of a batch that goes well at once, in the order of its result file."""
    job = await client.aio.batches.get(name=await create(client, content))
    return read(await download(client, job))


@asynccontextmanager
async def http(simulator: Simulator) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(
        base_url=simulator.base_url, headers=KEY, timeout=20, verify=NO_TLS
    ) as client:
        yield client
