"""The Files API: resumable upload, use in a prompt, download, deletion."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from typing import TYPE_CHECKING

import httpx2
import pytest

from nanobatch.simulator import Call, Simulator
from tests.simulator.batching import at_once, sdk, upload
from tests.simulator.wire import KEY, SMALL, png, send

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def test_a_file_is_uploaded_in_chunks_read_back_and_deleted() -> None:
    content = b'{"key": "k1"}\n' * 100

    async with Simulator(api_key="anything") as simulator, httpx2.AsyncClient() as client:
        start = await client.post(
            f"{simulator.base_url}/upload/v1beta/files",
            json={"file": {"display_name": "jobs", "mime_type": "application/jsonl"}},
            headers={
                **KEY,
                "x-goog-upload-protocol": "resumable",
                "x-goog-upload-command": "start",
                "x-goog-upload-header-content-type": "application/jsonl",
            },
        )
        url = start.headers["x-goog-upload-url"]
        half = await client.post(  # the second leg carries no key
            url,
            content=content[:700],
            headers={"x-goog-upload-command": "upload", "x-goog-upload-offset": "0"},
        )
        wrong = await client.post(
            url,
            content=b"x",
            headers={"x-goog-upload-command": "upload", "x-goog-upload-offset": "3"},
        )
        done = await client.post(
            url,
            content=content[700:],
            headers={"x-goog-upload-command": "upload, finalize", "x-goog-upload-offset": "700"},
        )
        file = done.json()["file"]
        base = f"{simulator.base_url}/v1beta/{file['name']}"
        meta = await client.get(base, headers=KEY)
        download = await client.get(f"{base}:download?alt=media", headers=KEY)
        other_path = f"{simulator.base_url}/download/v1beta/{file['name']}:download?alt=media"
        other = await client.get(other_path, headers=KEY)
        listed = await client.get(f"{simulator.base_url}/v1beta/files", headers=KEY)
        unlocked = await client.get(base)
        deleted = await client.delete(base, headers=KEY)
        gone = await client.get(base, headers=KEY)

    assert half.headers["x-goog-upload-status"] == "active"
    assert wrong.status_code == 400
    assert done.headers["x-goog-upload-status"] == "final"
    assert file["name"].startswith("files/")
    assert file["sizeBytes"] == "1400"
    assert file["mimeType"] == "application/jsonl"
    assert file["state"] == "ACTIVE"
    assert file["sha256Hash"] == base64.b64encode(hashlib.sha256(content).digest()).decode()
    assert meta.json() == file
    assert download.content == other.content == content
    assert listed.json() == {"files": [file]}
    assert unlocked.status_code == 403
    assert deleted.json() == {}
    assert gone.status_code == 403  # Gemini does not say which files exist


async def test_an_uploaded_image_can_be_part_of_a_prompt() -> None:
    calls: list[Call] = []

    async with (
        Simulator(pixels=SMALL, answer=calls.append) as simulator,
        httpx2.AsyncClient() as client,
    ):
        start = await client.post(
            f"{simulator.base_url}/upload/v1beta/files",
            headers={**KEY, "x-goog-upload-protocol": "resumable"},
        )
        done = await client.post(
            start.headers["x-goog-upload-url"],
            content=png(),
            headers={"x-goog-upload-command": "upload, finalize", "x-goog-upload-offset": "0"},
        )
        reference = {"fileUri": done.json()["file"]["uri"], "mimeType": "image/png"}
        asked = {"contents": [{"parts": [{"text": "x"}, {"fileData": reference}]}]}
        found = await send(simulator, asked)
        reference["fileUri"] = "files/elsewhere"
        missing = await send(simulator, asked)

    assert found.status_code == 200
    assert calls[0].input_images == 1
    assert missing.status_code == 403


def names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


async def test_nothing_is_left_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with Simulator(batch=at_once()) as simulator, sdk(simulator) as client:
        before = names_in(tmp_path)
        file = await upload(client, b"{}\n")
        during = names_in(tmp_path)

    assert before == []
    assert len(during) == 1
    assert names_in(tmp_path) == []
    assert simulator.batches.uploads_left == (file,)
