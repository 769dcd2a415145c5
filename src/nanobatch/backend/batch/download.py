"""Brings a results file of gigabytes to the disk, piece by piece, going on where it broke off."""

from __future__ import annotations

import os
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from nanobatch.backend.translate import broken_off

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import BinaryIO

    import httpx2

    from nanobatch.backend.redact import Redactor
    from nanobatch.backend.transport import GuardedTransport

__all__ = ["download", "finish", "part_of"]

PIECE_BYTES: Final = 1024 * 1024
"""Written at once, and what has to arrive within one deadline."""

_OK: Final = 200
_PART: Final = 206
_PAST_THE_END: Final = 416
_RANGE: Final = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})")
_LENGTH: Final = re.compile(r"\d{1,18}")


def part_of(path: Path) -> Path:
    """Return where a file lies while it is not complete."""
    return path.with_name(path.name + ".part")


async def download(
    transport: GuardedTransport, request: httpx2.Request, path: Path, *, seconds: float
) -> None:
    """Bring a file to the disk; what arrived stays in its part when it breaks off.

    Args:
        transport: Sends the request.
        request: Asks for the whole file, as the SDK wrote it.
        path: Where it goes.
        seconds: Deadline of the answer's head, and then of each MiB of it.

    Raises:
        ProviderError: It is not given.
        TransientError: It broke off.
        TimeoutError: It does not go on.
        OSError: The disk does not take it.
    """
    file = await anyio.to_thread.run_sync(_opened, part_of(path))
    try:
        if not await _is_filled(transport, request, file, seconds):
            # The part does not fit the file: from its beginning, then.
            await anyio.to_thread.run_sync(_empty, file)
            await _is_filled(transport, request, file, seconds)
        await anyio.to_thread.run_sync(_save, file)
    finally:
        file.close()
    await finish(path)


async def finish(path: Path) -> None:
    """Give a complete part its name."""
    await anyio.to_thread.run_sync(os.replace, part_of(path), path)


async def _is_filled(
    transport: GuardedTransport, request: httpx2.Request, file: BinaryIO, seconds: float
) -> bool:
    """Bring what is missing; return whether the server went on from where the part ends.

    Raises:
        TransientError: It broke off.
    """
    here = file.tell()
    request.headers.pop("range", None)
    statuses = {_OK}
    if here:
        request.headers["range"] = f"bytes={here}-"
        statuses = {_OK, _PART, _PAST_THE_END}
    async with transport.streamed(request, statuses=statuses, seconds=seconds) as (
        response,
        redactor,
    ):
        length = _length_of(response)
        said = response.headers.get("content-range", "").strip()
        if response.status_code == _PAST_THE_END:
            return said == f"bytes */{here}"
        if response.status_code == _PART:
            found = _RANGE.fullmatch(said)
            if found is None or int(found[1]) != here:
                return False
            length = int(found[2])
        elif here:
            await anyio.to_thread.run_sync(_empty, file)
        async with aclosing(response.aiter_raw()) as chunks:
            await _write(file, chunks, redactor, seconds)
    arrived = file.tell()
    if length is not None and arrived != length:
        raise broken_off(f"{arrived} of {length} bytes are here")
    return True


def _length_of(response: httpx2.Response) -> int | None:
    if "transfer-encoding" in response.headers:
        return None  # it has an end of its own, which the HTTP stack watches
    text = response.headers.get("content-length", "").strip()
    return int(text) if _LENGTH.fullmatch(text) else None


async def _write(
    file: BinaryIO, chunks: AsyncIterator[bytes], redactor: Redactor, seconds: float
) -> None:
    """Write what arrives, without the key.

    The end of a piece that could be the beginning of the key waits for the next one. When the
    file breaks off there, it is not written, and comes again.
    """
    held = bytearray()
    waits = max(0, redactor.longest - 1)
    is_over = False
    while not is_over:
        try:
            is_over = await _is_last(held, chunks, seconds)
        except BaseException:
            file.write(redactor.masked(bytes(held))[: max(0, len(held) - waits)])
            raise
        clean = redactor.masked(bytes(held))
        ready = len(clean) if is_over else len(clean) - waits
        await anyio.to_thread.run_sync(file.write, clean[:ready])
        held[:] = clean[ready:]


async def _is_last(held: bytearray, chunks: AsyncIterator[bytes], seconds: float) -> bool:
    """Add the next piece; return whether there is no more.

    Raises:
        TimeoutError: It does not come.
    """
    wanted = len(held) + PIECE_BYTES
    with anyio.fail_after(seconds):
        while len(held) < wanted:
            chunk = await anext(chunks, None)
            if chunk is None:
                return True
            held += chunk
    return False


def _opened(part: Path) -> BinaryIO:
    file = part.open("ab")
    file.seek(0, os.SEEK_END)
    return file


def _empty(file: BinaryIO) -> None:
    file.truncate(0)
    file.seek(0)


def _save(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
