"""The Batch API by way of the real SDK: from requests in a file to images in another."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import httpx2
import pytest
from google import genai
from google.oauth2.credentials import Credentials

from nanobatch.backend import BatchBackend, BatchState, Gemini
from nanobatch.errors import BadRequestError, ConfigError
from nanobatch.simulator import Simulator
from nanobatch.simulator.batch import End, Polls, Settings
from tests.backend.batching import (
    AT_ONCE,
    created,
    files_in,
    raised_by,
    results_of,
    serving,
    uploaded,
    watched,
)
from tests.backend.wire import (
    BANANA,
    KEY,
    LITE,
    SMALL,
    asking,
    backend,
    callers_client,
    http,
    recording,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def test_gemini_is_a_batch_backend() -> None:
    assert isinstance(Gemini(KEY), BatchBackend)


@both
async def test_a_batch_goes_from_requests_to_images(tmp_path: Path) -> None:
    settings = Settings(schedule=Polls(pending=1, running=1), item_errors={"k1"})
    async with Simulator(pixels=SMALL, batch=settings) as simulator, backend(simulator) as gemini:
        job = await created(gemini, tmp_path, "a fox", "an owl", "a hare", name="nb-life")
        seen = [(await gemini.get_batch(job.name)).state for _ in range(2)]
        over = await gemini.get_batch(job.name)
        results = await results_of(gemini, over, tmp_path / "results.jsonl")
        listed = [job async for job in gemini.list_batches()]
        await gemini.delete_file(simulator.batches.uploads_left[0])
        left = simulator.batches.uploads_left

    assert (job.state, job.model, job.display_name) == (BatchState.PENDING, LITE, "nb-life")
    assert job.output_file is None
    assert job.created_at is not None
    assert job.created_at.utcoffset() is not None
    assert seen == [BatchState.PENDING, BatchState.RUNNING]
    assert over.state is BatchState.SUCCEEDED
    assert (over.requests, over.succeeded, over.failed) == (3, 2, 1)
    assert set(results) == {"k0", "k1", "k2"}
    for key in ("k0", "k2"):
        reply = results[key].reply
        assert reply is not None
        assert reply.images[0].startswith(b"\x89PNG")
        assert reply.usage is not None
        assert (reply.usage.image_tokens, reply.finish_reason) == (1120, "STOP")
    assert results["k1"].reply is None
    assert isinstance(results["k1"].fault, BadRequestError)
    assert not results["k1"].fault.is_unknown_money
    assert listed == [over]
    assert left == ()
    assert set(files_in(tmp_path)) == {"nb-life.jsonl", "results.jsonl"}


@pytest.mark.parametrize("model", [LITE, BANANA])
@pytest.mark.parametrize("images", [(), (PNG,)])
@pytest.mark.parametrize("prompt", ['a "fox"\n \u2028 in\tsnow ☃ \U0001f98a\x00', "half \ud83e"])
async def test_a_line_asks_for_exactly_what_a_call_asks_for(
    model: str, images: tuple[bytes, ...], prompt: str
) -> None:
    level = "MINIMAL" if model == BANANA else None
    request = asking(
        prompt,
        model=model,
        aspect_ratio="16:9",
        input_images=images,
        thinking_level=level,
    )
    async with recording(http("{}")) as server, Gemini(KEY, base_url=server.base_url) as gemini:
        line = await gemini.batch_request(request, key="slot 1, ☃")
        await raised_by(gemini.generate(request))

    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert json.loads(line) == {"key": "slot 1, ☃", "request": server.json}
    assert json.loads(line)["request"]["contents"][0]["parts"][0]["text"] == prompt


@pytest.mark.parametrize("key", ["", "a\nb", "x" * 201, "half \ud83e"])
async def test_a_key_that_would_not_come_back_is_refused(key: str) -> None:
    async with Gemini(KEY) as gemini:
        with pytest.raises(ConfigError, match="1 to 200 printable characters"):
            await gemini.batch_request(asking(), key=key)


async def test_writing_a_line_sends_nothing(tmp_path: Path) -> None:
    watch, settings = watched()
    async with Simulator(pixels=SMALL, batch=settings) as simulator, backend(simulator) as gemini:
        await gemini.batch_request(asking(), key="k")
        await gemini.batch_request(asking(input_images=(PNG,)), key="k")

    assert watch.asked == []
    assert simulator.bill.requests == 0


async def test_every_method_is_exactly_one_request(tmp_path: Path) -> None:
    watch, settings = watched()
    async with Simulator(pixels=SMALL, batch=settings) as simulator, backend(simulator) as gemini:
        job = await created(gemini, tmp_path, "a fox")
        job = await gemini.get_batch(job.name)
        assert job.output_file is not None
        await gemini.download_results(job.output_file, tmp_path / "results.jsonl")
        assert [one async for one in gemini.list_batches()]
        await gemini.cancel_batch(job.name)
        await gemini.delete_file(job.output_file)

    assert watch.asked == [
        "upload_start", "upload", "create", "get", "download", "list", "cancel", "delete_file",
    ]  # fmt: skip


@both
async def test_a_list_of_several_pages_comes_whole(tmp_path: Path) -> None:
    watch, settings = watched()
    async with Simulator(pixels=SMALL, batch=settings) as simulator, backend(simulator) as gemini:
        file = await uploaded(gemini, tmp_path, "a fox")
        names = [f"nb-{n}" for n in range(230)]
        for name in names:
            job = await gemini.create_batch(model=LITE, file=file, display_name=name)
            await gemini.get_batch(job.name)
        listed = [job.display_name async for job in gemini.list_batches()]

    assert sorted(listed) == sorted(names)
    assert watch.asked.count("list") == 3  # 230 in pages of 100


@pytest.mark.parametrize("end", [End.FAILED, End.EXPIRED])
async def test_a_job_that_ends_badly_says_so(tmp_path: Path, end: End) -> None:
    settings = Settings(schedule=AT_ONCE, ends=end)
    async with Simulator(pixels=SMALL, batch=settings) as simulator, backend(simulator) as gemini:
        job = await gemini.get_batch((await created(gemini, tmp_path, "a fox")).name)

    assert job.state is BatchState(end.value.lower())
    assert job.state.is_over
    assert job.output_file is None


async def test_a_cancelled_job_is_cancelled_and_cancelling_twice_is_fine(tmp_path: Path) -> None:
    settings = Settings(schedule=AT_ONCE, ends=End.STUCK)
    async with Simulator(pixels=SMALL, batch=settings) as simulator, backend(simulator) as gemini:
        job = await created(gemini, tmp_path, "a fox")
        running = await gemini.get_batch(job.name)
        await gemini.cancel_batch(job.name)
        over = await gemini.get_batch(job.name)
        await gemini.cancel_batch(job.name)

    assert running.state is BatchState.RUNNING
    assert over.state is BatchState.CANCELLED


def test_only_some_states_are_the_end() -> None:
    assert {state for state in BatchState if not state.is_over} == {"pending", "running"}


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")  # the SDK's own
@pytest.mark.parametrize("stack", ["aiohttp", "httpx2"])
async def test_a_callers_own_client_does_batches_too(tmp_path: Path, stack: str) -> None:
    transport = {"transport": httpx2.AsyncHTTPTransport()} if stack == "httpx2" else None
    watch, settings = watched()
    async with Simulator(pixels=SMALL, batch=settings) as simulator:
        client = callers_client(simulator, async_client_args=transport)
        async with Gemini(client=client, timeout_seconds=20) as gemini:
            job = await created(gemini, tmp_path, "a fox", "an owl")
            over = await gemini.get_batch(job.name)
            results = await results_of(gemini, over, tmp_path / "results.jsonl")
            listed = [job.name async for job in gemini.list_batches()]
            await gemini.cancel_batch(job.name)
            await gemini.delete_file(simulator.batches.uploads_left[0])
            await gemini.delete_file("files/gone")
        await client.aio.aclose()
        client.close()

    assert (over.state, over.model, over.display_name) == (BatchState.SUCCEEDED, LITE, "nb-1")
    assert listed == [job.name]
    assert set(results) == {"k0", "k1"}
    assert all(line.reply is not None and line.reply.images for line in results.values())
    assert simulator.batches.uploads_left == ()
    assert watch.asked.count("create") == 1


async def test_a_client_for_vertex_is_told_what_to_do_instead() -> None:
    client = genai.Client(
        vertexai=True,
        project="p",
        location="global",
        credentials=Credentials("a token"),  # type: ignore[no-untyped-call]  # google-auth
    )
    async with Gemini(client=client) as gemini:
        with pytest.raises(ConfigError, match=r"Use Gemini\(api_key=...\)"):
            await gemini.get_batch("batches/b1")


async def test_a_closed_backend_says_so() -> None:
    with pytest.raises(ConfigError, match="not open"):
        await Gemini(KEY).get_batch("batches/b1")


async def test_the_key_is_in_one_header_and_nowhere_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(asked: object) -> bytes:
        target, base = str(getattr(asked, "target", "")), server.base_url
        if target.startswith("/upload/v1beta/files?upload_id"):
            return http('{"file": {"name": "files/f1"}}', "200 OK", "X-Goog-Upload-Status: final")
        if target.startswith("/upload/"):
            url = f"X-Goog-Upload-URL: {base}/upload/v1beta/files?upload_id=u1"
            return http("{}", "200 OK", url)
        return http(json.dumps({"name": "batches/b1", "metadata": {"state": f"odd {KEY}"}}))

    caplog.set_level(logging.DEBUG)
    async with serving(answer) as server, server.gemini() as gemini:
        file = await uploaded(gemini, tmp_path, "a fox")
        job = await gemini.create_batch(model=LITE, file=file, display_name="nb-1")
        await gemini.get_batch(job.name)
        await gemini.download_results("files/f2", tmp_path / "results.jsonl")

    for asked in server.asked:
        where = [name for name, value in asked.headers.items() if KEY in value]
        is_second_leg = "upload_id" in asked.target
        assert where == ([] if is_second_leg else ["x-goog-api-key"])
        assert KEY not in asked.target
        assert KEY.encode() not in asked.body
        assert asked.target.startswith(("/v1beta/", "/upload/v1beta/"))
    assert len(server.asked) == 5
    assert KEY not in caplog.text
    assert KEY not in repr(job)
    assert not any(KEY.encode() in content for content in files_in(tmp_path).values())
