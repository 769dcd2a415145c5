"""The requests about batch jobs: reads what they ask and writes what the Batch API would."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

from nanobatch.simulator.exchange import Message, json_message
from nanobatch.simulator.problem import Problem, not_simulated
from nanobatch.simulator.request import as_object, known, object_in, read_json
from nanobatch.simulator.service import too_large

if TYPE_CHECKING:
    from nanobatch.simulator.batch.batches import Batches
    from nanobatch.simulator.batch.job import Job
    from nanobatch.simulator.exchange import Received
    from nanobatch.simulator.service import Service

__all__ = ["answer_batch_request"]

_CREATE = re.compile(r"/(v1|v1beta)/models/([^/:]+):batchGenerateContent")
_BATCH_FIELDS = frozenset({"displayName", "inputConfig", "model", "name", "priority",
                           "webhookConfig"})  # fmt: skip
_MOST_PER_PAGE = 1000


async def answer_batch_request(
    received: Received, batches: Batches, service: Service
) -> Message | None:
    """Return the answer to a request about batch jobs; `None` if it is about something else.

    Raises:
        Problem: It gets an error answer.
    """
    created = _CREATE.fullmatch(received.path)
    parts = received.path.strip("/").split("/")
    is_batch = len(parts) > 1 and parts[0] in {"v1", "v1beta"} and parts[1] == "batches"
    if not is_batch and created is None:
        return None
    service.check_key(received)
    if received.size_bytes > len(received.body):
        raise too_large()
    if created is not None and received.method == "POST":
        job = await _create(received, batches, service, *created.groups())
        return _json(job.wire(output=None))
    match received.method, parts[2:]:
        case "GET", []:
            return _list(received, batches)
        case "GET", [name] if ":" not in name:
            return _json(await batches.poll(f"batches/{name}"))
        case "POST", [name] if name.endswith(":cancel"):
            await batches.cancel(f"batches/{name.removesuffix(':cancel')}")
            return _json({})
        case "DELETE", [name]:
            await batches.delete(f"batches/{name}")
            return _json({})
        case _:
            raise not_simulated(received.method, received.path)


async def _create(
    received: Received, batches: Batches, service: Service, version: str, model: str
) -> Job:
    drawer = service.find_model(model, version=version, method="batchGenerateContent")
    body = known(read_json(received.body), frozenset({"batch"}), at="")
    batch = known(object_in(body, "batch"), _BATCH_FIELDS, at="batch")
    source = known(
        object_in(batch, "inputConfig"),
        frozenset({"fileName", "requests"}),
        at="batch.input_config",
    )
    display_name = str(batch.get("displayName") or "")
    if source.get("fileName"):
        return await batches.create(
            drawer,
            display_name=display_name,
            version=version,
            file_name=str(source["fileName"]),
        )
    requests = (as_object(source.get("requests")) or {}).get("requests")
    if not isinstance(requests, list):
        raise Problem(400, "Invalid value at 'batch.input_config': no file and no requests.")
    return await batches.create(
        drawer,
        display_name=display_name,
        version=version,
        requests=cast("list[object]", requests),
    )


def _list(received: Received, batches: Batches) -> Message:
    token = received.query.get("pageToken", "0")
    size = received.query.get("pageSize", "50")
    if not (token.isdecimal() and size.isdecimal()):
        raise Problem(400, "Invalid value at 'page_size' or 'page_token'.")
    first, count = int(token), min(max(1, int(size)), _MOST_PER_PAGE)
    operations, is_more = batches.list(first=first, count=count)
    page: dict[str, Any] = {"operations": operations} if operations else {}
    if is_more:
        page["nextPageToken"] = str(first + count)
    return _json(page)


def _json(value: dict[str, Any]) -> Message:
    return json_message(json.dumps(value).encode())
