"""The Batch API by way of the real SDK: from the upload of the lines to the bill at half price."""

from __future__ import annotations

import base64
import json
import tracemalloc
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

import anyio
import pytest
from google.genai import errors, types

from nanobatch.simulator import Simulator, answers
from nanobatch.simulator.batch import Polls, Seconds, Settings
from tests.simulator.batching import (
    at_once,
    create,
    download,
    http,
    jsonl,
    keys,
    numbered,
    read,
    requests,
    results_of,
    sdk,
    upload,
)
from tests.simulator.wire import BANANA, LITE, PRO, SMALL, body, opened, send

if TYPE_CHECKING:
    from nanobatch.simulator import Answer, Call

pytestmark = pytest.mark.anyio

STATE = types.JobState


@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_a_batch_goes_from_lines_to_images(version: str) -> None:
    settings = Settings(schedule=Polls(pending=1, running=2))
    async with (
        Simulator(pixels=SMALL, batch=settings, api_key="anything") as simulator,
        sdk(simulator, version=version) as client,
    ):
        name = await create(client, jsonl(("a", "a fox"), ("b", "an owl")))
        states = [(await client.aio.batches.get(name=name)).state for _ in range(3)]
        job = await client.aio.batches.get(name=name)
        results = read(await download(client, job))

    assert states == [STATE.JOB_STATE_PENDING, STATE.JOB_STATE_RUNNING, STATE.JOB_STATE_RUNNING]
    assert job.state is STATE.JOB_STATE_SUCCEEDED
    assert job.display_name == "a batch"
    assert job.model == f"models/{LITE}"
    assert job.end_time is not None
    assert sorted(keys(results)) == ["a", "b"]
    part = results[0]["response"]["candidates"][0]["content"]["parts"][0]
    assert opened(base64.b64decode(part["inlineData"]["data"])).size == (256, 256)


async def test_a_batch_costs_half_of_the_same_calls() -> None:
    prompts = ["a fox", "an owl", "a fox"]
    lines = jsonl(*((f"k{n}", prompt) for n, prompt in enumerate(prompts)))
    async with Simulator(pixels=SMALL, seed=5) as alone:
        for prompt in prompts:
            await send(alone, body(prompt))
    async with (
        Simulator(pixels=SMALL, seed=5, batch=at_once()) as simulator,
        sdk(simulator) as client,
    ):
        results = await results_of(client, lines)

    by_key = {line.key: line for line in simulator.bill.lines}
    assert simulator.bill.usd * 2 == alone.bill.usd
    assert simulator.bill.batch_usd == simulator.bill.usd == simulator.bill.by_model()[LITE]
    for result in results:
        usage = result["response"]["usageMetadata"]
        prompt_tokens = usage["promptTokenCount"]
        text_tokens = usage["totalTokenCount"] - prompt_tokens - 1120
        line = by_key[result["key"]]
        assert line.nano_usd == prompt_tokens * 125 + 1120 * 15_000 + text_tokens * 750
        assert line.batch == simulator.batches.jobs[0].name
        assert line.answered


async def test_the_bill_keeps_batches_and_calls_apart() -> None:
    async with (
        Simulator(pixels=SMALL, batch=at_once()) as simulator,
        sdk(simulator) as client,
    ):
        await send(simulator, body("a fox"), model=PRO)
        await client.aio.batches.get(name=await create(client, numbered(2), model=BANANA))

    bill = simulator.bill
    assert list(bill.by_model()) == [PRO, BANANA] or list(bill.by_model()) == [BANANA, PRO]
    assert bill.by_model(batch=True) == {BANANA: bill.batch_usd}
    assert bill.by_model(batch=False) == {PRO: bill.interactive_usd}
    assert bill.interactive_usd >= Decimal("0.1344")
    assert Decimal("0.0336") <= bill.batch_usd < Decimal("0.0672")  # two at half of 0.0336 + text
    assert bill.requests == 3


async def test_lines_get_what_calls_get() -> None:
    given = {
        "refused": answers.image_refused(),
        "empty": answers.no_image("eight by"),
        "two": answers.several_images(2),
        "busy": answers.overloaded(),
        "quota": answers.capacity(),
        "cut": answers.reset(),
    }
    lines = jsonl(*((key, f"draw {key}") for key in [*given, "usual"]))
    async with (
        Simulator(
            pixels=SMALL, batch=at_once(), answer=lambda call: given.get(call.key)
        ) as simulator,
        sdk(simulator) as client,
    ):
        results = {result["key"]: result for result in await results_of(client, lines)}

    cost = {line.key: line.nano_usd for line in simulator.bill.lines}
    images = {line.key: line.images for line in simulator.bill.lines}
    refused = results["refused"]["response"]["candidates"][0]
    assert refused["finishReason"] == "IMAGE_SAFETY"
    assert cost["refused"] == 3 * 125  # "draw refused" is 12 bytes
    assert cost["empty"] == 3 * 125 + 2 * 750
    assert len(results["two"]["response"]["candidates"][0]["content"]["parts"]) == 2
    assert images == {
        "refused": 0, "empty": 0, "two": 2, "busy": 0, "quota": 0, "cut": 0, "usual": 1
    }  # fmt: skip
    assert results["busy"]["error"]["code"] == 14
    assert results["quota"]["error"]["code"] == 8
    assert results["cut"]["error"]["code"] == 14
    assert cost["busy"] == cost["quota"] == cost["cut"] == 0


async def test_a_line_that_asks_for_the_impossible_fails_alone() -> None:
    lines = requests(("big", body(imageConfig={"imageSize": "4K"})), ("good", body()))
    lines += b'{"key": "nothing"}\n'
    async with (
        Simulator(pixels=SMALL, batch=at_once()) as simulator,
        sdk(simulator) as client,
        http(simulator) as raw,
    ):
        results = {result["key"]: result for result in await results_of(client, lines)}
        name = simulator.batches.jobs[0].name
        operation = (await raw.get(f"/v1beta/{name}")).json()

    assert results["big"]["error"]["code"] == 3
    assert "Image size 4K is not supported" in results["big"]["error"]["message"]
    assert results["nothing"]["error"]["code"] == 3
    assert "response" in results["good"]
    assert operation["metadata"]["state"] == "BATCH_STATE_SUCCEEDED"
    assert operation["metadata"]["batchStats"] == {
        "requestCount": "3",
        "successfulRequestCount": "1",
        "failedRequestCount": "2",
        "pendingRequestCount": "0",
    }
    assert [line.key for line in simulator.bill.lines if line.nano_usd] == ["good"]


async def test_the_operation_looks_as_on_the_wire() -> None:
    async with Simulator(pixels=SMALL, batch=at_once()) as simulator, sdk(simulator) as client:
        file = await upload(client, numbered(2))
        async with http(simulator) as raw:
            created = await raw.post(
                f"/v1beta/models/{LITE}:batchGenerateContent",
                json={"batch": {"input_config": {"file_name": file}, "display_name": "d"}},
            )
            name = created.json()["name"]
            operation = (await raw.get(f"/v1beta/{name}")).json()

    assert "done" not in created.json()
    assert created.json()["metadata"]["state"] == "BATCH_STATE_PENDING"
    metadata = operation["metadata"]
    kind = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"
    assert operation["done"] is True
    assert metadata["@type"] == kind
    assert metadata["name"] == operation["name"] == name
    assert metadata["displayName"] == "d"
    assert metadata["inputConfig"] == {"fileName": file}
    assert metadata["output"]["responsesFile"].startswith("files/batch-")
    assert operation["response"] == {"@type": f"{kind}Output", **metadata["output"]}
    assert "error" not in operation


async def test_results_come_in_another_order_unless_asked_otherwise() -> None:
    orders = []
    for shuffled in (True, False):
        async with (
            Simulator(pixels=SMALL, batch=at_once(shuffled=shuffled)) as simulator,
            sdk(simulator) as client,
        ):
            orders.append(keys(await results_of(client, numbered(12))))

    assert orders[1] == [f"k{n}" for n in range(12)]
    assert orders[0] != orders[1]
    assert Counter(orders[0]) == Counter(orders[1])


async def test_inline_requests_have_inline_results() -> None:
    source = [
        types.InlinedRequest(contents="a fox", metadata={"key": "a"}),
        types.InlinedRequest(contents="an owl", metadata={"key": "b"}),
    ]
    async with Simulator(pixels=SMALL, batch=at_once()) as simulator, sdk(simulator) as client:
        created = await client.aio.batches.create(model=LITE, src=source)
        job = await client.aio.batches.get(name=created.name or "")

    assert job.dest is not None
    responses = job.dest.inlined_responses or []
    assert sorted((one.metadata or {})["key"] for one in responses) == ["a", "b"]
    assert all(one.response is not None and one.response.parts for one in responses)
    assert simulator.batches.jobs[0].keys == ("a", "b")
    assert simulator.batches.results_left == ()


async def test_jobs_are_listed_page_by_page_newest_first() -> None:
    async with Simulator(pixels=SMALL, batch=at_once()) as simulator, sdk(simulator) as client:
        for n in range(5):
            await create(client, numbered(1), name=f"batch {n}")
        pager = await client.aio.batches.list(config=types.ListBatchJobsConfig(page_size=2))
        names = [job.display_name async for job in pager]
        async with http(simulator) as raw:
            first = (await raw.get("/v1beta/batches?pageSize=2")).json()
            last = (await raw.get("/v1beta/batches?pageSize=2&pageToken=4")).json()

    assert names == ["batch 4", "batch 3", "batch 2", "batch 1", "batch 0"]
    assert len(first["operations"]) == 2
    assert first["nextPageToken"]
    assert len(last["operations"]) == 1
    assert "nextPageToken" not in last


async def test_cancelling_bills_what_is_done() -> None:
    settings = Settings(schedule=Polls(pending=0, running=2))
    async with Simulator(pixels=SMALL, batch=settings) as simulator, sdk(simulator) as client:
        name = await create(client, numbered(8))
        await client.aio.batches.get(name=name)  # the first of two that show it running
        await client.aio.batches.cancel(name=name)
        job = await client.aio.batches.get(name=name)
        await simulator.batches.finish()

    assert job.state is STATE.JOB_STATE_CANCELLED
    assert job.dest is None or job.dest.file_name is None
    assert sum(line.images for line in simulator.bill.lines) == 4


async def test_what_is_deleted_is_gone() -> None:
    async with Simulator(pixels=SMALL, batch=at_once()) as simulator, sdk(simulator) as client:
        name = await create(client, numbered(1))
        job = await client.aio.batches.get(name=name)
        await client.aio.batches.delete(name=name)
        with pytest.raises(errors.ClientError) as gone:
            await client.aio.batches.get(name=name)
        listed = [one async for one in await client.aio.batches.list()]
        left = simulator.batches.uploads_left, simulator.batches.results_left
        for file in (*left[0], *left[1]):
            await client.aio.files.delete(name=file)
        with pytest.raises(errors.ClientError) as no_file:
            await download(client, job)

    assert gone.value.code == 404
    assert listed == []
    assert [len(names) for names in left] == [1, 1]
    assert no_file.value.code == 403
    assert simulator.batches.uploads_left == simulator.batches.results_left == ()


async def test_a_job_runs_by_itself_in_real_time() -> None:
    settings = Settings(schedule=Seconds(pending=0.1, running=0.2))
    async with Simulator(pixels=SMALL, batch=settings) as simulator, sdk(simulator) as client:
        name = await create(client, numbered(3))
        with anyio.fail_after(10):
            while simulator.batches.running:  # noqa: ASYNC110 - it has no event to offer
                await anyio.sleep(0.01)
        job = await client.aio.batches.get(name=name)

    assert job.state is STATE.JOB_STATE_SUCCEEDED
    assert simulator.bill.images == 3


async def test_a_clock_of_the_tests_own_moves_jobs() -> None:
    now = 0.0
    settings = Settings(schedule=Seconds(pending=10, running=100, clock=lambda: now))
    async with Simulator(pixels=SMALL, batch=settings) as simulator, sdk(simulator) as client:
        name = await create(client, numbered(4))
        seen = []
        for seconds in (9.0, 10.0, 60.0, 110.0):
            now = seconds
            job = await client.aio.batches.get(name=name)
            seen.append((job.state, simulator.bill.images))

    assert seen == [
        (STATE.JOB_STATE_PENDING, 0),
        (STATE.JOB_STATE_RUNNING, 0),
        (STATE.JOB_STATE_RUNNING, 2),
        (STATE.JOB_STATE_SUCCEEDED, 4),
    ]


async def test_an_input_of_more_than_one_chunk_arrives_whole() -> None:
    padding = "x" * 1_000_000
    lines = b"".join(
        json.dumps({"key": f"k{n}", "note": padding, "request": body(f"fox {n}")}).encode() + b"\n"
        for n in range(9)
    )
    async with Simulator(pixels=SMALL, batch=at_once()) as simulator, sdk(simulator) as client:
        results = await results_of(client, lines)

    assert len(lines) > 8 * 1024 * 1024
    assert sorted(keys(results)) == [f"k{n}" for n in range(9)]


async def test_drafts_are_finished_in_a_batch() -> None:
    async with Simulator(pixels=SMALL, batch=at_once()) as simulator, sdk(simulator) as client:
        drawn = (await results_of(client, jsonl(("draft", "a fox"))))[0]
        draft = drawn["response"]["candidates"][0]["content"]["parts"][0]
        request = {"contents": [{"role": "user", "parts": [{"text": "finish it"}, draft]}]}
        name = await create(client, requests(("finish", request)), model=PRO)
        finished = read(await download(client, await client.aio.batches.get(name=name)))

    part = finished[0]["response"]["candidates"][0]["content"]["parts"][0]
    assert part["inlineData"]["mimeType"] == "image/jpeg"
    assert simulator.bill.lines[1].nano_usd >= 1120 * 60_000


async def test_both_download_addresses_stream_the_same_bytes() -> None:
    async with Simulator(pixels=SMALL, batch=at_once()) as simulator, sdk(simulator) as client:
        job = await client.aio.batches.get(name=await create(client, numbered(3)))
        whole = await download(client, job)
        assert job.dest is not None
        file = job.dest.file_name
        async with http(simulator) as raw:
            other = await raw.get(f"/download/v1beta/{file}:download?alt=media")
            meta = (await raw.get(f"/v1beta/{file}")).json()
            del raw.headers["x-goog-api-key"]
            no_key = await raw.get(f"/v1beta/{file}:download?alt=media")

    assert other.content == whole
    assert other.headers["content-length"] == meta["sizeBytes"] == str(len(whole))
    assert meta["source"] == "GENERATED"
    assert no_key.status_code == 403


async def test_a_long_result_is_never_held_whole() -> None:
    def padded(_: Call) -> Answer:
        text = answers.text_only("eight by")
        return answers.altered(lambda content: content + b" " * 4_000_000, of=text)

    async with Simulator(batch=at_once(), answer=padded) as simulator, http(simulator) as raw:
        async with sdk(simulator) as client:
            name = await create(client, numbered(50))
        tracemalloc.start()
        try:
            operation = (await raw.get(f"/v1beta/{name}")).json()
            file = operation["response"]["responsesFile"]
            size_bytes = 0
            async with raw.stream("GET", f"/v1beta/{file}:download?alt=media") as answer:
                async for chunk in answer.aiter_bytes():
                    size_bytes += len(chunk)
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert size_bytes > 200_000_000
    assert peak_bytes < 60_000_000  # four lines at once, of 4 MB each, and their copies
