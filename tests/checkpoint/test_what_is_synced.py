"""What a power cut would leave: only synced bytes under synced names, so rows speak of no others.

A killed process leaves the page cache behind, so no kill can show a missing fsync. Here a model of
the disk is told of every fsync, link and rename instead.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from nanobatch.checkpoint import Checkpoint
from tests.checkpoint.story import Story, job, png


class Disk:
    """Knows which bytes and which names a power cut would leave, and those of the last commit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes: set[int] = set()
        """Inodes of synced files."""
        self.names: set[tuple[Path, int]] = set()
        """Synced names and the inodes they stand for."""
        self.at_commit: tuple[set[int], set[tuple[Path, int]]] = (set(), set())
        self.renamed_too_early: list[str] = []
        self._fsync, self._replace = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", self._on_fsync)
        monkeypatch.setattr(os, "replace", self._on_replace)

    def listen(self, story: Story) -> None:
        """Take a picture of the disk whenever the story commits."""

        def on_statement(statement: str) -> None:
            if statement == "COMMIT":
                self.at_commit = (set(self.bytes), set(self.names))

        story.store.writer._connection.set_trace_callback(on_statement)

    def held_at_commit(self, path: Path) -> bool:
        """Return whether name and bytes of a file were safe when the last commit began."""
        inode = path.stat().st_ino
        synced_bytes, synced_names = self.at_commit
        return (path, inode) in synced_names and (path.is_dir() or inode in synced_bytes)

    def _on_fsync(self, descriptor: int) -> None:
        self._fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_dir():
            self.names -= {one for one in self.names if one[0].parent == path}
            self.names |= {(child, child.stat().st_ino) for child in path.iterdir()}
        else:
            self.bytes.add(path.stat().st_ino)

    def _on_replace(self, source: Any, target: Any) -> None:
        if Path(source).stat().st_ino not in self.bytes:
            self.renamed_too_early.append(str(source))
        self._replace(source, target)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not tell which file a descriptor belongs to")
    return Disk(monkeypatch)


async def test_every_file_is_safe_from_a_power_cut_before_a_row_speaks_of_it(
    tmp_path: Path, disk: Disk
) -> None:
    folder = tmp_path / "runs" / "new"
    async with Checkpoint.open(folder) as checkpoint:
        story = Story(checkpoint.store)
        disk.listen(story)
        taken = story.take(job(want=2), run=1)
        folders = [tmp_path / "runs", folder, folder / "staging", folder / "images"]
        assert [path for path in folders if not disk.held_at_commit(path)] == []

        for number in (1, 2):
            drawn = story.draw(taken, png(number))  # its settlement is the last commit
            assert disk.held_at_commit(folder / drawn.staged)

            path = story.accept(taken, drawn)  # and now its verdict
            assert disk.held_at_commit(path)

    assert disk.renamed_too_early == []


async def test_a_rejected_file_that_is_kept_is_safe_before_its_row_says_so(
    tmp_path: Path, disk: Disk
) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        disk.listen(story)
        taken = story.take(job(), run=1)
        drawn = story.draw(taken, png(1))

        story.store.files.keep_rejected(drawn.row.file)
        story.reject(drawn, "blank")

        assert disk.held_at_commit(tmp_path / "rejected" / drawn.row.file)


async def test_an_unreadable_answer_is_safe_before_its_call_is_settled(
    tmp_path: Path, disk: Disk
) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        disk.listen(story)
        taken = story.take(job(), run=1)
        slot, call = story.begin(taken)

        story.store.files.set_aside(call, b"no JSON")
        story.settle(taken, slot, call)

        assert disk.held_at_commit(tmp_path / "quarantine" / f"{call}.bin")
    assert disk.renamed_too_early == []


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system takes no advice")
async def test_bytes_are_dropped_from_memory_once_they_are_safe_and_only_if_the_system_likes(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    was_safe: list[bool] = []

    def advise(descriptor: int, *advice: int) -> None:
        was_safe.append(os.fstat(descriptor).st_ino in disk.bytes)
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "posix_fadvise", advise)

    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        disk.listen(story)
        drawn = story.draw(story.take(job(), run=1), png(1))

        assert was_safe == [True]
        assert (tmp_path / drawn.staged).read_bytes() == png(1)
