"""The image files of a checkpoint: on the disk before any row speaks of them."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from itertools import count
from typing import TYPE_CHECKING

from nanobatch.checkpoint.disk import (
    create_folder,
    disk_errors,
    link,
    sha256_of,
    sync_folder,
    write_durably,
)
from nanobatch.checkpoint.seal import Seal
from nanobatch.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "REQUESTS",
    "RESULTS",
    "ImageFiles",
    "distinct_stem",
    "file_stem",
    "is_plain",
    "stem_key",
]

MAX_STEM_BYTES = 150
REQUESTS, RESULTS = "requests.jsonl", "results.jsonl"
_SAFE = frozenset("-_. ")
_LEADS_AWAY = frozenset("/\\\0")


class ImageFiles:
    """The folders beside the database; every method blocks, so call them in a worker thread.

    `staging/` holds what was paid for and is not accepted, `images/` what is accepted,
    `rejected/` broken files, and rejected ones if wished, `quarantine/` answers nobody could read,
    `lost+found/` files no row knows, `batches/` what goes to batch jobs and what comes back.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.staging = root / "staging"
        self.images = root / "images"
        self.rejected = root / "rejected"
        self.quarantine = root / "quarantine"
        self.lost_and_found = root / "lost+found"
        self.batches = root / "batches"

    def requests_of(self, batch_job: str) -> Path:
        """Return where the requests of a batch job lie until it is created, by our name of it."""
        return self.batches / f"{batch_job}.{REQUESTS}"

    def results_of(self, batch_job: str) -> Path:
        """Return where the results of a batch job lie until they are settled."""
        return self.batches / f"{batch_job}.{RESULTS}"

    def create(self) -> None:
        """Create the folders every run needs."""
        create_folder(self.staging)
        create_folder(self.images)

    def hold_images(self) -> bool:
        """Return whether there is any file in `staging/` or `images/`."""
        with disk_errors(self.root, self.root):
            return any(any(folder.iterdir()) for folder in (self.staging, self.images))

    def stage(self, names: dict[str, bytes]) -> None:
        """Write paid images durably into `staging/`.

        Raises:
            CheckpointError: The disk refused.
        """
        for name, content in names.items():
            self.write_staged(name, content)
        with disk_errors(self.staging, self.root):
            sync_folder(self.staging)

    def write_staged(self, name: str, content: bytes) -> Seal:
        """Write one of them; its bytes are safe then, its name when `staging/` is synced.

        Raises:
            CheckpointError: The disk refused.
        """
        with disk_errors(self.staging, self.root):
            path = self.staging / name
            write_durably(path, content)
            return Seal.of(path)

    def accept(self, staged: str, name: str, *, sha256: str) -> str:
        """Give a candidate's file its name in `images/`, durably, and return that name.

        Args:
            staged: As `link_accepted`.
            name: As `link_accepted`.
            sha256: As `link_accepted`.

        Raises:
            CheckpointError: As `link_accepted`.
        """
        accepted = self.link_accepted(staged, name, sha256=sha256)
        with disk_errors(self.images, self.root):
            sync_folder(self.images)
        return accepted

    def link_accepted(
        self, staged: str, name: str, *, sha256: str, seal: Seal | None = None
    ) -> str:
        """Give a candidate's file its name in `images/`; it is safe when that is synced.

        The old name stays until the row is written. A file that has the new name already and is
        not this one is left alone: the name then gets a number. All of it is read first, unless
        this process has written it and it still carries its seal: size and time of its bytes
        alone do not say that nobody edited it.

        Args:
            staged: Path of the candidate inside the checkpoint's folder.
            name: The name without its extension, which is the candidate's.
            sha256: Hex digest in the candidate's row.
            seal: What `write_staged` returned for it.

        Raises:
            CheckpointError: The disk refused, or the file is not the one that was paid for.
        """
        source = self._locate(staged)
        with disk_errors(self.images, self.root):
            is_untouched = seal is not None and Seal.of(source) == seal
            if not is_untouched and sha256_of(source) != sha256:
                raise self._not_the_one(staged)
            target = next(
                target
                for target in (self.images / f"{stem}{source.suffix}" for stem in _stems(name))
                if not target.exists() or target.samefile(source)
            )
            if not target.exists():
                link(source, target)
        return target.name

    def discard(self, path: str) -> None:
        """Remove the file of a candidate that is not needed any more, or its second name."""
        with disk_errors(self.root, self.root):
            self._locate(path).unlink(missing_ok=True)

    def read(self, path: str, *, sha256: str) -> bytes:
        """Return the bytes of a candidate, which are those that were paid for.

        Raises:
            CheckpointError: The file is missing or was changed, or the disk refused.
        """
        with disk_errors(self.root, self.root):
            try:
                content = self._locate(path).read_bytes()
            except (FileNotFoundError, IsADirectoryError):
                raise self._not_the_one(path, "is missing") from None
        if hashlib.sha256(content).hexdigest() != sha256:
            raise self._not_the_one(path)
        return content

    def _locate(self, path: str) -> Path:
        """Return where a file of a row lies: a row somebody edited leads nowhere else."""
        folder, _, name = path.partition("/")
        if not is_plain(name):
            raise self._not_the_one(path, "got another name")
        return self.root / folder / name

    def _not_the_one(self, path: str, fault: str = "was changed") -> CheckpointError:
        return CheckpointError(
            f"The file {path} of the checkpoint {self.root} {fault} since it was paid for, so it "
            "cannot be used. Everything else is safe: put the file back, or run `nanobatch verify "
            f"--repair {self.root}`; with `--forget-missing` a new one is drawn.",
            path=self.root / path,
        )

    def folder_of(self, *, is_judged_bad: bool) -> Path:
        """Return where the file of a candidate lies that is not accepted."""
        return self.rejected if is_judged_bad else self.staging

    def keep_rejected(self, name: str) -> None:
        """Give a staged file a second name in `rejected/`; the first goes when the row is there.

        A file that somebody removed from `staging/` is not kept.
        """
        self.link_rejected(name)
        with disk_errors(self.rejected, self.root):
            sync_folder(self.rejected)

    def link_rejected(self, name: str) -> Path:
        """Do the same, but for syncing the folder that it returns."""
        create_folder(self.rejected)
        with disk_errors(self.rejected, self.root):
            source, target = self.staging / name, self.rejected / name
            if source.exists() and not target.exists():
                link(source, target)
        return self.rejected

    def set_aside(self, call: int | str, body: bytes) -> None:
        """Keep the raw body of a paid answer that nobody could read, or of nobody's call."""
        create_folder(self.quarantine)
        with disk_errors(self.quarantine, self.root):
            write_durably(self.quarantine / f"{call}.bin", body)
            sync_folder(self.quarantine)

    def lose(self, path: Path) -> Path:
        """Move a file no row knows to `lost+found/`, under a free name; return its new path."""
        create_folder(self.lost_and_found)
        with disk_errors(self.lost_and_found, self.root):
            target = next(
                target
                for target in (
                    self.lost_and_found / f"{stem}{path.suffix}" for stem in _stems(path.stem)
                )
                if not os.path.lexists(target)
            )
            path.replace(target)
            sync_folder(self.lost_and_found)
            sync_folder(path.parent)
            return target


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


def is_plain(name: object) -> bool:
    """Return whether a name, from a row that may be damaged, can only be a file in its folder."""
    if not isinstance(name, str) or name in ("", ".", ".."):
        return False
    return not _LEADS_AWAY.intersection(name)


def stem_key(stem: str) -> str:
    """Return what two stems share when some file system takes them for the same name."""
    return unicodedata.normalize("NFKC", stem).casefold()


def distinct_stem(job_id: str) -> str:
    """Return the stem to use when another job has the plain one."""
    return f"{file_stem(job_id)}~{_digest(job_id)}"


def _digest(job_id: str) -> str:
    return hashlib.sha256(job_id.encode()).hexdigest()[:8]
