"""What leaves a checkpoint: a manifest, and a report of what is wrong with it."""

from __future__ import annotations

import csv
import hashlib
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from nanobatch.checkpoint import Checkpoint
from nanobatch.errors import CheckpointError, ConfigError
from tests.checkpoint.story import Story, job, png

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PROMPT = 'a "fox", red;\nin snow \U0001f98a'


@pytest.fixture
async def checkpoint(tmp_path: Path) -> AsyncIterator[Checkpoint]:
    """Two accepted images, one in hand, one not judged, one rejected."""
    async with Checkpoint.open(tmp_path / "run") as opened:
        story = Story(opened.store)
        taken = story.take(job("a/b", prompt=PROMPT, want=5), run=1)
        story.accept(taken, story.draw(taken, png(1)), score=0.5)
        story.accept(taken, story.draw(taken, png(2)))
        story.keep(story.draw(taken))
        story.draw(taken)
        story.reject(story.draw(taken), "blurred")
        yield opened


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_jsonl_manifest_has_one_object_per_accepted_image(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    count = checkpoint.export(tmp_path / "manifest.jsonl")

    lines = (tmp_path / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    first, second = (json.loads(line) for line in lines)
    assert count == 2
    assert first == {
        "job_id": "a/b",
        "number": 1,
        "file": "images/a%2Fb-1.png",
        "sha256": hashlib.sha256(png(1)).hexdigest(),
        "mime_type": "image/png",
        "width_px": 12,
        "height_px": 8,
        "model_id": "painter",
        "tier": "lite",
        "usd": "0.033600000",
        "score": 0.5,
        "prompt": PROMPT,
    }
    assert (second["number"], second["score"]) == (2, None)


async def test_a_csv_manifest_has_the_same_columns(checkpoint: Checkpoint, tmp_path: Path) -> None:
    count = checkpoint.export(str(tmp_path / "MANIFEST.CSV"))

    with (tmp_path / "MANIFEST.CSV").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert count == 2
    assert first["prompt"] == PROMPT
    assert (first["file"], first["usd"], first["tier"]) == (
        "images/a%2Fb-1.png",
        "0.033600000",
        "lite",
    )
    assert (first["score"], second["score"]) == ("0.5", "")


async def test_a_manifest_replaces_the_old_one_as_a_whole(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    (tmp_path / "manifest.jsonl").write_text("old\n" * 50)

    checkpoint.export(tmp_path / "manifest.jsonl")

    assert "old" not in (tmp_path / "manifest.jsonl").read_text(encoding="utf-8")
    assert _names(tmp_path) == ["manifest.jsonl", "run"]


async def test_another_suffix_or_a_place_that_is_no_place_is_a_sentence(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    (tmp_path / "folder.csv").mkdir()

    with pytest.raises(ConfigError, match=r"must end in \.jsonl or \.csv"):
        checkpoint.export(tmp_path / "manifest.xlsx")
    for path, remedy in (
        (tmp_path / "no" / "manifest.csv", "create that folder"),
        (tmp_path / "folder.csv", "see that it can be written"),
    ):
        with pytest.raises(CheckpointError, match=f"Cannot export to .*: {remedy}, or write"):
            checkpoint.export(path)

    assert _names(tmp_path) == ["folder.csv", "run"]


async def test_a_sound_checkpoint_is_clean(checkpoint: Checkpoint) -> None:
    report = checkpoint.verify()

    assert (report.images, report.staged) == (2, 2)
    assert report.is_clean


async def test_a_changed_and_a_missing_file_are_found_and_named(checkpoint: Checkpoint) -> None:
    first, second = (image.path for image in checkpoint.images())
    first.write_bytes(png(1) + b"!")
    second.unlink()
    staged = next(path for path in (checkpoint.root / "staging").iterdir())
    staged.write_bytes(b"")

    report = checkpoint.verify()

    assert not report.is_clean
    assert report.faults == (
        "images/a%2Fb-1.png is not the file it was: its hash differs.",
        "images/a%2Fb-2.png cannot be read: No such file or directory.",
        f"staging/{staged.name} is not the file it was: its hash differs.",
    )


async def test_a_row_that_names_nothing_is_found(checkpoint: Checkpoint) -> None:
    with closing(sqlite3.connect(checkpoint.root / "ledger.sqlite")) as db:
        db.execute("DELETE FROM jobs")  # foreign keys are off unless asked for
        db.commit()

    faults = checkpoint.verify().faults

    assert "names a row of jobs that is missing" in faults[0]


async def test_verifying_changes_nothing(checkpoint: Checkpoint) -> None:
    def files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in checkpoint.root.rglob("*.*")}

    before = files()

    checkpoint.verify()

    assert files() == before
