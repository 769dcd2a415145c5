"""Steps to the disk: whole or not at all, durable, and never through somebody's link."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from nanobatch.checkpoint.descriptors import RESERVE
from nanobatch.checkpoint.trouble import advice
from nanobatch.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path
    from typing import TextIO

__all__ = [
    "create_folder",
    "disk_errors",
    "link",
    "sha256_of",
    "sync_file",
    "sync_folder",
    "write_durably",
    "written_whole",
]

CHUNK_BYTES = 1 << 20
_REMEDIES = {errno.ENOSPC: "make room there", errno.ENOENT: "create that folder"}
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EXDEV, errno.EMLINK, errno.ENOSYS})
_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP})
# A link somebody put in a file's place is not the file; a pipe must not make us wait.
_PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def create_folder(folder: Path) -> None:
    """Create a folder and its parents where they are missing, durably.

    Raises:
        CheckpointError: The disk refused.
    """
    try:
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for one in missing:
            sync_folder(one.parent)
    except OSError as error:
        raise CheckpointError(
            f"The folder {folder} cannot be created: {error.strerror or error}. "
            f"{advice(error, folder)}",
            path=folder,
        ) from error


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that its name never shows less than all of its bytes.

    Every step is one function of `os`, which is where tests let it fail. An fsync that failed is
    not tried again: the system may have dropped the bytes and then call the second one a success.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        descriptor = _open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            _write_all(descriptor, content)
            os.fsync(descriptor)
            _forget(descriptor)
        finally:
            os.close(descriptor)
        part.replace(path)
    except OSError:
        with suppress(OSError):  # the first error says more
            part.unlink(missing_ok=True)
        raise


def _forget(descriptor: int) -> None:
    """Let the system drop its copy of a file that is on the disk: nobody reads it soon.

    Ten thousand images otherwise fill 10 GB of memory with what will not be looked at, put out
    what others need, and take fresh memory for each of them: that is slow, 0.4 to 2 ms an image
    instead of 0.3 where a virtual machine gets it from its host.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # it is only advice
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _write_all(descriptor: int, content: bytes) -> None:
    """Write every byte; the system may take fewer at a time."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


@contextmanager
def written_whole(path: Path, *, newline: str, failing: str) -> Generator[TextIO]:
    """Write a text file for a person; it appears at `path` whole or not at all.

    Args:
        path: Where it goes; its folder exists.
        newline: As of `open`.
        failing: What cannot be done if it fails, for the message: `"Cannot export to"`.

    Raises:
        CheckpointError: The disk refused.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "see that it can be written")
        raise CheckpointError(
            f"{failing} {path}: {error.strerror or error}. The checkpoint is untouched: {remedy}, "
            "or write to another folder.",
            path=path,
        ) from error
    finally:
        with suppress(OSError):  # it is there only if something went wrong
            part.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Return the hex digest of a plain file's bytes.

    Raises:
        OSError: It cannot be read; a symbolic link is not followed.
    """
    descriptor = _open(path, os.O_RDONLY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Not a plain file")
        digest = hashlib.sha256()
        while chunk := os.read(descriptor, CHUNK_BYTES):
            digest.update(chunk)
        return digest.hexdigest()
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the bytes of a file durable that another process has written."""
    descriptor = _open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    if os.name == "nt":
        return  # Windows has no such call; NTFS journals names by itself
    descriptor = _open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:  # some network file systems have no such call
            raise
    finally:
        os.close(descriptor)


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy where the file system has no links."""
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        write_durably(target, source.read_bytes())


def _open(path: Path, flags: int) -> int:
    """Open a plain file, with the reserve if too many are open."""
    return RESERVE.patiently(lambda: os.open(path, flags | _PLAIN, 0o666))


@contextmanager
def disk_errors(folder: Path, root: Path) -> Generator[None]:
    """Turn what the disk refuses into a sentence.

    Args:
        folder: Where it refused.
        root: The checkpoint's folder, for the advice.

    Raises:
        CheckpointError: Instead of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"The disk refused an image file in {folder}: {error.strerror or error}. "
            f"{advice(error, root)}",
            path=folder,
        ) from error
