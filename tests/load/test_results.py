"""A results file of gigabytes is downloaded and read in the memory of a few of its lines.

`NANOBATCH_RESULTS_MIB=2048` makes it the long version, `pytest -rP` shows the figures.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.abc import SocketAttribute

from tests.backend.wire import answer_json
from tests.load.hostile import MIB

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from anyio.abc import SocketStream

RESULTS_MIB = int(os.environ.get("NANOBATCH_RESULTS_MIB", "256"))
IMAGE_BYTES = 5 * MIB
"""One of 2K, roughly."""
MOST_MIB = 300
"""What a run may take whatever its answers: the goal of the library, with the SDK in it."""
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")


def answer(image_bytes: int) -> bytes:
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(image_bytes - 8)).decode()
    part = {"inlineData": {"mimeType": "image/png", "data": picture}}
    return answer_json(part).encode()


def written(count: int) -> Iterator[bytes]:
    """Yield that many answers, an error, a line of 100 MiB and one that is cut off."""
    usual = answer(IMAGE_BYTES)
    for n in range(count):
        yield b'{"key": "k%d", "response": ' % n
        yield usual
        yield b"}\n"
    yield b'{"key": "bad", "error": {"code": 3, "message": "Sorry."}}\n'
    yield b'{"key": "long", "response": "'
    for _ in range(100):
        yield b"x" * MIB
    yield b'"}\n{"key": "cut", "response": ' + usual[:MIB]


@asynccontextmanager
async def serving(count: int) -> AsyncIterator[str]:
    """Serve such a file, which is never held or written here; yield where it is."""
    length = sum(len(piece) for piece in written(count))

    async def serve(stream: SocketStream) -> None:
        async with stream:
            received = b""
            while b"\r\n\r\n" not in received:
                received += await stream.receive()
            await stream.send(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode())
            for piece in written(count):
                await stream.send(piece)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - no Django here
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, serve)
            yield f"http://127.0.0.1:{port}"
            tasks.cancel_scope.cancel()


@pytest.mark.timeout(60 + RESULTS_MIB)
async def test_a_results_file_of_any_size_takes_the_memory_of_a_few_lines(tmp_path: Path) -> None:
    count = RESULTS_MIB * MIB // len(answer(IMAGE_BYTES))
    path = tmp_path / "results.jsonl"

    async with serving(count) as base_url:
        arguments = [sys.executable, "-m", "tests.load.results", base_url, str(path)]
        finished = await anyio.run_process(arguments, cwd=ROOT, stderr=PIPE, check=False)
    assert finished.returncode == 0, finished.stderr.decode()
    report: dict[str, Any] = json.loads(finished.stdout)
    size_mib = path.stat().st_size / MIB
    path.unlink()
    figures = f"{size_mib:.0f} MiB, {report['lines']} lines, "
    figures += f"{report['download_seconds']:.1f} s down, {report['reading_seconds']:.1f} s read"
    peaks = f"peak {report['peak_mib']:.0f} MiB, {report['peak_at_first_mib']:.0f} when opened"
    print(f"{figures}, {peaks}")  # noqa: T201 - pytest -rP shows it

    assert size_mib > RESULTS_MIB
    assert report["images"] == count
    assert report["lines"] == report["keys"] == count + 3
    assert report["faults"] == {"bad_request": 1, "unreadable": 2}
    assert report["peak_mib"] < MOST_MIB
