"""When a request about a batch fails: what it is called, and whether there may be a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import httpx2
import pytest
from google import genai
from google.genai import types

from nanobatch.backend import BatchState, Gemini
from nanobatch.errors import AccountError, BadRequestError, ConfigError, TransientError
from nanobatch.simulator import Simulator, answers
from nanobatch.simulator.batch import Lost, Settings
from tests.backend.batching import (
    AT_ONCE,
    Asked,
    created,
    raised_by,
    serving,
    uploaded,
    watched,
)
from tests.backend.wire import KEY, LITE, SMALL, backend, callers_client, http

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from nanobatch.simulator import Answer

pytestmark = pytest.mark.anyio
T = TypeVar("T")
both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@both
@pytest.mark.parametrize("lost", [Lost(), Lost(0.0), Lost(0.5)])
async def test_a_lost_answer_to_create_is_unknown_money_and_one_request(
    tmp_path: Path, lost: Lost
) -> None:
    watch, settings = watched(create=[lost])
    async with Simulator(pixels=SMALL, batch=settings) as simulator, backend(simulator) as gemini:
        file = await uploaded(gemini, tmp_path, "a fox")
        error = await raised_by(gemini.create_batch(model=LITE, file=file, display_name="nb-lost"))
        found = [job async for job in gemini.list_batches()]

    assert isinstance(error, TransientError)
    assert (error.kind, error.is_unknown_money) == ("connection_lost", True)
    assert watch.asked.count("create") == 1
    assert [job.display_name for job in found] == ["nb-lost"]


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")  # the SDK's own
@pytest.mark.parametrize("stack", ["aiohttp", "httpx2"])
async def test_a_callers_own_client_does_not_create_twice_either(
    tmp_path: Path, stack: str
) -> None:
    transport = {"transport": httpx2.AsyncHTTPTransport()} if stack == "httpx2" else None
    watch, settings = watched(create=[Lost()])
    async with Simulator(pixels=SMALL, batch=settings) as simulator, backend(simulator) as gemini:
        file = await uploaded(gemini, tmp_path, "a fox")
        client = callers_client(simulator, async_client_args=transport)
        async with Gemini(client=client, timeout_seconds=20) as theirs:
            call = theirs.create_batch(model=LITE, file=file, display_name="nb-lost")
            error = await raised_by(call)
        await client.aio.aclose()
        client.close()

    assert error.is_unknown_money
    assert watch.asked.count("create") == 1


@pytest.mark.parametrize("text", ["<html>", "[]", "{}", '{"name": "files/f"}', '{"name": 7}'])
async def test_an_answer_to_create_without_a_name_is_unknown_money(text: str) -> None:
    async with serving(lambda _: http(text)) as server, server.gemini() as gemini:
        call = gemini.create_batch(model=LITE, file="files/f1", display_name="nb-1")
        error = await raised_by(call)

    assert isinstance(error, TransientError)
    assert (error.kind, error.is_unknown_money) == ("unreadable", True)
    assert len(server.asked) == 1


@pytest.mark.parametrize("text", ["<html>", "[]", "7", "{}", '{"name": 7}', '{"metadata": "x"}'])
async def test_a_callers_own_client_knows_no_better(text: str) -> None:
    async with serving(lambda _: http(text)) as server:
        transport = {"transport": httpx2.AsyncHTTPTransport()}
        client = genai.Client(
            api_key=KEY,
            http_options=types.HttpOptions(
                base_url=server.base_url, async_client_args=transport, client_args={"verify": False}
            ),
        )
        async with Gemini(client=client, timeout_seconds=5) as gemini:
            call = gemini.create_batch(model=LITE, file="files/f1", display_name="nb-1")
            error = await raised_by(call)
            free = await raised_by(gemini.get_batch("batches/b1"))
        await client.aio.aclose()
        client.close()

    assert isinstance(error, TransientError)
    assert isinstance(free, TransientError)
    assert (error.kind, error.is_unknown_money) == ("unreadable", True)
    assert (free.kind, free.is_unknown_money) == ("unreadable", False)
    assert len(server.asked) == 2


async def test_no_answer_to_create_in_time_is_unknown_money() -> None:
    async with serving(lambda _: None) as server, server.gemini(timeout_seconds=0.3) as gemini:
        call = gemini.create_batch(model=LITE, file="files/f1", display_name="nb-1")
        error = await raised_by(call)

    assert (error.kind, error.is_unknown_money) == ("timeout", True)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("answer", "kind", "is_unknown"),
    [
        (answers.overloaded(), "overloaded", False),
        (answers.capacity(), "rate_limit", False),
        (answers.no_credit(), "no_credit", False),
        (answers.error(400, "Unknown name"), "bad_request", False),
        (answers.not_found(), "model_gone", False),
        (answers.internal(), "server_error", True),
        (answers.error(502, "Bad gateway"), "server_error", True),
        (answers.deadline(), "server_error", True),
    ],
)
async def test_only_some_errors_say_that_there_is_no_job(
    tmp_path: Path, answer: Answer, kind: str, *, is_unknown: bool
) -> None:
    watch, settings = watched(create=[answer])
    async with Simulator(pixels=SMALL, batch=settings) as simulator, backend(simulator) as gemini:
        error = await raised_by(created(gemini, tmp_path, "a fox"))

    assert (error.kind, error.is_unknown_money) == (kind, is_unknown)
    assert ("may have been created" in str(error)) == is_unknown
    assert watch.asked.count("create") == 1


@pytest.mark.parametrize(
    "operation", ["upload_start", "upload", "get", "list", "cancel", "delete_file", "download"]
)
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (answers.overloaded(), "overloaded"),
        (answers.redirect("https://example.org/"), "redirect"),
        (Lost(), "connection_lost"),
    ],
)
async def test_what_is_free_is_never_unknown_money_and_can_be_repeated(
    tmp_path: Path, operation: str, answer: Answer | Lost, kind: str
) -> None:
    watch, settings = watched(**{operation: [answer]})
    errors: list[TransientError] = []
    path = tmp_path / "results.jsonl"

    async def at_last(call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await call()
        except TransientError as error:
            errors.append(error)
        return await call()

    async with Simulator(pixels=SMALL, batch=settings) as simulator, backend(simulator) as gemini:

        async def listed() -> list[str]:
            return [job.name async for job in gemini.list_batches()]

        file = await at_last(lambda: uploaded(gemini, tmp_path, "a fox"))
        job = await gemini.create_batch(model=LITE, file=file, display_name="nb-1")
        over = await at_last(lambda: gemini.get_batch(job.name))
        output = over.output_file or ""
        names = await at_last(listed)
        await at_last(lambda: gemini.download_results(output, path))
        await at_last(lambda: gemini.cancel_batch(job.name))
        await at_last(lambda: gemini.delete_file(file))

    assert [(error.kind, error.is_unknown_money) for error in errors] == [(kind, False)]
    assert watch.asked.count(operation) == 2
    assert "unknown" not in str(errors[0])
    assert names == [job.name]


@pytest.mark.parametrize("what", ["get", "cancel", "download"])
async def test_what_is_not_there_is_not_found_and_no_models_fault(
    tmp_path: Path, what: str
) -> None:
    async with Simulator(pixels=SMALL) as simulator, backend(simulator) as gemini:
        calls = {
            "get": gemini.get_batch("batches/gone"),
            "cancel": gemini.cancel_batch("batches/gone"),
            "download": gemini.download_results("files/gone", tmp_path / "results.jsonl"),
        }
        error = await raised_by(calls.pop(what))
        for call in calls.values():
            call.close()

    assert isinstance(error, BadRequestError)
    assert error.kind == "not_found"
    assert error.status in {403, 404}
    assert "registry" not in str(error)


async def test_a_forbidden_job_stops_the_account(tmp_path: Path) -> None:
    _, settings = watched(get=[answers.forbidden()])
    async with Simulator(pixels=SMALL, batch=settings) as simulator, backend(simulator) as gemini:
        job = await created(gemini, tmp_path, "a fox")
        error = await raised_by(gemini.get_batch(job.name))

    assert isinstance(error, AccountError)
    assert error.kind == "permission"


async def test_what_cannot_be_cancelled_or_deleted_says_so(tmp_path: Path) -> None:
    watch, settings = watched(
        cancel=[answers.forbidden()], delete_file=[answers.error(400, "Not now.")]
    )
    async with Simulator(pixels=SMALL, batch=settings) as simulator, backend(simulator) as gemini:
        job = await created(gemini, tmp_path, "a fox")
        cancelling = await raised_by(gemini.cancel_batch(job.name))
        deleting = await raised_by(gemini.delete_file(simulator.batches.uploads_left[0]))

    assert (type(cancelling), cancelling.kind) == (AccountError, "permission")
    assert (type(deleting), deleting.kind) == (BadRequestError, "bad_request")
    assert watch.asked[-2:] == ["cancel", "delete_file"]


async def test_cancelling_what_is_over_is_fine(tmp_path: Path) -> None:
    over = answers.error(400, "The operation is already done.", grpc_status="FAILED_PRECONDITION")
    _, settings = watched(cancel=[over])
    async with Simulator(pixels=SMALL, batch=settings) as simulator, backend(simulator) as gemini:
        job = await created(gemini, tmp_path, "a fox")
        await gemini.cancel_batch(job.name)
        state = (await gemini.get_batch(job.name)).state

    assert state is BatchState.SUCCEEDED


@pytest.mark.parametrize(
    "name", ["", "batches/", "batches/a/b", "batches/a?alt=x", "batches/..", "batches/a\n", "x"]
)
async def test_a_name_that_could_bend_the_address_is_never_sent(tmp_path: Path, name: str) -> None:
    file = name.replace("batches", "files")
    async with serving(lambda _: http("{}")) as server, server.gemini() as gemini:
        for call in (
            gemini.get_batch(name),
            gemini.cancel_batch(name),
            gemini.delete_file(file),
            gemini.download_results(file, tmp_path / "results.jsonl"),
            gemini.create_batch(model=LITE, file=file, display_name="nb-1"),
        ):
            with pytest.raises(ConfigError, match="is no name of"):
                await call

    assert server.asked == []


@pytest.mark.parametrize("name", ["", "two\nlines", "ä", "x" * 201])
async def test_a_display_name_that_may_not_come_back_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"{}\n")
    async with serving(lambda _: http("{}")) as server, server.gemini() as gemini:
        with pytest.raises(ConfigError, match="display name"):
            await gemini.create_batch(model=LITE, file="files/f1", display_name=name)
        with pytest.raises(ConfigError, match="display name"):
            await gemini.upload_requests(path, display_name=name)

    assert server.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/upload?upload_id=u1",
        "http://127.0.0.1:9/upload?upload_id=u1",
        "http://user@{host}/upload?upload_id=u1",
        "https://{host}/upload?upload_id=u1",
        "/upload?upload_id=u1",
        "http://[",
    ],
)
async def test_an_upload_never_goes_to_another_server(tmp_path: Path, url: str) -> None:
    def answer(_: Asked) -> bytes:
        host = server.base_url.removeprefix("http://")
        return http("{}", "200 OK", f"X-Goog-Upload-URL: {url.replace('{host}', host)}")

    async with serving(answer) as server, server.gemini() as gemini:
        error = await raised_by(uploaded(gemini, tmp_path, "a fox"))

    assert isinstance(error, TransientError)
    assert (error.kind, error.is_unknown_money) == ("redirect", False)
    assert "not followed" in str(error)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("last", "headers"),
    [
        ('{"file": {"name": "files/../x"}}', ["X-Goog-Upload-Status: final"]),
        ('{"file": {"name": 7}}', ["X-Goog-Upload-Status: final"]),
        ('{"file": []}', ["X-Goog-Upload-Status: final"]),
        ("{}", ["X-Goog-Upload-Status: final"]),
        ("<html>", ["X-Goog-Upload-Status: final"]),
        ('{"file": {"name": "files/f1"}}', []),
        ('{"file": {"name": "files/f1"}}', ["X-Goog-Upload-Status: active"]),
        ('{"file": {"name": "files/f1"}}', ["X-Goog-Upload-Status: cancelled"]),
    ],
)
async def test_an_upload_that_ends_oddly_can_be_repeated(
    tmp_path: Path, last: str, headers: list[str]
) -> None:
    def answer(asked: Asked) -> bytes:
        if "upload_id" in asked.target:
            return http(last, "200 OK", *headers)
        return http("{}", "200 OK", f"X-Goog-Upload-URL: {server.base_url}/upload?upload_id=u1")

    async with serving(answer) as server, server.gemini() as gemini:
        error = await raised_by(uploaded(gemini, tmp_path, "a fox"))

    assert isinstance(error, TransientError)
    assert (error.kind, error.is_unknown_money) == ("unreadable", False)
    assert len(server.asked) == 2


async def test_an_upload_without_an_address_can_be_repeated(tmp_path: Path) -> None:
    async with serving(lambda _: http("{}")) as server, server.gemini() as gemini:
        error = await raised_by(uploaded(gemini, tmp_path, "a fox"))

    assert isinstance(error, TransientError)
    assert error.kind == "unreadable"


async def test_an_upload_in_several_pieces_arrives_whole(tmp_path: Path) -> None:
    path = tmp_path / "Fähre.jsonl"
    path.write_bytes(b'{"key": "k", "request": {}}\n' * 700_000)  # 19.6 MB: three pieces of 8 MiB
    watch, settings = watched()
    async with Simulator(pixels=SMALL, batch=settings) as simulator, backend(simulator) as gemini:
        await gemini.upload_requests(path, display_name="nb-1")
        stored = [file.path.read_bytes() for file in simulator.batches._files]

    assert stored == [path.read_bytes()]
    assert watch.asked == ["upload_start", "upload_part", "upload_part", "upload"]


async def test_a_file_that_cannot_be_read_is_the_disks_error(tmp_path: Path) -> None:
    async with serving(lambda _: http("{}")) as server, server.gemini() as gemini:
        with pytest.raises(FileNotFoundError):
            await gemini.upload_requests(tmp_path / "gone.jsonl", display_name="nb-1")

    assert server.asked == []


async def test_too_many_jobs_is_a_wait_and_no_unknown_money(tmp_path: Path) -> None:
    settings = Settings(schedule=AT_ONCE, max_jobs=1)
    async with Simulator(pixels=SMALL, batch=settings) as simulator, backend(simulator) as gemini:
        await created(gemini, tmp_path, "a fox")
        error = await raised_by(created(gemini, tmp_path, "an owl", name="nb-2"))

    assert isinstance(error, TransientError)
    assert (error.status, error.slow_down, error.is_unknown_money) == (429, True, False)
