"""What goes wrong with batches on request: results, ends, lost answers, limits."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from google.genai import errors, types

from nanobatch.simulator import Simulator, answers
from nanobatch.simulator.batch import End, Lost, Polls, Seconds, Settings
from tests.simulator.batching import (
    at_once,
    create,
    download,
    http,
    jsonl,
    keys,
    numbered,
    read,
    results_of,
    sdk,
    upload,
)
from tests.simulator.wire import LITE, SMALL, body

if TYPE_CHECKING:
    from nanobatch.simulator import Answer, Call
    from nanobatch.simulator.batch import Operation

pytestmark = pytest.mark.anyio

STATE = types.JobState
CREATE = f"/v1beta/models/{LITE}:batchGenerateContent"


def words(_: Call) -> Answer:
    """An answer that takes no time to make: 2 text tokens."""
    return answers.text_only("eight by")


async def test_results_can_be_missing_doubled_and_strange() -> None:
    settings = at_once(missing={"k1", "k2"}, duplicates={"k0"}, strangers=2)
    async with Simulator(batch=settings, answer=words) as simulator, sdk(simulator) as client:
        found = Counter(keys(await results_of(client, numbered(5))))

    known = {key: count for key, count in found.items() if key.startswith("k")}
    assert known == {"k0": 2, "k3": 1, "k4": 1}
    assert sum(found.values()) == 6
    billed = {line.key: line.answered for line in simulator.bill.lines if line.nano_usd}
    assert billed == {"k0": True, "k1": False, "k2": False, "k3": True, "k4": True}
    assert simulator.batches.keys_billed_twice == frozenset()


async def test_a_fraction_of_the_lines_fails_and_costs_nothing() -> None:
    settings = at_once(item_errors=0.3, item_error=(8, "Quota."))
    async with Simulator(batch=settings, answer=words) as simulator, sdk(simulator) as client:
        results = await results_of(client, numbered(200))

    failed = {result["key"] for result in results if "error" in result}
    assert 27 <= len(failed) <= 93  # 60, give or take five standard deviations
    assert all(r["error"] == {"code": 8, "message": "Quota."} for r in results if "error" in r)
    assert {line.key for line in simulator.bill.lines if not line.nano_usd} == failed


async def test_answers_that_are_no_json_spoil_their_own_line() -> None:
    given = {"k0": answers.truncated_json(), "k1": answers.not_json(), "k2": answers.empty_body()}
    settings = at_once(shuffled=False)
    async with (
        Simulator(
            pixels=SMALL, batch=settings, answer=lambda call: given.get(call.key)
        ) as simulator,
        sdk(simulator) as client,
    ):
        job = await client.aio.batches.get(name=await create(client, numbered(4)))
        lines = (await download(client, job)).splitlines()

    for line in lines[:3]:
        with pytest.raises(json.JSONDecodeError):
            read(line)
    assert keys(read(lines[3])) == ["k3"]
    assert simulator.bill.images == 4


@pytest.mark.parametrize(
    ("end", "state"),
    [(End.EXPIRED, STATE.JOB_STATE_EXPIRED), (End.FAILED, STATE.JOB_STATE_FAILED)],
)
async def test_a_job_that_does_not_succeed_has_no_results(end: End, state: STATE) -> None:
    settings = at_once(ends=[str(end)], share_before_end=0.5)
    async with Simulator(batch=settings, answer=words) as simulator, sdk(simulator) as client:
        name = await create(client, numbered(6))
        job = await client.aio.batches.get(name=name)
        async with http(simulator) as raw:
            operation = (await raw.get(f"/v1beta/{name}")).json()
        second = await client.aio.batches.get(name=await create(client, numbered(1)))

    assert job.state is state
    assert operation["done"] is True
    assert "response" not in operation
    assert "output" not in operation["metadata"]
    assert operation["metadata"]["batchStats"]["pendingRequestCount"] == "3"
    assert ("error" in operation) is (end is End.FAILED)
    assert sum(line.nano_usd > 0 for line in simulator.bill.lines if line.batch == name) == 3
    assert second.state is STATE.JOB_STATE_SUCCEEDED


async def test_a_stuck_job_runs_until_it_is_cancelled() -> None:
    settings = at_once(ends=End.STUCK)
    async with Simulator(batch=settings) as simulator, sdk(simulator) as client:
        name = await create(client, numbered(2))
        states = {(await client.aio.batches.get(name=name)).state for _ in range(20)}
        await simulator.batches.finish()
        still = (await client.aio.batches.get(name=name)).state
        await client.aio.batches.cancel(name=name)
        after = (await client.aio.batches.get(name=name)).state

    assert states == {STATE.JOB_STATE_RUNNING}
    assert still is STATE.JOB_STATE_RUNNING
    assert after is STATE.JOB_STATE_CANCELLED
    assert simulator.bill.nano_usd == 0


async def test_a_lost_create_leaves_a_job_that_works_and_costs() -> None:
    async with (
        Simulator(batch=at_once(lost_creates=1), answer=words) as simulator,
        sdk(simulator) as client,
    ):
        with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
            await create(client, numbered(2), name="unique")
        listed = [job.display_name async for job in await client.aio.batches.list()]
        assert simulator.bill.requests == 0
        await simulator.batches.finish()

    assert listed == ["unique"]
    assert sum(line.nano_usd > 0 for line in simulator.bill.lines) == 2
    assert simulator.batches.jobs[0].state == "SUCCEEDED"


async def test_creating_again_is_a_second_job_and_a_second_bill() -> None:
    async with Simulator(batch=at_once(), answer=words) as simulator, sdk(simulator) as client:
        file = await upload(client, numbered(2))
        same = types.CreateBatchJobConfig(display_name="same")
        await client.aio.batches.create(model=LITE, src=file, config=same)
        job = await client.aio.batches.create(model=LITE, src=file, config=same)
        submitted = simulator.batches.keys_submitted_twice
        executed_before = simulator.batches.keys_executed_twice
        await client.aio.batches.get(name=job.name or "")
        assert simulator.batches.keys_executed_twice == frozenset()
        await simulator.batches.finish()

    assert [job.display_name for job in simulator.batches.jobs] == ["same", "same"]
    assert submitted == {"k0", "k1"}
    assert executed_before == frozenset()
    assert simulator.batches.keys_executed_twice == {"k0", "k1"}
    assert simulator.batches.keys_billed_twice == {"k0", "k1"}


async def test_a_key_that_failed_first_is_executed_twice_and_billed_once() -> None:
    calls: list[Call] = []

    def first_fails(call: Call) -> Answer:
        calls.append(call)
        return answers.internal() if len(calls) == 1 else words(call)

    async with (
        Simulator(batch=at_once(), answer=first_fails) as simulator,
        sdk(simulator) as client,
    ):
        for _ in range(2):
            await results_of(client, jsonl(("a", "a fox")))

    assert simulator.batches.keys_executed_twice == {"a"}
    assert simulator.batches.keys_billed_twice == frozenset()
    assert [call.batch for call in calls] == [job.name for job in simulator.batches.jobs]


async def test_a_lost_upload_leaves_a_file_behind() -> None:
    async with Simulator(batch=at_once(lost_uploads=1)) as simulator, sdk(simulator) as client:
        with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
            await upload(client, numbered(1))
        await upload(client, numbered(1))

    assert len(simulator.batches.uploads_left) == 2


async def test_a_download_is_busy_then_cut_then_whole() -> None:
    settings = at_once(busy_downloads=2, cut_downloads=1)
    async with Simulator(pixels=SMALL, batch=settings) as simulator, sdk(simulator) as client:
        job = await client.aio.batches.get(name=await create(client, numbered(3)))
        with pytest.raises(errors.ServerError, match="503"):
            await download(client, job)
        with pytest.raises(errors.ServerError, match="503"):
            await download(client, job)
        with pytest.raises(httpx2.RemoteProtocolError):
            await download(client, job)
        whole = await download(client, job)

    assert sorted(keys(read(whole))) == ["k0", "k1", "k2"]


async def test_a_download_may_not_say_how_long_it_is() -> None:
    settings = at_once(chunked_downloads=True)
    async with Simulator(pixels=SMALL, batch=settings) as simulator, sdk(simulator) as client:
        job = await client.aio.batches.get(name=await create(client, numbered(3)))
        assert job.dest is not None
        async with http(simulator) as raw:
            answer = await raw.get(f"/v1beta/{job.dest.file_name}:download?alt=media")

    assert "content-length" not in answer.headers
    assert len(read(answer.content)) == 3


async def test_inline_results_that_are_too_large_are_billed_and_never_seen() -> None:
    settings = at_once(max_inline_result_bytes=1000)
    request = {"request": body(), "metadata": {"key": "a"}}
    async with Simulator(pixels=SMALL, batch=settings) as simulator, http(simulator) as raw:
        inline = {"requests": {"requests": [request]}}
        created = await raw.post(CREATE, json={"batch": {"inputConfig": inline}})
        name = created.json()["name"]
        statuses = [(await raw.get(f"/v1beta/{name}")).status_code for _ in range(3)]
        listed = (await raw.get("/v1beta/batches")).json()["operations"]

    assert statuses == [503, 504, 504]
    assert listed[0]["metadata"]["state"] == "BATCH_STATE_SUCCEEDED"
    assert simulator.bill.images == 1
    assert simulator.bill.batch_usd > 0


async def test_inline_results_may_lack_their_metadata() -> None:
    source = [types.InlinedRequest(contents="a fox", metadata={"key": "a"})]
    settings = at_once(drops_metadata=True)
    async with Simulator(batch=settings, answer=words) as simulator, sdk(simulator) as client:
        created = await client.aio.batches.create(model=LITE, src=source)
        job = await client.aio.batches.get(name=created.name or "")

    assert job.dest is not None
    assert job.dest.inlined_responses is not None
    assert job.dest.inlined_responses[0].metadata is None


async def test_a_new_job_is_not_in_the_list_at_once() -> None:
    async with Simulator(batch=at_once(list_lag=2)) as simulator, sdk(simulator) as client:
        name = await create(client, numbered(1))
        seen = [[job.name async for job in await client.aio.batches.list()] for _ in range(3)]
        found = await client.aio.batches.get(name=name)

    assert seen == [[], [], [name]]
    assert found.name == name


async def ask(raw: httpx2.AsyncClient, name: str, *, job: str, file: str) -> httpx2.Response:
    """Send the request that the simulator calls by this name."""
    start = {"x-goog-upload-protocol": "resumable", "x-goog-upload-command": "start"}
    match name:
        case "upload_start":
            return await raw.post("/upload/v1beta/files", json={}, headers=start)
        case "upload_part" | "upload":
            url = (await raw.post("/upload/v1beta/files", json={}, headers=start)).headers
            command = "upload" if name == "upload_part" else "upload, finalize"
            return await raw.post(
                url["x-goog-upload-url"],
                content=b"x",
                headers={"x-goog-upload-command": command, "x-goog-upload-offset": "0"},
            )
        case "create":
            batch = {"batch": {"inputConfig": {"fileName": file}}}
            return await raw.post(CREATE, json=batch)
        case "list" | "list_files":
            return await raw.get("/v1beta/batches" if name == "list" else "/v1beta/files")
        case "get" | "get_file":
            return await raw.get(f"/v1beta/{job if name == 'get' else file}")
        case "delete" | "delete_file":
            return await raw.delete(f"/v1beta/{job if name == 'delete' else file}")
        case "cancel":
            return await raw.post(f"/v1beta/{job}:cancel")
        case _:
            return await raw.get(f"/v1beta/{file}:download?alt=media")


OPERATIONS = (
    "upload_start", "upload_part", "upload", "create", "list", "list_files", "get", "get_file",
    "delete", "delete_file", "cancel", "download",
)  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
async def test_every_operation_can_be_refused_and_can_lose_its_answer(name: str) -> None:
    asked: list[Operation] = []
    is_on = False

    def fault(operation: Operation) -> Answer | Lost | None:
        if not is_on or operation.name != name:
            return None
        asked.append(operation)
        given = (answers.rate_limited(3), answers.overloaded_html(), Lost(), Lost(0.5))
        return given[len(asked) - 1] if len(asked) <= len(given) else None

    settings = Settings(schedule=Polls(pending=9, running=9), fault=fault)
    async with (
        Simulator(batch=settings) as simulator,
        sdk(simulator) as client,
        http(simulator) as raw,
    ):
        job = await create(client, numbered(1))
        file = simulator.batches.uploads_left[0]
        is_on = True
        refused = [await ask(raw, name, job=job, file=file) for _ in range(2)]
        before = (len(simulator.batches.jobs), len(simulator.batches.uploads_left))
        state_before = simulator.batches.jobs[0].state
        with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
            await ask(raw, name, job=job, file=file)
        after = (len(simulator.batches.jobs), len(simulator.batches.uploads_left))
        state_after = simulator.batches.jobs[0].state

    assert [answer.status_code for answer in refused] == [429, 503]
    assert [operation.nth for operation in asked] == (
        [1, 2, 3] if name in {"upload_start", "upload", "create"} else [0, 1, 2]
    )
    assert (before, state_before) == ((1, 1), "PENDING")
    expected = {"create": (2, 1), "upload": (1, 2), "delete_file": (1, 0)}
    assert after == expected.get(name, (1, 1))
    assert state_after == ("CANCELLED" if name in {"cancel", "delete"} else "PENDING")


async def test_files_expire() -> None:
    async with Simulator(batch=at_once(), answer=words) as simulator, sdk(simulator) as client:
        job = await client.aio.batches.get(name=await create(client, numbered(1)))
        file = await upload(client, numbered(1))
        simulator.batches.expire_files()
        with pytest.raises(errors.ClientError) as no_results:
            await download(client, job)
        with pytest.raises(errors.ClientError) as no_input:
            await client.aio.batches.create(model=LITE, src=file)

    assert no_results.value.code == no_input.value.code == 403
    assert len(simulator.batches.jobs) == 1


async def test_one_job_more_than_may_run_at_once_is_a_429() -> None:
    settings = Settings(schedule=Polls(pending=9), max_jobs=2)
    async with Simulator(batch=settings) as simulator, sdk(simulator) as client:
        names = [await create(client, numbered(1)) for _ in range(2)]
        with pytest.raises(errors.ClientError) as full:
            await create(client, numbered(1))
        await client.aio.batches.cancel(name=names[0])
        await create(client, numbered(1))

    assert full.value.code == 429
    assert len(simulator.batches.jobs) == 3


async def test_a_file_that_is_too_long_is_refused_before_and_during_the_upload() -> None:
    settings = at_once(max_file_bytes=100)
    async with (
        Simulator(batch=settings) as simulator,
        sdk(simulator) as client,
        http(simulator) as raw,
    ):
        with pytest.raises(errors.ClientError) as announced:
            await upload(client, b"x" * 101)
        started = await raw.post(
            "/upload/v1beta/files",
            json={},
            headers={"x-goog-upload-protocol": "resumable", "x-goog-upload-command": "start"},
        )
        during = await raw.post(
            started.headers["x-goog-upload-url"],
            content=b"x" * 101,
            headers={"x-goog-upload-command": "upload, finalize", "x-goog-upload-offset": "0"},
        )
        fits = await upload(client, b"x" * 100)

    assert announced.value.code == during.status_code == 400
    assert simulator.batches.uploads_left == (fits,)


async def test_inline_requests_of_more_than_20_mb_are_refused() -> None:
    requests = [{"request": body("x" * 21 * 1024 * 1024)}]
    async with Simulator(batch=at_once()) as simulator, http(simulator) as raw:
        inline = {"requests": {"requests": requests}}
        answer = await raw.post(CREATE, json={"batch": {"inputConfig": inline}})

    assert answer.status_code == 400
    assert simulator.batches.jobs == ()


async def test_a_line_that_is_no_json_spoils_the_job_or_itself() -> None:
    lines = jsonl(("a", "a fox")) + b'{"key": "b", "requ\n' + jsonl(("c", "an owl"))
    operations: dict[str, dict[str, Any]] = {}
    worked_on: dict[str, int] = {}
    results: list[dict[str, Any]] = []
    for spoils in ("job", "item"):
        settings = at_once(bad_line=spoils)
        async with (
            Simulator(batch=settings, answer=words) as simulator,
            sdk(simulator) as client,
            http(simulator) as raw,
        ):
            name = await create(client, lines)
            operations[spoils] = (await raw.get(f"/v1beta/{name}")).json()
            worked_on[spoils] = simulator.bill.requests
            if spoils == "item":
                job = await client.aio.batches.get(name=name)
                results = read(await download(client, job))

    assert operations["job"]["metadata"]["state"] == "BATCH_STATE_FAILED"
    assert operations["job"]["error"] == {"code": 3, "message": "Invalid JSON in line 2."}
    assert operations["item"]["metadata"]["state"] == "BATCH_STATE_SUCCEEDED"
    assert worked_on == {"job": 0, "item": 3}
    assert sorted(result.get("key", "") for result in results) == ["", "a", "c"]
    assert next(r for r in results if "key" not in r)["error"]["code"] == 3


@pytest.mark.parametrize(
    ("batch", "status"),
    [
        ({"inputConfig": {"fileName": "files/none"}}, 403),
        ({"inputConfig": {"requests": {"requests": []}}}, 400),
        ({"inputConfig": {"requests": {"requests": ["x"]}}}, 400),
        ({"inputConfig": {}}, 400),
        ({"inputConfig": {"fileNam": "files/none"}}, 400),
        ({"colour": "red"}, 400),
        (3, 400),
    ],
)
async def test_a_batch_that_makes_no_sense_is_refused(batch: object, status: int) -> None:
    async with Simulator() as simulator, http(simulator) as raw:
        answer = await raw.post(CREATE, json={"batch": batch})

    assert answer.status_code == status
    assert simulator.batches.jobs == ()


async def test_models_and_keys_are_checked_as_for_calls() -> None:
    async with Simulator(api_key="anything") as simulator, http(simulator) as raw:
        unknown = await raw.post(CREATE.replace(LITE, "gemini-9"), json={})
        retired = await raw.post(CREATE.replace(LITE, "gemini-2.5-flash-image"), json={})
        wrong = await raw.get("/v1beta/batches", headers={"x-goog-api-key": "another"})
        nothing = await raw.get("/v1beta/batches/none")
        odd = await raw.put("/v1beta/batches/none")
        page = await raw.get("/v1beta/batches?pageToken=x")
        del raw.headers["x-goog-api-key"]
        missing = await raw.post(CREATE, json={})

    statuses = [a.status_code for a in (unknown, retired, wrong, nothing, odd, page, missing)]
    assert statuses == [404, 404, 400, 404, 404, 400, 403]


async def test_cancelling_may_take_time_or_have_no_effect() -> None:
    seen = {}
    for what, settings in (
        ("slow", Settings(schedule=Polls(pending=0, running=9), cancel_polls=2)),
        ("deaf", Settings(schedule=Polls(pending=0, running=2), heeds_cancel=False)),
    ):
        async with (
            Simulator(batch=settings, answer=words) as simulator,
            sdk(simulator) as client,
        ):
            name = await create(client, numbered(4))
            await client.aio.batches.cancel(name=name)
            seen[what] = [(await client.aio.batches.get(name=name)).state for _ in range(3)]

    running = STATE.JOB_STATE_RUNNING
    assert seen["slow"] == [running] * 2 + [STATE.JOB_STATE_CANCELLED]
    assert seen["deaf"] == [running, running, STATE.JOB_STATE_SUCCEEDED]


async def test_a_cancelled_job_may_have_results_of_what_was_done() -> None:
    settings = Settings(schedule=Polls(pending=0, running=2), cancelled_results=True)
    async with Simulator(batch=settings, answer=words) as simulator, sdk(simulator) as client:
        name = await create(client, numbered(4))
        await client.aio.batches.get(name=name)
        await client.aio.batches.cancel(name=name)
        job = await client.aio.batches.get(name=name)
        results = read(await download(client, job))

    assert job.state is STATE.JOB_STATE_CANCELLED
    assert sorted(keys(results)) == ["k0", "k1"]


@pytest.mark.parametrize(("cancels", "worked_on"), [(True, 2), (False, 4)])
async def test_deleting_a_job_stops_it_or_not(*, cancels: bool, worked_on: int) -> None:
    settings = Settings(schedule=Polls(pending=0, running=2), delete_cancels=cancels)
    async with Simulator(batch=settings, answer=words) as simulator, sdk(simulator) as client:
        name = await create(client, numbered(4))
        await client.aio.batches.get(name=name)
        await client.aio.batches.delete(name=name)
        await simulator.batches.finish()

    assert simulator.bill.requests == worked_on
    assert simulator.batches.jobs[0].is_deleted


@pytest.mark.parametrize("schedule", [Polls(pending=0, running=0), Seconds(pending=0, running=0)])
async def test_a_broken_answer_function_is_not_hidden(schedule: Polls | Seconds) -> None:
    def broken(_: Call) -> Answer:
        raise LookupError("my test is wrong")

    async def use() -> None:
        async with (
            Simulator(batch=Settings(schedule=schedule), answer=broken) as simulator,
            http(simulator) as raw,
        ):
            inline = {"requests": {"requests": [{"request": body()}]}}
            created = await raw.post(CREATE, json={"batch": {"inputConfig": inline}})
            with anyio.fail_after(10):
                while not simulator.bill.requests:
                    await raw.get(f"/v1beta/{created.json()['name']}")

    with pytest.raises(LookupError, match="my test is wrong"):
        await use()


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_lines_are_worked_on_in_their_order_on_any_event_loop() -> None:
    settings = at_once()
    contents = []
    async with Simulator(seed=3, accept_rate=0.5, pixels=SMALL, batch=settings) as simulator:
        for _ in range(2):
            async with http(simulator) as raw:
                inline = {
                    "requests": {
                        "requests": [
                            {"request": body("a fox"), "metadata": {"key": f"k{n}"}}
                            for n in range(8)
                        ]
                    }
                }
                created = await raw.post(CREATE, json={"batch": {"inputConfig": inline}})
                await raw.get(f"/v1beta/{created.json()['name']}")
                contents.append([line.key for line in simulator.bill.lines][-8:])

    assert contents == [[f"k{n}" for n in range(8)]] * 2


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"missing": 1.5}, ValueError),
        ({"duplicates": -0.1}, ValueError),
        ({"item_errors": "k1"}, TypeError),
        ({"share_before_end": 2}, ValueError),
        ({"strangers": -1}, ValueError),
        ({"busy_downloads": -1}, ValueError),
        ({"ends": "VANISHED"}, ValueError),
    ],
)
def test_settings_out_of_range_are_refused(
    settings: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=next(iter(settings))):
        Settings(**settings)


def test_schedules_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        Polls(pending=-1)
    with pytest.raises(ValueError, match="0 or more"):
        Seconds(running=float("nan"))
    with pytest.raises(ValueError, match="fraction"):
        Lost(1.0)


async def test_the_limits_are_those_of_the_documentation() -> None:
    start = {"x-goog-upload-protocol": "resumable", "x-goog-upload-command": "start"}
    length = "x-goog-upload-header-content-length"
    inline = {"requests": {"requests": [{"request": body()}]}}
    async with (
        Simulator(batch=Settings(schedule=Polls())) as simulator,
        http(simulator) as raw,
    ):
        sizes = [
            await raw.post("/upload/v1/files", json={}, headers={**start, length: str(size)})
            for size in (2 * 1024**3, 2 * 1024**3 + 1)
        ]
        created = [
            await raw.post(CREATE, json={"batch": {"inputConfig": inline}}) for _ in range(101)
        ]

    assert [answer.status_code for answer in sizes] == [200, 400]
    assert [answer.status_code for answer in created] == [200] * 100 + [429]
