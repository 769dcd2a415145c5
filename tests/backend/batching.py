"""A batch as the tests of the backend want it, and a server that says what a test lets it say."""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import SocketAttribute

from nanobatch.backend import Gemini, lines_of
from nanobatch.errors import ProviderError
from nanobatch.simulator.batch import Polls, Settings
from tests.backend.wire import KEY, LITE, asking, headers_of, read_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from anyio.abc import SocketStream

    from nanobatch.backend import BatchJob, BatchLine
    from nanobatch.simulator import Answer
    from nanobatch.simulator.batch import Lost, Operation

AT_ONCE = Polls(pending=0, running=0)
"""The first `get` shows the end of a job."""


@dataclass
class Watch:
    """Notes every request about files and jobs, and may take it over."""

    given: dict[str, Sequence[Answer | Lost | None]] = field(default_factory=dict)
    """By the name of the operation: what its first requests get instead of the usual."""

    asked: list[str] = field(default_factory=list)

    def __call__(self, operation: Operation) -> Answer | Lost | None:
        self.asked.append(operation.name)
        given = self.given.get(operation.name, [])
        return given[operation.nth] if operation.nth < len(given) else None


def watched(**given: Sequence[Answer | Lost | None]) -> tuple[Watch, Settings]:
    """Return a watch and settings with it, under which jobs are over at once."""
    watch = Watch(given=dict(given))
    return watch, Settings(schedule=AT_ONCE, fault=watch)


async def uploaded(gemini: Gemini, folder: Path, *prompts: str, name: str = "nb-1") -> str:
    """Upload these prompts under the keys `k0`, `k1`, ...; return the name of the file."""
    path = folder / f"{name}.jsonl"
    lines = [await gemini.batch_request(asking(p), key=f"k{n}") for n, p in enumerate(prompts)]
    path.write_bytes(b"".join(lines))
    return await gemini.upload_requests(path, display_name=name)


async def created(gemini: Gemini, folder: Path, *prompts: str, name: str = "nb-1") -> BatchJob:
    file = await uploaded(gemini, folder, *prompts, name=name)
    return await gemini.create_batch(model=LITE, file=file, display_name=name)


async def results_of(gemini: Gemini, job: BatchJob, path: Path) -> dict[str | None, BatchLine]:
    """Download the results of a job that is over; return them by key."""
    assert job.output_file is not None
    await gemini.download_results(job.output_file, path)
    lines = [gemini.read_line(line) for line in lines_of(path)]
    return {line.key: line for line in lines}


async def raised_by(call: Awaitable[object]) -> ProviderError:
    """Return the error of a call that must fail."""
    try:
        found = await call
    except ProviderError as error:
        return error
    raise AssertionError(f"It answered: {found}")


@dataclass
class Asked:
    """One request, as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """What a server of `serving` was asked, and where it is."""

    base_url: str = ""
    asked: list[Asked] = field(default_factory=list)

    def gemini(self, *, timeout_seconds: float = 5) -> Gemini:
        return Gemini(KEY, base_url=self.base_url, timeout_seconds=timeout_seconds)


@asynccontextmanager
async def serving(
    answer: Callable[[Asked], bytes | None], *, holds: bool = False
) -> AsyncIterator[Server]:
    """Listen on loopback; write what `answer` says and close, or hold the connection.

    It is held too if `answer` says `None`.
    """
    server = Server()

    async def serve(stream: SocketStream) -> None:
        async with stream:
            head, body = await read_request(stream)
            method, target, _ = head.partition("\r\n")[0].split()
            server.asked.append(Asked(method, target, headers_of(head), body))
            said = answer(server.asked[-1])
            try:
                await stream.send(said or b"")
                if said is None or holds:
                    await anyio.sleep_forever()
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - no Django here
        server.base_url = f"http://127.0.0.1:{port}"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, serve)
            yield server
            tasks.cancel_scope.cancel()


def ranged(content: bytes, asked: Asked, *, most: int | None = None, total: str = "") -> bytes:
    """Return the answer of a server of files that takes ranges; the body ends after `most`."""
    wanted = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
    start = int(wanted[1]) if wanted else 0
    body = content[start:]
    head = [f"HTTP/1.1 {'206 Partial Content' if wanted else '200 OK'}"]
    head += [f"Content-Length: {len(body)}", "Connection: close"]
    if wanted:
        end = len(content) - 1
        head.append(f"Content-Range: bytes {start}-{end}/{total or len(content)}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body[:most]


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def operation(name: str = "batches/b1", **metadata: Any) -> dict[str, Any]:
    """Return an operation as the provider writes it."""
    return {"name": name, "metadata": {"name": name, **metadata}}


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode()
