"""What the provider says of a job is read with patience, and believed only as far as it goes."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobatch.backend import BatchState
from nanobatch.backend.batch.operation import read_job
from nanobatch.errors import TransientError
from tests.backend.batching import Asked, operation, raised_by, serving
from tests.backend.wire import LITE, http

if TYPE_CHECKING:
    from nanobatch.backend import BatchJob

pytestmark = pytest.mark.anyio


async def read(said: object) -> BatchJob:
    async with serving(lambda _: http(json.dumps(said))) as server, server.gemini() as gemini:
        return await gemini.get_batch("batches/b1")


async def test_everything_an_operation_says_is_kept() -> None:
    job = await read(
        {
            "name": "batches/b1",
            "metadata": {
                "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.Batch",
                "model": f"models/{LITE}",
                "displayName": "nb-1",
                "createTime": "2026-11-27T10:11:12.123456789Z",
                "state": "BATCH_STATE_SUCCEEDED",
                "output": {"responsesFile": "files/batch-b1"},
                "batchStats": {
                    "requestCount": "1000",
                    "successfulRequestCount": "990",
                    "failedRequestCount": 10,
                },
                "a field of next year": [1, 2, 3],
            },
            "done": True,
        }
    )

    assert (job.name, job.display_name, job.model) == ("batches/b1", "nb-1", LITE)
    assert job.created_at == datetime(2026, 11, 27, 10, 11, 12, 123456, tzinfo=UTC)
    assert (job.state, job.output_file) == (BatchState.SUCCEEDED, "files/batch-b1")
    assert (job.requests, job.succeeded, job.failed) == (1000, 990, 10)
    assert (job.error_code, job.error_message) == (None, "")


@pytest.mark.parametrize("state", list(BatchState))
@pytest.mark.parametrize("prefix", ["BATCH_STATE_", "JOB_STATE_", ""])
async def test_every_state_is_known_by_all_its_names(state: BatchState, prefix: str) -> None:
    assert (await read(operation(state=prefix + state.name))).state is state


async def test_a_failed_job_says_why_and_how_much() -> None:
    error = {"code": 13, "message": "Internal\nerror \u001b[31m encountered."}

    job = await read({**operation(state="BATCH_STATE_FAILED"), "done": True, "error": error})

    assert (job.state, job.error_code) == (BatchState.FAILED, 13)
    assert job.error_message == "Internal error [31m encountered."
    assert (job.requests, job.succeeded, job.failed) == (None, None, None)


async def test_an_unknown_state_is_running_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    said = json.dumps(operation(state="BATCH_STATE_ON_A_COFFEE_BREAK"))
    async with serving(lambda _: http(said)) as server, server.gemini() as gemini:
        states = [(await gemini.get_batch("batches/b1")).state for _ in range(3)]

    assert states == [BatchState.RUNNING] * 3
    said_once = "Batch job batches/b1 is in a state 'BATCH_STATE_ON_A_COFFEE_BREAK'"
    said_once += " that is not known: taken as running"
    assert [r.getMessage() for r in caplog.records if r.name == "nanobatch"] == [said_once]


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({"done": True, "response": {"responsesFile": "files/f1"}}, BatchState.SUCCEEDED),
        ({"done": True, "error": {"code": 4, "message": "too late"}}, BatchState.FAILED),
        ({"done": True}, BatchState.RUNNING),
        ({"done": "yes", "response": {"responsesFile": "files/f1"}}, BatchState.RUNNING),
        ({"done": False, "error": {"code": 4}}, BatchState.RUNNING),
    ],
)
async def test_without_a_state_only_what_is_done_is_over(
    said: dict[str, Any], state: BatchState
) -> None:
    assert (await read({"name": "batches/b1", **said})).state is state


@pytest.mark.parametrize(
    "output",
    [
        {"responsesFile": "files/../secret"},
        {"responsesFile": "https://example.org/files/f1"},
        {"responsesFile": "files/f1?alt=x"},
        {"responsesFile": ["files/f1"]},
        {"inlinedResponses": {"inlinedResponses": []}},
        "files/f1",
        None,
    ],
)
async def test_a_results_file_that_is_none_is_not_taken(output: object) -> None:
    assert (await read(operation(output=output))).output_file is None


async def test_the_results_file_is_found_where_either_of_two_places_names_it() -> None:
    said = {**operation(output={}), "response": {"responsesFile": "files/f1"}}

    assert (await read(said)).output_file == "files/f1"


@pytest.mark.parametrize(
    "metadata",
    [
        {"createTime": "yesterday"},
        {"createTime": 7},
        {"createTime": "2026-11-27T10:11:12"},
        {"createTime": "0001-01-01T00:00:00+23:59"},
        {"batchStats": {"requestCount": "many", "failedRequestCount": -1}},
        {"batchStats": {"requestCount": True, "successfulRequestCount": "9" * 5000}},
        {"batchStats": [1], "displayName": 7, "model": {}},
    ],
)
async def test_a_field_that_is_odd_costs_only_that_field(metadata: dict[str, Any]) -> None:
    job = await read(operation(state="BATCH_STATE_PENDING", **metadata))

    assert job.state is BatchState.PENDING
    assert (job.created_at, job.requests, job.succeeded, job.failed) == (None,) * 4
    assert (job.display_name, job.model) == ("", "")


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "7", "{}", "<html>", '{"name": "batches/b1"', '{"name": "batches/b2"}',
     '{"name": "batches/b1/x"}', '{"name": ["batches/b1"]}', "[" * 100_000],
)  # fmt: skip
async def test_what_is_no_such_job_is_unreadable_and_free(text: str) -> None:
    async with serving(lambda _: http(text)) as server, server.gemini() as gemini:
        error = await raised_by(gemini.get_batch("batches/b1"))

    assert isinstance(error, TransientError)
    assert (error.kind, error.is_unknown_money) == ("unreadable", False)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    ["state", "output", "batchStats", "createTime", "displayName", "model", "error", "name"]
)


@given(
    top=st.dictionaries(st.sampled_from(["error", "done", "response", "name"]), json_values),
    metadata=st.dictionaries(fields, json_values),
)
def test_no_operation_raises(top: dict[str, Any], metadata: dict[str, Any]) -> None:
    job = read_job({"name": "batches/b1", **top, "metadata": metadata})

    assert job is None or job.name.startswith("batches/")


async def test_a_list_leaves_out_what_is_no_batch_job() -> None:
    listed = [operation("tunedModels/x"), 7, None, operation("batches/b2"), {"metadata": 1}]
    said = json.dumps({"operations": listed})
    async with serving(lambda _: http(said)) as server, server.gemini() as gemini:
        names = [job.name async for job in gemini.list_batches()]

    assert names == ["batches/b2"]


@pytest.mark.parametrize("text", ["", "<html>", "[]", "null", '{"operations": 7}'])
async def test_what_is_no_list_is_not_an_empty_one(text: str) -> None:
    async with serving(lambda _: http(text)) as server, server.gemini() as gemini:
        with pytest.raises(TransientError, match="without a readable answer") as caught:
            _ = [job async for job in gemini.list_batches()]

    assert not caught.value.is_unknown_money


async def test_an_empty_list_is_one() -> None:
    async with serving(lambda _: http("{}")) as server, server.gemini() as gemini:
        assert [job async for job in gemini.list_batches()] == []


async def test_a_list_that_turns_in_circles_ends() -> None:
    def answer(asked: Asked) -> bytes:
        following = "b" if "pageToken=a" in asked.target else "a"
        return http(json.dumps({"operations": [operation()], "nextPageToken": following}))

    async with serving(answer) as server, server.gemini() as gemini:
        with pytest.raises(TransientError, match="a list without an end"):
            _ = [job async for job in gemini.list_batches()]

    assert len(server.asked) == 3
