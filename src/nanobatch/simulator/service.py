"""Routes one request to the part of the API it asks for; everything but drawing is free."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from nanobatch.simulator import problem
from nanobatch.simulator.catalogue import ALIASES, MODELS, Drawer
from nanobatch.simulator.exchange import Message, json_message
from nanobatch.simulator.files import file_list
from nanobatch.simulator.problem import Problem
from nanobatch.simulator.request import count_contents

if TYPE_CHECKING:
    from datetime import date

    from nanobatch.simulator.exchange import Received
    from nanobatch.simulator.files import Files

__all__ = ["MAX_REQUEST_BYTES", "Service", "too_large"]

MAX_REQUEST_BYTES = 20 * 1024 * 1024
"""Longest request body; documented for inline data, for `generateContent` unverified."""

_MODEL = re.compile(r"/(v1|v1beta)/models/([^/:]+):(\w+)")
_METHODS = ("generateContent", "countTokens", "batchGenerateContent")


class Service:
    """The free part of the API: models, token counts, files, and who may use any of it."""

    def __init__(self, *, files: Files, api_key: str | None, today: date) -> None:
        self.files = files
        self.base_url = ""
        """Where it listens; known once it does."""
        self._api_key = api_key
        self._today = today

    def check_key(self, received: Received) -> None:
        """Let a request pass or not.

        Raises:
            Problem: It has no key, or another one.
        """
        key = received.headers.get("x-goog-api-key") or received.query.get("key", "")
        if not key:
            raise problem.missing_key()
        if self._api_key is not None and key != self._api_key:
            raise problem.invalid_key()

    def find_model(self, name: str, *, version: str, method: str) -> Drawer:
        """Return a model by the name in the URL.

        Raises:
            Problem: It never was, or is retired.
        """
        drawer = MODELS.get(ALIASES.get(name, name))
        if drawer is None:
            raise problem.model_not_found(name, version=version, method=method)
        if self._is_retired(drawer):
            raise problem.model_withdrawn(name)
        return drawer

    def respond(self, received: Received) -> Message:
        """Return the answer to any request that is not a `generateContent`.

        Raises:
            Problem: It gets an error answer.
        """
        if received.path.startswith("/upload/") and "upload_id" in received.query:
            return self._receive(received)  # this leg carries no key: its URL is the secret
        self.check_key(received)
        if received.size_bytes > len(received.body):
            raise too_large()
        match received.method, received.path.strip("/").split("/"):
            case "POST", ["upload", "v1" | "v1beta", "files"]:
                return self._start_upload(received)
            case "GET", ["v1" | "v1beta", "models"]:
                return self._list_models(received.query)
            case "GET", ["v1" | "v1beta" as version, "models", name] if ":" not in name:
                drawer = self.find_model(name, version=version, method="generateContent")
                return _json(_model(drawer))
            case "POST", ["v1" | "v1beta", "models", _]:
                return self._call_model(received)
            case _:
                return self._serve_file(received)

    def _serve_file(self, received: Received) -> Message:
        match received.method, received.path.strip("/").split("/"):
            case "GET", ["v1" | "v1beta", "files"]:
                return json_message(file_list(self.files, self.base_url))
            case "GET", [*_, "v1" | "v1beta", "files", name] if name.endswith(":download"):
                return self._download(received, name.removesuffix(":download"))
            case "GET", ["v1" | "v1beta", "files", name]:
                return _json(self.files.get(f"files/{name}").wire(self.base_url))
            case "DELETE", ["v1" | "v1beta", "files", name]:
                self.files.delete(f"files/{name}")
                return _json({})
            case _:
                raise problem.not_simulated(received.method, received.path)

    def _call_model(self, received: Received) -> Message:
        match = _MODEL.fullmatch(received.path)
        if match is None:
            raise problem.not_simulated(received.method, received.path)
        version, name, method = match.groups()
        drawer = self.find_model(name, version=version, method=method)
        if method != "countTokens":
            raise problem.model_not_found(drawer.id, version=version, method=method)
        tokens = count_contents(received.body, read_file=self.files.read)
        return _json({"totalTokens": tokens.total, "promptTokensDetails": tokens.details()})

    def _list_models(self, query: dict[str, str]) -> Message:
        token, size = query.get("pageToken", "0"), query.get("pageSize", "50")
        if not (token.isdecimal() and size.isdecimal()):
            raise Problem(400, "Invalid value at 'page_size' or 'page_token'.")
        first, count = int(token), max(1, int(size))
        served = [drawer for drawer in MODELS.values() if not self._is_retired(drawer)]
        page: dict[str, Any] = {"models": [_model(d) for d in served[first : first + count]]}
        if first + count < len(served):
            page["nextPageToken"] = str(first + count)
        return _json(page)

    def _start_upload(self, received: Received) -> Message:
        upload_id = self.files.start(received.headers, received.body)
        url = f"{self.base_url}{received.path}?upload_id={upload_id}&upload_protocol=resumable"
        headers = (
            ("x-goog-upload-url", url),
            ("x-goog-upload-status", "active"),
            ("x-goog-upload-chunk-granularity", "262144"),
        )
        return Message(headers=headers)

    def _receive(self, received: Received) -> Message:
        upload_id = received.query["upload_id"]
        file, size_bytes = self.files.receive(upload_id, received.headers, received.body)
        status = ("x-goog-upload-status", "active" if file is None else "final")
        headers = (status, ("x-goog-upload-size-received", str(size_bytes)))
        body = b"" if file is None else json.dumps({"file": file.wire(self.base_url)}).encode()
        return Message(headers=(*headers, ("content-type", "application/json")), body=body)

    def _download(self, received: Received, name: str) -> Message:
        file = self.files.get(f"files/{name}")
        if received.query.get("alt") != "media":
            return _json(file.wire(self.base_url))
        return Message(headers=(("content-type", file.mime_type),), path=file.path)

    def _is_retired(self, drawer: Drawer) -> bool:
        return drawer.retires is not None and drawer.retires <= self._today


def too_large() -> Problem:
    """A body beyond the limit."""
    return Problem(400, f"Request payload size exceeds the limit: {MAX_REQUEST_BYTES} bytes.")


def _model(drawer: Drawer) -> dict[str, Any]:
    return {
        "name": f"models/{drawer.id}",
        "version": "001",
        "displayName": drawer.name,
        "description": f"{drawer.name}, as simulated by nanobatch",
        "inputTokenLimit": drawer.max_prompt_tokens,
        "outputTokenLimit": drawer.max_output_tokens,
        "supportedGenerationMethods": list(_METHODS),
        "thinking": bool(drawer.thoughts),
    }


def _json(value: dict[str, Any]) -> Message:
    return json_message(json.dumps(value).encode())
