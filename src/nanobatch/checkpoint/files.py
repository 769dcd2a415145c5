"""The image files of a checkpoint: on the disk before any row speaks of them."""

from __future__ import annotations

import errno
import hashlib
import os
import unicodedata
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

from nanobatch.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

__all__ = [
    "ImageFiles",
    "create_folder",
    "disk_errors",
    "distinct_stem",
    "file_stem",
    "stem_key",
]

MAX_STEM_BYTES = 150
_SAFE = frozenset("-_. ")
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EXDEV, errno.EMLINK, errno.ENOSYS})
_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP})


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
        create_folder(self.staging)
        create_folder(self.images)

    def hold_images(self) -> bool:
        """Return whether there is any file in `staging/` or `images/`."""
        with disk_errors(self.root):
            return any(any(folder.iterdir()) for folder in (self.staging, self.images))

    def stage(self, names: dict[str, bytes]) -> None:
        """Write paid images durably into `staging/`.

        Raises:
            CheckpointError: The disk refused.
        """
        with disk_errors(self.staging):
            for name, content in names.items():
                write_durably(self.staging / name, content)
            sync_folder(self.staging)

    def accept(self, staged: str, name: str) -> str:
        """Give a candidate's file its name in `images/`, durably, and return that name.

        The old name stays until the row is written. A file that has the new name already and is
        not this one is left alone: the name then gets a number.

        Args:
            staged: Path of the candidate inside the checkpoint's folder.
            name: The name without its extension, which is the candidate's.

        Raises:
            CheckpointError: The disk refused.
        """
        source = self.root / staged
        with disk_errors(self.images):
            target = next(
                target
                for target in (self.images / f"{stem}{source.suffix}" for stem in _stems(name))
                if not target.exists() or target.samefile(source)
            )
            if not target.exists():
                _link(source, target)
            sync_folder(self.images)
        return target.name

    def discard(self, path: str) -> None:
        """Remove the file of a candidate that is not needed any more, or its second name."""
        with disk_errors(self.root):
            (self.root / path).unlink(missing_ok=True)

    def read(self, path: str) -> bytes | None:
        """Return the bytes of a candidate; `None` if somebody removed its file."""
        with disk_errors(self.root):
            file = self.root / path
            return file.read_bytes() if file.is_file() else None

    def folder_of(self, *, is_judged_bad: bool) -> Path:
        """Return where the file of a candidate lies that is not accepted."""
        return self.rejected if is_judged_bad else self.staging

    def keep_rejected(self, name: str) -> None:
        """Give a staged file a second name in `rejected/`; the first goes when the row is there.

        A file that somebody removed from `staging/` is not kept.
        """
        create_folder(self.rejected)
        with disk_errors(self.rejected):
            source, target = self.staging / name, self.rejected / name
            if source.exists() and not target.exists():
                _link(source, target)
            sync_folder(self.rejected)

    def set_aside(self, call: int, body: bytes) -> None:
        """Keep the raw body of a paid answer that nobody could read."""
        create_folder(self.quarantine)
        with disk_errors(self.quarantine):
            write_durably(self.quarantine / f"{call}.bin", body)
            sync_folder(self.quarantine)

    def lose(self, path: Path) -> None:
        """Move a file no row knows to `lost+found/`, under a free name."""
        create_folder(self.lost_and_found)
        with disk_errors(self.lost_and_found):
            target = next(
                target
                for target in (
                    self.lost_and_found / f"{stem}{path.suffix}" for stem in _stems(path.stem)
                )
                if not os.path.lexists(target)
            )
            path.replace(target)
            sync_folder(self.lost_and_found)


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
            f"The folder {folder} cannot be created: {error.strerror or error}.", path=folder
        ) from error


def _stems(stem: str) -> Iterator[str]:
    """Yield a stem, and then others to use when it is taken."""
    yield stem
    for number in count(2):
        yield f"{stem}~{number}"


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
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:  # some network file systems have no such call
            raise
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
def disk_errors(folder: Path) -> Generator[None]:
    """Turn what the disk refuses into a sentence.

    Raises:
        CheckpointError: Instead of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"The disk refused an image file in {folder}: {error.strerror or error}. What was "
            "accepted before is safe; make room or repair the folder, and run again.",
            path=folder,
        ) from error
