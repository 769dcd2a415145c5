"""A results file arrives whole or not at all, and what arrived is not asked for again."""

from __future__ import annotations

import base64
from random import Random
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from nanobatch.backend.batch.download import part_of
from nanobatch.errors import TransientError
from nanobatch.simulator import Simulator, answers
from nanobatch.simulator.batch import Settings
from tests.backend.batching import (
    AT_ONCE,
    Asked,
    created,
    files_in,
    raised_by,
    ranged,
    results_of,
    serving,
)
from tests.backend.wire import KEY, SMALL, backend, http

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])

MIB = 1024 * 1024
CONTENT = Random(7).randbytes(3 * MIB + 12_345)
FILE = "files/batch-b1"


async def fetched(
    answer: Callable[[Asked], bytes | None], path: Path, *, calls: int = 1
) -> tuple[list[TransientError], list[Asked]]:
    """Download so many times; return the errors and the requests."""
    errors: list[TransientError] = []
    async with serving(answer) as server, server.gemini(timeout_seconds=0.5) as gemini:
        for _ in range(calls):
            try:
                await gemini.download_results(FILE, path)
            except TransientError as error:
                errors.append(error)
    return errors, server.asked


@both
async def test_what_broke_off_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    ends = [1 * MIB + 7, 900_000, None]

    errors, asked = await fetched(lambda one: ranged(CONTENT, one, most=ends.pop(0)), path, calls=3)

    assert path.read_bytes() == CONTENT
    assert [error.kind for error in errors] == ["connection_lost"] * 2
    assert not any(error.is_unknown_money for error in errors)
    starts = [one.headers.get("range") for one in asked]
    assert starts[0] is None
    there = [int(start.removeprefix("bytes=").removesuffix("-")) for start in starts[1:] if start]
    # What may be the beginning of the key, some hundred bytes at the very end, comes again.
    assert 1 * MIB - 1_000 < there[0] <= 1 * MIB + 7
    assert there[0] + 900_000 - 1_000 < there[1] <= there[0] + 900_000
    assert not part_of(path).exists()


async def test_until_it_is_whole_nothing_is_there_but_the_part(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"

    await fetched(lambda one: ranged(CONTENT, one, most=2 * MIB), path)

    assert set(files_in(tmp_path)) == {"results.jsonl.part"}
    there = part_of(path).read_bytes()
    assert CONTENT.startswith(there)
    assert len(there) > 2 * MIB - 1_000


async def test_a_server_without_ranges_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    settings = Settings(schedule=AT_ONCE, cut_downloads=2)
    async with Simulator(pixels=SMALL, batch=settings) as simulator, backend(simulator) as gemini:
        job = await gemini.get_batch((await created(gemini, tmp_path, "a fox", "an owl")).name)
        assert job.output_file is not None
        errors = [await raised_by(gemini.download_results(job.output_file, path)) for _ in range(2)]
        was_there = part_of(path).stat().st_size
        results = await results_of(gemini, job, path)
        content = next(f.path.read_bytes() for f in simulator.batches._files if f.is_generated)

    assert [error.kind for error in errors] == ["connection_lost"] * 2
    assert 0 < was_there < len(content)
    assert path.read_bytes() == content
    assert set(results) == {"k0", "k1"}


@pytest.mark.parametrize(
    "said",
    [
        "bytes 0-99/100",
        "bytes 6-99/100",
        "bytes */100",
        "bytes 5-99/*",
        "octets 5-99/100",
        "",
    ],
)
async def test_another_range_than_was_asked_for_is_not_taken(tmp_path: Path, said: str) -> None:
    path = tmp_path / "results.jsonl"
    part_of(path).write_bytes(b"01234")
    content = b"0123456789" * 10

    def answer(asked: Asked) -> bytes:
        if "range" in asked.headers:
            return http(content[5:], "206 Partial Content", f"Content-Range: {said}")
        return http(content)

    errors, asked = await fetched(answer, path)

    assert errors == []
    assert path.read_bytes() == content
    assert [one.headers.get("range") for one in asked] == ["bytes=5-", None]


async def test_a_part_longer_than_the_file_is_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    part_of(path).write_bytes(b"x" * 200)

    def answer(asked: Asked) -> bytes:
        if "range" in asked.headers:
            return http("", "416 Range Not Satisfiable", "Content-Range: bytes */100")
        return http(b"y" * 100)

    errors, _ = await fetched(answer, path)

    assert errors == []
    assert path.read_bytes() == b"y" * 100


async def test_a_whole_part_only_lacks_its_name(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    part_of(path).write_bytes(b"x" * 100)
    said = http("", "416 Range Not Satisfiable", "Content-Range: bytes */100")

    errors, asked = await fetched(lambda _: said, path)

    assert (errors, len(asked)) == ([], 1)
    assert path.read_bytes() == b"x" * 100


async def test_a_range_that_ends_early_is_not_the_end(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    part_of(path).write_bytes(b"01234")
    said = http(b"567", "206 Partial Content", "Content-Range: bytes 5-7/10")

    errors, _ = await fetched(lambda _: said, path)

    assert [str(error) for error in errors] == [
        "The file did not arrive whole: 8 of 10 bytes are here."
    ]
    assert part_of(path).read_bytes() == b"01234567"


@both
async def test_a_file_that_does_not_go_on_is_given_up_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    settings = Settings(
        schedule=AT_ONCE,
        fault=lambda op: answers.stall_in_body() if op.name == "download" else None,
    )
    async with (
        Simulator(pixels=SMALL, batch=settings) as simulator,
        backend(simulator, timeout_seconds=0.5) as gemini,
    ):
        job = await gemini.get_batch((await created(gemini, tmp_path, "a fox")).name)
        assert job.output_file is not None
        error = await raised_by(gemini.download_results(job.output_file, path))

    assert (error.kind, error.is_unknown_money) == ("timeout", False)
    assert not path.exists()
    assert part_of(path).exists()


async def test_no_answer_at_all_is_given_up(tmp_path: Path) -> None:
    errors, _ = await fetched(lambda _: None, tmp_path / "results.jsonl")

    assert [(error.kind, error.is_unknown_money) for error in errors] == [("timeout", False)]


async def test_a_compressed_file_is_refused(tmp_path: Path) -> None:
    said = http(b"\x1f\x8b\x08", "200 OK", "Content-Encoding: gzip")

    errors, _ = await fetched(lambda _: said, tmp_path / "results.jsonl")

    assert [(error.kind, error.is_unknown_money) for error in errors] == [("protocol", False)]
    assert "unknown" not in str(errors[0])


async def test_503_on_a_download_can_be_repeated(tmp_path: Path) -> None:
    settings = Settings(schedule=AT_ONCE, busy_downloads=1)
    async with Simulator(pixels=SMALL, batch=settings) as simulator, backend(simulator) as gemini:
        job = await gemini.get_batch((await created(gemini, tmp_path, "a fox")).name)
        assert job.output_file is not None
        error = await raised_by(gemini.download_results(job.output_file, tmp_path / "results"))
        results = await results_of(gemini, job, tmp_path / "results")

    assert (error.kind, error.is_unknown_money) == ("overloaded", False)
    assert set(results) == {"k0"}


async def test_a_file_without_an_announced_length_arrives_whole(tmp_path: Path) -> None:
    settings = Settings(schedule=AT_ONCE, chunked_downloads=True, cut_downloads=1)
    async with Simulator(pixels=SMALL, batch=settings) as simulator, backend(simulator) as gemini:
        job = await gemini.get_batch((await created(gemini, tmp_path, "a fox")).name)
        assert job.output_file is not None
        error = await raised_by(gemini.download_results(job.output_file, tmp_path / "results"))
        results = await results_of(gemini, job, tmp_path / "results")

    assert error.kind == "connection_lost"
    assert set(results) == {"k0"}


@pytest.mark.parametrize("where", ["plain", "base64"])
async def test_a_server_that_repeats_the_key_does_not_bring_it_to_the_disk(
    tmp_path: Path, where: str
) -> None:
    path = tmp_path / "results.jsonl"
    form = KEY.encode() if where == "plain" else base64.b64encode(KEY.encode())
    # The key lies across the end of the first piece of a MiB, and across the place of the cut.
    content = b"x" * (MIB - 10) + form + b"y" * 5_000 + form + b"z" * 20
    cut = content.rindex(form) + 7
    ends = [cut, None]

    errors, asked = await fetched(lambda one: ranged(content, one, most=ends.pop(0)), path, calls=1)
    halfway = part_of(path).read_bytes()
    await fetched(lambda one: ranged(content, one), path)

    stars = b"*" * len(form)
    assert len(errors) == len(asked) == 1
    assert form[:7] not in halfway
    assert path.read_bytes() == content.replace(form, stars)


async def test_an_error_on_the_disk_is_the_disks_error(tmp_path: Path) -> None:
    async with serving(lambda _: http("{}")) as server, server.gemini() as gemini:
        with pytest.raises(FileNotFoundError):
            await gemini.download_results(FILE, tmp_path / "no folder" / "results.jsonl")

    assert server.asked == []


@both
async def test_a_cancelled_download_leaves_what_arrived(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    async with (
        serving(lambda one: ranged(CONTENT, one, most=2 * MIB + 9), holds=True) as server,
        server.gemini(timeout_seconds=30) as gemini,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(gemini.download_results, FILE, path)
        with anyio.fail_after(10):
            while not part_of(path).exists() or part_of(path).stat().st_size < MIB:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()

    assert not path.exists()
    assert CONTENT.startswith(part_of(path).read_bytes())
