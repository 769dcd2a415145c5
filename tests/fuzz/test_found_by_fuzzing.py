"""What the fuzzing tests of this folder have found, as the smallest inputs that show it."""

from __future__ import annotations

import base64
import json
import sqlite3
import zlib
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nanobatch import (
    Candidate,
    Checkpoint,
    CheckpointError,
    Job,
    JobFileError,
    ModelRegistry,
    RegistryError,
    Route,
    Verdict,
    read_jobs,
)
from nanobatch.simulator import Answer, Call, answers
from tests.filters.files import PALETTE, chunk, ihdr, png_of
from tests.support import pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.simulator.studio import Content


def _with(content: Content, picture: bytes) -> Content:
    """Return an answer with another picture in it."""
    body = json.loads(content.body)
    for part in body["candidates"][0]["content"]["parts"]:
        if "inlineData" in part:
            part["inlineData"]["data"] = base64.b64encode(picture).decode()
    return replace(content, body=json.dumps(body).encode())


def _complaint(file: Path, content: bytes) -> str:
    """Return what is said of a file of jobs that cannot be read."""
    file.write_bytes(content)
    with pytest.raises(JobFileError) as caught:
        list(read_jobs(file))
    return str(caught.value).removeprefix(str(file))


def test_a_column_name_does_nothing_to_the_terminal_it_is_shown_on(tmp_path: Path) -> None:
    complaint = _complaint(tmp_path / "jobs.csv", b"\x1b[31mname,prompt\na,b\n")

    assert complaint == (
        r", line 1: the header has no column 'id', only \x1b[31mname, prompt; "
        "columns are separated by commas."
    )


def test_a_sentence_about_a_file_of_jobs_has_an_end(tmp_path: Path) -> None:
    complaint = _complaint(tmp_path / "jobs.csv", b"x" * 100_000 + b",prompt\na,b\n")

    assert complaint.startswith(", line 1: the header has no column 'id', only xxx")
    assert complaint.endswith("x….")
    assert len(complaint) < 700


def test_a_field_whose_name_is_no_unicode_is_named_by_its_line(tmp_path: Path) -> None:
    complaint = _complaint(tmp_path / "jobs.jsonl", b'{"id": "a", "prompt": "b", "\\ud800": 1}\n')

    assert complaint == (
        ", line 1: the name of a field is no Unicode text; remove what is no character."
    )


def test_a_reference_whose_name_no_file_can_have_is_named_by_its_line(tmp_path: Path) -> None:
    line = b'{"id": "a", "prompt": "b", "references": ["\\ud800owl.png"]}\n'

    complaint = _complaint(tmp_path / "jobs.jsonl", line)

    assert complaint.startswith(", line 1: ")
    assert "must be the path of an image file whose name is UTF-8" in complaint


def test_a_tag_that_is_no_unicode_is_named_by_its_line(tmp_path: Path) -> None:
    line = b'{"id": "a", "prompt": "b", "tag": "\\ud800x"}\n'

    complaint = _complaint(tmp_path / "jobs.jsonl", line)

    assert "must be Unicode text" in complaint


def _edit(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER ledger_is_never_edited")
        connection.execute(statement)


async def _batch(folder: Path) -> None:
    async with simulator() as server:
        await pipeline_on(server, folder).run([Job(id="a", prompt="x", route=Route.LITE)])


async def test_a_ledger_line_without_its_slot_is_said_by_whoever_adds_up_the_ledger(
    tmp_path: Path,
) -> None:
    await _batch(tmp_path)
    _edit(tmp_path, "UPDATE ledger SET slot = NULL WHERE kind = 'call'")

    with Checkpoint.read(tmp_path) as checkpoint, pytest.raises(CheckpointError) as caught:
        checkpoint.cost_model()

    assert caught.value.path == tmp_path
    assert "moves money or an image, but lacks its slot" in str(caught.value)


async def test_an_image_row_that_leads_out_of_its_folder_is_nothing_we_wrote(
    tmp_path: Path,
) -> None:
    await _batch(tmp_path)
    _edit(tmp_path, "UPDATE images SET file = '/etc/passwd'")

    with (
        Checkpoint.read(tmp_path) as checkpoint,
        pytest.raises(CheckpointError, match="'/etc/passwd' is no name of a file"),
    ):
        checkpoint.export(tmp_path / "manifest.csv")


async def test_what_sqlite_shows_of_a_damaged_row_does_nothing_to_a_terminal(
    tmp_path: Path,
) -> None:
    def change(db: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("Could not decode to UTF-8 column 'spec': \x1b[31m\n\ufffd")

    async with Checkpoint.open(tmp_path) as checkpoint:
        with pytest.raises(CheckpointError, match="could not be written") as caught:
            await checkpoint.store.commit(change)

    assert str(caught.value).isprintable()


async def test_what_sqlite_says_of_a_damaged_name_need_not_be_unicode(tmp_path: Path) -> None:
    def change(db: sqlite3.Connection) -> None:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    async with Checkpoint.open(tmp_path) as checkpoint:
        with pytest.raises(CheckpointError, match="could not be written") as caught:
            await checkpoint.store.commit(change)

    assert caught.value.path == tmp_path


@pytest.mark.parametrize("column", ["stage", "tier"])
async def test_a_run_names_the_checkpoint_whose_rows_make_no_sense(
    column: str, tmp_path: Path
) -> None:
    await _batch(tmp_path)
    _edit(tmp_path, f"UPDATE slots SET {column} = 'candid' || char(0)")  # noqa: S608 - no input

    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path)
        with pytest.raises(CheckpointError, match="cannot be understood") as caught:
            await pipeline.run([Job(id="a", prompt="x", route=Route.LITE, want=2)])

    assert caught.value.path == tmp_path
    assert f"`nanobatch verify {tmp_path}`" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (
            f"max_reserved_output_tokens = {10**40}",
            "should be less than or equal to 10000000, not ",
        ),
        ('default_thinking_level = "' + "x" * 5000 + '"', "xxx….\n"),
    ],
    ids=["a reserve no database holds", "endless"],
)
def test_a_config_is_refused_in_one_sentence(line: str, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "nanobatch.toml"
    file.write_text(f"[models.mine]\n{line}\n")

    with pytest.raises(RegistryError) as caught:
        ModelRegistry.load(file)

    message = str(caught.value)
    assert complaint in f"{message}\n"
    assert message.isprintable()
    assert len(message.removeprefix(str(file))) < 700


async def test_a_rejected_palette_picture_with_transparency_gets_its_thumbnail(
    tmp_path: Path,
) -> None:
    # Pillow warns when it turns such a picture to RGB, and a warning may be an error.
    picture = png_of(
        ihdr(4, 4, colour_type=PALETTE),
        chunk(b"PLTE", bytes(range(48))),
        chunk(b"tRNS", bytes(range(16))),
        chunk(b"IDAT", zlib.compress(bytes(20))),
        chunk(b"IEND"),
    )

    def reject(candidate: Candidate) -> Verdict:
        return Verdict.reject("no")

    def answer(call: Call) -> Answer:
        good = answers.image()
        return replace(good, compose=lambda studio: _with(good.compose(studio), picture))

    async with simulator(answer=answer) as server:
        await pipeline_on(server, tmp_path, filters=[reject]).run([Job(id="a", prompt="x")])

    with Checkpoint.read(tmp_path) as checkpoint:
        thumbnails = [candidate.thumbnail for candidate in checkpoint.candidates()]
    assert thumbnails
    assert all(thumbnail is not None for thumbnail in thumbnails)
