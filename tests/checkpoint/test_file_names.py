"""A job's id is any text; the names of its files are recognisable, safe and its own."""

from __future__ import annotations

import os
import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobatch.checkpoint import Checkpoint
from nanobatch.checkpoint.files import file_stem, stem_key
from tests.checkpoint.story import Story, job

if TYPE_CHECKING:
    from pathlib import Path

RESERVED = set('/\\:*?"<>|\0') | {chr(code) for code in range(32)}

ODD_IDS = [
    "a/b", "a\\b", "..", ".", "../../etc/passwd", "/etc/passwd", ".hidden", "CON", "con", "nul.png",
    "A", "a", "Straße", "STRASSE", "🦊", "a" * 300, "a" * 299 + "b", "🦊" * 300, "é" * 200,
    unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é"),
    "a%2Fb", "a~b", "new\nline", " ", "-rf", "*", "ﬁ", "fi", "fox-1", "fox", "狐", "ثعلب",
]  # fmt: skip


@pytest.mark.parametrize(
    ("job_id", "stem"),
    [
        ("aurora-12_b.c d", "aurora-12_b.c d"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        ("..", "%2E."),
        ("狐", "狐"),
        ("🦊", "%F0%9F%A6%8A"),
        ("a~b", "a%7Eb"),
        (unicodedata.normalize("NFD", "é"), unicodedata.normalize("NFC", "é")),
    ],
)
def test_letters_stay_and_everything_else_is_escaped(job_id: str, stem: str) -> None:
    assert file_stem(job_id) == stem


async def test_odd_ids_get_files_of_their_own_on_every_file_system(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path / "run") as checkpoint:
        story = Story(checkpoint.store)
        for job_id in ODD_IDS:
            taken = story.take(job(job_id, want=2), run=1)
            story.accept(taken, story.draw(taken))
            story.accept(taken, story.draw(taken))
        images = list(checkpoint.images())
        ids = [found.id for found in checkpoint.jobs()]
        report = checkpoint.verify()

    names = [image.path.name for image in images]
    assert ids == ODD_IDS
    assert [image.job_id for image in images] == [one for one in ODD_IDS for _ in range(2)]
    assert len({unicodedata.normalize("NFKC", name).casefold() for name in names}) == len(names)
    assert report.is_clean
    for image in images:
        assert image.path.parent == tmp_path / "run" / "images"
        assert image.path.is_file()
        assert not RESERVED & set(image.path.name)
        assert not image.path.name.startswith(".")
        assert len(image.path.name.encode()) <= 255
    assert os.listdir(tmp_path) == ["run"]  # noqa: PTH208 - nothing beside it


async def test_a_job_keeps_its_name_when_the_job_it_collides_with_is_not_in_the_input(
    tmp_path: Path,
) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        upper, lower = story.take(job("A"), run=1), story.take(job("a"), run=1)
        again = story.take(job("a"), run=2)

    assert upper.stem == "A"
    assert lower.stem.startswith("a~")
    assert again.stem == lower.stem


@settings(max_examples=300, deadline=None, database=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_id_gives_a_safe_name(job_id: str) -> None:
    stem = file_stem(job_id)

    assert stem
    assert not RESERVED & set(stem)
    assert not stem.startswith(".")
    assert len(stem.encode()) <= 160
    assert stem_key(stem) == stem_key(unicodedata.normalize("NFD", stem))
