"""The Files API: resumable upload, metadata, download and deletion, all in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import mimetypes
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from nanobatch.simulator.chance import digest
from nanobatch.simulator.problem import Problem
from nanobatch.simulator.request import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Files", "Uploaded", "file_list"]

_KEPT = timedelta(hours=48)


@dataclass(slots=True, kw_only=True)
class _Upload:
    """An upload that has been started and not finished."""

    name: str
    display_name: str
    mime_type: str
    content: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """One stored file."""

    name: str
    """`files/...`."""

    display_name: str
    """As the client called it; may be empty."""

    mime_type: str
    """As the client declared it."""

    content: bytes
    """The bytes."""

    created: datetime
    """When it was complete, UTC."""

    def wire(self, base_url: str) -> dict[str, Any]:
        """Return the File resource."""
        created, expires = (
            at.strftime("%Y-%m-%dT%H:%M:%S.%fZ") for at in (self.created, self.created + _KEPT)
        )
        resource: dict[str, Any] = {
            "name": self.name,
            "mimeType": self.mime_type,
            "sizeBytes": str(len(self.content)),
            "createTime": created,
            "updateTime": created,
            "expirationTime": expires,
            "sha256Hash": base64.b64encode(hashlib.sha256(self.content).digest()).decode(),
            "uri": f"{base_url}/v1beta/{self.name}",
            "state": "ACTIVE",
            "source": "UPLOADED",
        }
        if self.display_name:
            resource["displayName"] = self.display_name
        return resource


class Files:
    """The stored files of one simulator."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._started = 0
        self._uploads: dict[str, _Upload] = {}
        self._files: dict[str, Uploaded] = {}

    def __iter__(self) -> Iterator[Uploaded]:
        """Iterate over the stored files, oldest first."""
        return iter(tuple(self._files.values()))

    def start(self, headers: Mapping[str, str], body: bytes) -> str:
        """Begin a resumable upload; return its id.

        Raises:
            Problem: The headers are not those of a resumable upload.
        """
        if headers.get("x-goog-upload-protocol", "").lower() != "resumable":
            raise Problem(400, "Only resumable uploads are simulated.")
        given: dict[str, Any] = read_json(body) if body.strip() else {}
        asked: dict[str, Any] = given["file"] if isinstance(given.get("file"), dict) else {}
        display = str(asked.get("displayName") or asked.get("display_name") or "")
        mime_type = headers.get("x-goog-upload-header-content-type") or str(
            asked.get("mimeType") or asked.get("mime_type") or ""
        )
        self._started += 1
        upload_id = digest(self._seed, "upload", self._started)
        wanted = str(asked.get("name") or "").removeprefix("files/")
        name = f"files/{wanted or upload_id[:12]}"
        if name in self._files:
            raise Problem(409, f"{name} already exists.", word="ALREADY_EXISTS")
        guessed = mimetypes.guess_type(display)[0] or "application/octet-stream"
        self._uploads[upload_id] = _Upload(
            name=name, display_name=display, mime_type=mime_type or guessed
        )
        return upload_id

    def receive(
        self, upload_id: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[Uploaded | None, int]:
        """Take the next bytes of an upload; return the file if it is complete, and the size so far.

        Raises:
            Problem: There is no such upload, or the bytes do not continue it.
        """
        upload = self._uploads.get(upload_id)
        if upload is None:
            raise Problem(404, "Upload not found or already finished.")
        commands = {c.strip() for c in headers.get("x-goog-upload-command", "").split(",")}
        if "upload" in commands:
            offset = headers.get("x-goog-upload-offset", "")
            if offset != str(len(upload.content)):
                raise Problem(400, f"Upload offset is {len(upload.content)}, not {offset}.")
            upload.content += body
        if "finalize" not in commands:
            return None, len(upload.content)
        del self._uploads[upload_id]
        file = Uploaded(
            name=upload.name,
            display_name=upload.display_name,
            mime_type=upload.mime_type,
            content=bytes(upload.content),
            created=datetime.now(UTC),
        )
        self._files[file.name] = file
        return file, len(file.content)

    def get(self, name: str) -> Uploaded:
        """Return a file by its name.

        Raises:
            Problem: It is not there; Gemini says 403 to that.
        """
        if name not in self._files:
            raise Problem(
                403,
                "You do not have permission to access the File "
                f"{name.removeprefix('files/')} or it may not exist.",
            )
        return self._files[name]

    def delete(self, name: str) -> None:
        """Delete a file.

        Raises:
            Problem: It is not there.
        """
        self.get(name)
        del self._files[name]

    def read(self, uri: str) -> bytes | None:
        """Return the content of a file by name or URI; `None` if it is not there."""
        file = self._files.get("files/" + uri.rsplit("/", 1)[-1])
        return file.content if file else None


def file_list(files: Files, base_url: str) -> bytes:
    """Return the body of a list of files."""
    return json.dumps({"files": [file.wire(base_url) for file in files]}).encode()
