"""The Files API: resumable upload, metadata, download and deletion, on disk while it is open."""

from __future__ import annotations

import base64
import hashlib
import json
import mimetypes
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from nanobatch.simulator.chance import digest
from nanobatch.simulator.problem import Problem
from nanobatch.simulator.request import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["MAX_FILE_BYTES", "Files", "Stored", "file_list", "sha256_of"]

MAX_FILE_BYTES = 2 * 1024**3
"""Longest file (https://ai.google.dev/gemini-api/docs/files, as collected on 2026-11-23)."""

_KEPT = timedelta(hours=48)
_CHUNK_BYTES = 1024 * 1024


@dataclass(slots=True, kw_only=True)
class _Upload:
    """An upload that has been started and not finished."""

    name: str
    display_name: str
    mime_type: str
    path: Path
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One stored file."""

    name: str
    """`files/...`."""

    display_name: str
    """As the client called it; may be empty."""

    mime_type: str
    """As the client declared it."""

    path: Path
    """Where the bytes lie."""

    size_bytes: int
    """How many there are."""

    sha256: bytes
    """Digest of the bytes."""

    is_generated: bool = False
    """Whether it is the result of a batch rather than an upload."""

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
            "sizeBytes": str(self.size_bytes),
            "createTime": created,
            "updateTime": created,
            "expirationTime": expires,
            "sha256Hash": base64.b64encode(self.sha256).decode(),
            "uri": f"{base_url}/v1beta/{self.name}",
            "state": "ACTIVE",
            "source": "GENERATED" if self.is_generated else "UPLOADED",
        }
        if self.is_generated:
            resource["downloadUri"] = f"{resource['uri']}:download?alt=media"
        if self.display_name:
            resource["displayName"] = self.display_name
        return resource


class Files:
    """The stored files of one simulator."""

    def __init__(self, seed: int, *, max_bytes: int = MAX_FILE_BYTES) -> None:
        self._seed = seed
        self._max_bytes = max_bytes
        self._started = 0
        self._is_open = False
        self._folder: TemporaryDirectory[str] | None = None
        self._uploads: dict[str, _Upload] = {}
        self._files: dict[str, Stored] = {}

    def __iter__(self) -> Iterator[Stored]:
        """Iterate over the stored files, oldest first."""
        return iter(tuple(self._files.values()))

    def open(self) -> None:
        """Take files from now on; those from before it was closed are forgotten."""
        self._is_open = True
        self._uploads.clear()
        self._files.clear()

    def close(self) -> None:
        """Delete what is on disk; the list stays readable."""
        self._is_open = False
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def place(self, name: str) -> Path:
        """Return where a file of this name may lie; the name is not the user's.

        Raises:
            RuntimeError: The simulator is not open.
        """
        if not self._is_open:
            raise RuntimeError("The simulator is not open: use `async with Simulator() as ...`.")
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="nanobatch-simulator-")
        return Path(self._folder.name, name)

    def start(self, headers: Mapping[str, str], body: bytes) -> str:
        """Begin a resumable upload; return its id.

        Raises:
            Problem: The headers are not those of a resumable upload, or the file is too long.
        """
        if headers.get("x-goog-upload-protocol", "").lower() != "resumable":
            raise Problem(400, "Only resumable uploads are simulated.")
        announced = headers.get("x-goog-upload-header-content-length", "0")
        if not announced.isdecimal():
            raise Problem(400, "Invalid value of X-Goog-Upload-Header-Content-Length.")
        self._check_size(int(announced))
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
            name=name,
            display_name=display,
            mime_type=mime_type or guessed,
            path=self.place(upload_id),
        )
        self._uploads[upload_id].path.touch()
        return upload_id

    def receive(
        self, upload_id: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[Stored | None, int]:
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
            if offset != str(upload.size_bytes):
                raise Problem(400, f"Upload offset is {upload.size_bytes}, not {offset}.")
            self._check_size(upload.size_bytes + len(body))
            with upload.path.open("ab") as file:
                file.write(body)
            upload.size_bytes += len(body)
        if "finalize" not in commands:
            return None, upload.size_bytes
        del self._uploads[upload_id]
        stored = Stored(
            name=upload.name,
            display_name=upload.display_name,
            mime_type=upload.mime_type,
            path=upload.path,
            size_bytes=upload.size_bytes,
            sha256=sha256_of(upload.path),
            created=datetime.now(UTC),
        )
        self._files[stored.name] = stored
        return stored, stored.size_bytes

    def add_result(self, name: str, path: Path, *, display_name: str, sha256: bytes) -> Stored:
        """Take over a file that the simulator has written itself."""
        stored = Stored(
            name=name,
            display_name=display_name,
            mime_type="application/jsonl",
            path=path,
            size_bytes=path.stat().st_size,
            sha256=sha256,
            is_generated=True,
            created=datetime.now(UTC),
        )
        self._files[name] = stored
        return stored

    def get(self, name: str) -> Stored:
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
        self._files.pop(name).path.unlink(missing_ok=True)

    def expire(self) -> None:
        """Delete all files, as two days do."""
        for file in self:
            self.delete(file.name)

    def copy(self, name: str, to: Path) -> None:
        """Copy the content of a file, so that deleting it does no harm.

        Raises:
            Problem: It is not there.
        """
        shutil.copyfile(self.get(name).path, to)

    def read(self, uri: str) -> bytes | None:
        """Return the content of a file by name or URI; `None` if it is not there."""
        file = self._files.get("files/" + uri.rsplit("/", 1)[-1])
        return file.path.read_bytes() if file else None

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            raise Problem(400, f"File size exceeds the limit of {self._max_bytes} bytes.")


def sha256_of(path: Path) -> bytes:
    """Return the digest of a file, without holding the file."""
    digest_of_all = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest_of_all.update(chunk)
    return digest_of_all.digest()


def file_list(files: Files, base_url: str) -> bytes:
    """Return the body of a list of files."""
    return json.dumps({"files": [file.wire(base_url) for file in files]}).encode()
