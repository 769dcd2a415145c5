"""The image files of a checkpoint: on the disk before any row speaks of them."""

from __future__ import annotations

import errno
import hashlib
import os
import unicodedata
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nanobatch.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ImageFiles", "file_stem", "stem_key"]

MAX_STEM_BYTES = 150
_SAFE = frozenset("-_. ")
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EXDEV, errno.EMLINK, errno.ENOSYS})


class ImageFiles:
    """The folders beside the database; every method blocks, so call them in a worker thread.

    `staging/` holds what was paid for and is not accepted, `images/` what is accepted,
    `rejected/` broken files, and rejected ones if wished, `quarantine/` answers nobody could read,
    `lost+found/` files no row knows.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.staging = root / "staging"
        self.images = root / "images"
        self.rejected = root / "rejected"
        self.quarantine = root / "quarantine"
        self.lost_and_found = root / "lost+found"

    def create(self) -> None:
        """Create the folders every run needs."""
        with _disk(self.root):
            for folder in (self.staging, self.images):
                folder.mkdir(parents=True, exist_ok=True)
            sync_folder(self.root)

    def stage(self, names: dict[str, bytes]) -> None:
        """Write paid images durably into `staging/`.

        Raises:
            CheckpointError: The disk refused.
        """
        with _disk(self.staging):
            for name, content in names.items():
                write_durably(self.staging / name, content)
            sync_folder(self.staging)

    def accept(self, staged: str, name: str) -> str:
        """Give a candidate's file its name in `images/`, durably, and return that name.

        The old name stays until the row is written; a file of somebody else's that has the new
        name already is left alone.

        Args:
            staged: Path of the candidate inside the checkpoint's folder.
            name: The name without its extension, which is the candidate's.

        Raises:
            CheckpointError: The disk refused.
        """
        source = self.root / staged
        with _disk(self.images):
            target = self.images / f"{name}{source.suffix}"
            if target.exists() and not target.samefile(source):
                digest = hashlib.sha256(source.read_bytes()).hexdigest()[:8]
                target = self.images / f"{name}~{digest}{source.suffix}"
            if not target.exists():
                _link(source, target)
            sync_folder(self.images)
        return target.name

    def discard(self, path: str) -> None:
        """Remove the file of a candidate that is not needed any more, or its second name."""
        with _disk(self.root):
            (self.root / path).unlink(missing_ok=True)

    def read(self, path: str) -> bytes | None:
        """Return the bytes of a candidate; `None` if somebody removed its file."""
        with _disk(self.root):
            file = self.root / path
            return file.read_bytes() if file.is_file() else None

    def folder_of(self, *, is_judged_bad: bool) -> Path:
        """Return where the file of a candidate lies that is not accepted."""
        return self.rejected if is_judged_bad else self.staging

    def keep_rejected(self, name: str) -> None:
        """Give a staged file a second name in `rejected/`; the first goes when the row is there."""
        with _disk(self.rejected):
            self.rejected.mkdir(exist_ok=True)
            if not (self.rejected / name).exists():
                _link(self.staging / name, self.rejected / name)
            sync_folder(self.rejected)

    def set_aside(self, call: int, body: bytes) -> None:
        """Keep the raw body of a paid answer that nobody could read."""
        with _disk(self.quarantine):
            self.quarantine.mkdir(exist_ok=True)
            write_durably(self.quarantine / f"{call}.bin", body)

    def lose(self, path: Path) -> None:
        """Move a file no row knows to `lost+found/`, under a free name."""
        with _disk(self.lost_and_found):
            self.lost_and_found.mkdir(exist_ok=True)
            target = self.lost_and_found / path.name
            number = 1
            while target.exists():
                target = self.lost_and_found / f"{path.stem}~{number}{path.suffix}"
                number += 1
            path.replace(target)


def file_stem(job_id: str) -> str:
    """Return a job's id as the beginning of a file name a person recognises.

    Letters and digits of any script stay, everything else is percent-escaped; long ids are cut
    and get a hash.
    """
    normal = unicodedata.normalize("NFC", job_id)
    kept = "".join(
        c if c.isalnum() or c in _SAFE else "".join(f"%{byte:02X}" for byte in c.encode())
        for c in normal
    )
    if kept.startswith("."):
        kept = f"%2E{kept[1:]}"
    if len(kept.encode()) > MAX_STEM_BYTES:
        cut = kept.encode()[:MAX_STEM_BYTES].decode(errors="ignore")
        kept = f"{cut}~{_digest(job_id)}"
    return kept


def stem_key(stem: str) -> str:
    """Return what two stems share when some file system takes them for the same name."""
    return unicodedata.normalize("NFKC", stem).casefold()


def distinct_stem(job_id: str) -> str:
    """Return the stem to use when another job has the plain one."""
    return f"{file_stem(job_id)}~{_digest(job_id)}"


def _digest(job_id: str) -> str:
    return hashlib.sha256(job_id.encode()).hexdigest()[:8]


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that its name never shows less than all of its bytes."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    if os.name == "nt":
        return  # Windows has no such call; NTFS journals names by itself
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        write_durably(target, source.read_bytes())


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into a sentence."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"The disk refused to store an image in {folder}: {error.strerror or error}. "
            "What was accepted before is safe; free the disk and run again.",
            path=folder,
        ) from error
