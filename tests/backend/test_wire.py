"""Our own wire: connections are used again, never wrongly, and every form of a body is read."""

from __future__ import annotations

import asyncio
import base64
import errno
import mmap
import os
import socket
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trustme

from nanobatch.backend import Gemini, buffers, wire
from nanobatch.errors import ProviderError, TransientError
from tests.backend.wire import KEY, answer_json, asking, draw, fault_of
from tests.support import linux_only, memory_taken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from nanobatch.backend import Reply

pytestmark = pytest.mark.anyio

IMAGE = os.urandom(300_000)
BODY = answer_json(
    {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(IMAGE).decode()}}
).encode()
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def whole(body: bytes = BODY) -> bytes:
    return OK + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes = BODY, size: int = 7_001) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


@dataclass
class Server:
    """Answers request after request on each connection with what it is given."""

    answer: Callable[[int], bytes]
    """Gives the bytes for the n-th request, from 0."""
    hangs_up: bool = False
    """Whether it closes each connection after its first answer."""
    port: int = 0
    connections: int = 0
    requests: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list[asyncio.StreamWriter])
    closed: anyio.Event = field(default_factory=anyio.Event)
    """Set when a connection is over."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                number = self.requests
                self.requests += 1
                writer.write(self.answer(number))
                await writer.drain()
                if self.hangs_up or b"connection: close" in self.answer(number)[:200].lower():
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.closed.set()


@asynccontextmanager
async def serving(
    answer: Callable[[int], bytes],
    *,
    tls: ssl.SSLContext | None = None,
    hangs_up: bool = False,
) -> AsyncIterator[tuple[Server, Gemini]]:
    server = Server(answer, hangs_up=hangs_up)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
    try:
        async with Gemini(KEY, base_url=url, timeout_seconds=20) as gemini:
            yield server, gemini
    finally:
        listener.close()
        for writer in server.writers:
            writer.close()


@pytest.mark.parametrize("answer", [whole(), chunked(), chunked(size=200_000)])
async def test_one_connection_serves_call_after_call(answer: bytes) -> None:
    async with serving(lambda _: answer) as (server, gemini):
        replies = [await draw(gemini) for _ in range(5)]

    assert [reply.images for reply in replies] == [(IMAGE,)] * 5
    assert (server.connections, server.requests) == (1, 5)


async def test_a_body_without_a_length_ends_with_its_connection() -> None:
    async with serving(lambda _: OK + b"Connection: close\r\n\r\n" + BODY) as (server, gemini):
        replies = [await draw(gemini) for _ in range(2)]

    assert [reply.images for reply in replies] == [(IMAGE,)] * 2
    assert (server.connections, server.requests) == (2, 2)


async def test_a_hint_before_the_head_is_skipped() -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"

    async with serving(lambda _: hint + whole()) as (server, gemini):
        reply = await draw(gemini)

    assert reply.images == (IMAGE,)
    assert server.requests == 1


async def test_many_at_once_have_each_their_own_answer() -> None:
    sizes = [20_000 + 1_000 * n for n in range(60)]  # more than bodies are read side by side
    images = [os.urandom(size) for size in sizes]
    parts = [
        {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(one).decode()}}
        for one in images
    ]
    replies: list[Reply] = []

    async def call(gemini: Gemini) -> None:
        replies.append(await draw(gemini))

    async with (
        serving(lambda n: whole(answer_json(parts[n]).encode())) as (server, gemini),
        anyio.create_task_group() as tasks,
    ):
        for _ in images:
            tasks.start_soon(call, gemini)

    assert sorted(len(reply.images[0]) for reply in replies) == sizes
    assert {reply.images[0] for reply in replies} == set(images)
    assert server.requests == 60


async def test_a_stalled_answer_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "_BODIES_AT_ONCE", 1)
    stalls = asyncio.Event()
    replies: list[Reply] = []

    def answer(number: int) -> bytes:
        if number == 0:
            stalls.set()
            return whole()[:100_000]
        return whole()

    async with (
        serving(answer) as (_, gemini),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(fault_of, gemini)
        await stalls.wait()
        replies += [await draw(gemini) for _ in range(3)]
        tasks.cancel_scope.cancel()

    assert [reply.images for reply in replies] == [(IMAGE,)] * 3


async def test_answers_stay_on_the_wire_while_there_are_enough_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(buffers, "_LONGEST_WAIT_SECONDS", 3600)
    asked = anyio.Event()
    is_full = True
    early: list[Reply] = []
    replies: list[Reply] = []

    def look() -> bool:
        asked.set()
        return is_full

    async def call(gemini: Gemini) -> None:
        replies.append(await draw(gemini))

    async with serving(lambda _: whole()) as (_, gemini):
        with gemini.hold_back(look):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, gemini)
                await asked.wait()  # its head is there
                await anyio.wait_all_tasks_blocked()
                early += replies
                is_full = False
        is_full = True
        await call(gemini)  # nobody holds it back any more

    assert early == []
    assert [reply.images for reply in replies] == [(IMAGE,)] * 2


async def test_an_answer_for_which_there_is_no_memory_fails_and_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(buffers, "_LONGEST_WAIT_SECONDS", 0.02)  # all wait for the next look
    real = mmap.mmap
    faults: list[ProviderError] = []
    replies: list[Reply] = []
    refusals = iter([OSError(errno.ENOMEM, "Cannot allocate memory")])

    def scarce(*arguments: Any, **options: Any) -> mmap.mmap:
        for refusal in refusals:
            raise refusal
        return real(*arguments, **options)

    async def call(gemini: Gemini) -> None:
        try:
            replies.append(await draw(gemini))
        except ProviderError as error:
            faults.append(error)

    monkeypatch.setattr(mmap, "mmap", scarce)
    async with serving(lambda _: whole()) as (_, gemini):
        with gemini.hold_back(lambda: True), anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(call, gemini)

    assert [reply.images for reply in replies] == [(IMAGE,)] * 2
    assert [(one.kind, one.is_unknown_money) for one in faults] == [("connection_lost", True)]


async def test_no_answer_is_held_back_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "_LONGEST_WAIT_SECONDS", 0.02)

    async with serving(lambda _: whole()) as (_, gemini):
        with gemini.hold_back(lambda: True):
            reply = await draw(gemini)

    assert reply.images == (IMAGE,)


LARGE = os.urandom(9_000_000)
LARGE_BODY = answer_json(
    {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(LARGE).decode()}}
).encode()


@pytest.mark.parametrize(
    "answer",
    [whole(LARGE_BODY), chunked(LARGE_BODY), OK + b"Connection: close\r\n\r\n" + LARGE_BODY],
    ids=["with a length", "chunked", "to the end of the connection"],
)
async def test_an_answer_larger_than_usual_comes_in_whole(answer: bytes) -> None:
    async with serving(lambda n: answer if n == 1 else whole()) as (_, gemini):
        replies = [await draw(gemini) for _ in range(3)]

    assert [reply.images for reply in replies] == [(IMAGE,), (LARGE,), (IMAGE,)]


async def test_what_says_it_is_too_large_is_not_read() -> None:
    head = OK + b"Content-Length: %d\r\n\r\n" % (64 * 1024**2 + 1)

    async with serving(lambda n: whole() if n else head) as (server, gemini):
        error = await fault_of(gemini)  # not one byte of the body ever comes
        await server.closed.wait()
        reply = await draw(gemini)

    assert isinstance(error, TransientError)
    assert (error.kind, error.is_unknown_money) == ("too_large", True)
    assert reply.images == (IMAGE,)
    assert server.connections == 2


@linux_only
@pytest.mark.parametrize("answer", [whole(LARGE_BODY), chunked(LARGE_BODY)])
async def test_the_memory_of_a_large_answer_is_given_back_at_once(answer: bytes) -> None:
    async with serving(lambda n: answer if n else whole()) as (_, gemini):
        await draw(gemini)
        with memory_taken() as taken:
            for _ in range(5):
                await draw(gemini)

    assert 9 < taken.peak_mib < 30  # 12 MB of base64, once; malloc may have the image's 9 MB
    assert taken.left_mib < 10


@pytest.mark.parametrize("cut_at", [len(OK) - 5, len(whole()) - 1, 150_000])
@pytest.mark.parametrize("make", [whole, chunked])
async def test_an_answer_that_breaks_off_is_lost_and_not_asked_for_again(
    cut_at: int, make: Callable[[], bytes]
) -> None:
    async with serving(lambda _: make()[:cut_at], hangs_up=True) as (server, gemini):
        error = await fault_of(gemini)

    assert isinstance(error, TransientError)
    assert (error.kind, error.is_unknown_money) == ("connection_lost", True)
    assert server.requests == 1


async def test_an_answer_that_somebody_put_behind_another_is_nobodys() -> None:
    other = os.urandom(6_000)
    part = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(other).decode()}}
    smuggled = whole(answer_json(part).encode())
    small = whole(b'{"usageMetadata": {"promptTokenCount": 1}}')

    async with serving(lambda n: whole() if n else small + smuggled) as (server, gemini):
        first = await draw(gemini)  # head, body and what is behind come in one piece
        second = await draw(gemini)

    assert first.images == ()
    assert second.images == (IMAGE,)
    assert (server.connections, server.requests) == (2, 2)


async def test_an_error_of_any_length_leaves_its_connection_usable() -> None:
    error = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 11\r\n\r\noverloaded!"

    async with serving(lambda n: whole() if n else error) as (server, gemini):
        fault = await fault_of(gemini)
        reply = await draw(gemini)

    assert fault.kind == "overloaded"
    assert reply.images == (IMAGE,)
    assert (server.connections, server.requests) == (1, 2)


async def test_a_connection_closed_while_nobody_looked_is_not_used_again() -> None:
    """The event loop has not seen the end yet when the next request is to go out."""
    async with serving(lambda _: whole()) as (server, gemini):
        await draw(gemini)
        own_end = server.writers[0].get_extra_info("socket")
        own_end.shutdown(socket.SHUT_RDWR)  # at once, without a turn of the event loop
        reply = await draw(gemini)

    assert reply.images == (IMAGE,)
    assert server.requests == 2


async def test_a_connection_the_server_has_closed_is_not_used_again() -> None:
    async with serving(lambda _: whole()) as (server, gemini):
        await draw(gemini)
        server.writers[0].close()
        await server.closed.wait()
        await anyio.wait_all_tasks_blocked()
        await draw(gemini)

    assert (server.connections, server.requests) == (2, 2)


async def test_a_connection_that_has_lain_long_is_not_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "IDLE_SECONDS", -1.0)

    async with serving(lambda _: whole()) as (server, gemini):
        await draw(gemini)
        await draw(gemini)

    assert (server.connections, server.requests) == (2, 2)


async def test_bytes_behind_an_answer_end_the_connection() -> None:
    async with serving(lambda n: whole() + b"HTTP/1.1 200 OK\r\n" * (n == 0)) as (server, gemini):
        first = await draw(gemini)
        await server.closed.wait()
        second = await draw(gemini)

    assert first.images == second.images == (IMAGE,)
    assert (server.connections, server.requests) == (2, 2)


@pytest.mark.parametrize(
    "answer",
    [
        b"SMTP ready\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nno chunk",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
    ],
)
async def test_what_is_no_http_is_a_lost_answer(answer: bytes) -> None:
    async with serving(lambda _: answer) as (server, gemini):
        error = await fault_of(gemini)

    assert isinstance(error, TransientError)
    assert (error.kind, error.is_unknown_money) == ("connection_lost", True)
    assert server.requests == 1


async def test_tls_works_and_a_stranger_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, strangers = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(str(tmp_path / "ours.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ours.pem"))
    found: list[tuple[bytes, ...] | ProviderError] = []
    for authority in (ours, strangers):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        async with serving(lambda n: chunked() if n else whole(), tls=context) as (_, gemini):
            for _ in range(2):
                try:
                    found.append((await gemini.generate(asking())).images)
                except ProviderError as error:
                    found.append(error)

    assert found[:2] == [(IMAGE,), (IMAGE,)]
    assert [(type(one), getattr(one, "kind", "")) for one in found[2:]] == [
        (TransientError, "connect"),
        (TransientError, "connect"),
    ]
