"""No traceback from SQLite's depths: what is wrong, what is safe, and what to do."""

from __future__ import annotations

import errno
import os
import sqlite3
from typing import TYPE_CHECKING

import anyio
import pytest

from nanobatch.checkpoint import Checkpoint
from nanobatch.checkpoint.schema import connect_writing
from nanobatch.checkpoint.trouble import Trouble, trouble_of
from nanobatch.checkpoint.writer import Writer
from nanobatch.errors import CheckpointError
from tests.checkpoint.children import run
from tests.checkpoint.damage import edit, overwrite, rows
from tests.checkpoint.story import Story, abandon, job, png
from tests.checkpoint.test_full_disk import limit_files_to
from tests.support import pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.cost import LedgerLine

REPAIR = r"run `nanobatch verify --repair .*`"


def _sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("whatever SQLite says")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (OSError(errno.ENOSPC, ""), Trouble.FULL),
        (OSError(errno.EDQUOT, ""), Trouble.FULL),
        (OSError(errno.EIO, ""), Trouble.FAILING),
        (OSError(errno.EROFS, ""), Trouble.READ_ONLY),
        (OSError(errno.EMFILE, ""), Trouble.NO_DESCRIPTORS),
        (OSError(errno.ENFILE, ""), Trouble.NO_DESCRIPTORS),
        (OSError(errno.ENOENT, ""), Trouble.MISSING),
        (OSError(errno.ELOOP, ""), Trouble.OTHER),
        (_sqlite_error(sqlite3.SQLITE_FULL), Trouble.FULL),
        (_sqlite_error(sqlite3.SQLITE_IOERR_FSYNC), Trouble.FAILING),
        (_sqlite_error(sqlite3.SQLITE_IOERR_READ), Trouble.FAILING),
        (_sqlite_error(sqlite3.SQLITE_CORRUPT_INDEX), Trouble.DAMAGED),
        (_sqlite_error(sqlite3.SQLITE_NOTADB), Trouble.DAMAGED),
        (_sqlite_error(sqlite3.SQLITE_READONLY), Trouble.READ_ONLY),
        (_sqlite_error(sqlite3.SQLITE_READONLY_DBMOVED), Trouble.MISSING),
        (_sqlite_error(sqlite3.SQLITE_BUSY), Trouble.BUSY),
        (_sqlite_error(sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY), Trouble.DISAGREES),
        (_sqlite_error(sqlite3.SQLITE_CANTOPEN), Trouble.MISSING),
    ],
    ids=repr,
)
def test_every_error_is_one_of_a_few_kinds_of_trouble(error: Exception, trouble: Trouble) -> None:
    assert trouble_of(error) is trouble


async def test_a_full_database_is_a_sentence_and_goes_on_when_there_is_room(
    folder: Path,
) -> None:
    async with Checkpoint.open(folder) as checkpoint:
        story = Story(checkpoint.store)
        story.write(lambda db: db.execute("PRAGMA max_page_count = 28"))
        with pytest.raises(CheckpointError, match=r"is full\. .*make room on the disk") as refused:
            story.take(job(prompt="x" * 9000), run=1)
        story.write(lambda db: db.execute("PRAGMA max_page_count = 9999"))

        story.accept(taken := story.take(job(), run=1), story.draw(taken))

        assert isinstance(refused.value.__cause__, sqlite3.OperationalError)
        assert checkpoint.verify().is_clean


def test_after_an_io_error_the_database_is_closed_for_good_and_says_so(folder: Path) -> None:
    async def fail() -> None:
        async with Checkpoint.open(folder) as checkpoint:
            story = Story(checkpoint.store)
            taken = story.take(job(), run=1)
            limit_files_to((folder / "ledger.sqlite").stat().st_size)
            for _ in range(2):
                with pytest.raises(
                    CheckpointError,
                    match=r"disk I/O error\. Nothing .* is lost, but the disk fails: nothing more",
                ):
                    story.take(job("b", prompt="x" * 9000), run=1)
            with pytest.raises(sqlite3.ProgrammingError, match="closed"):
                story.store.writer._connection.execute("SELECT 1")
            with pytest.raises(CheckpointError, match="nothing more is written until"):
                story.begin(taken)

    assert run(lambda: anyio.run(fail)) == 0

    with Checkpoint.read(folder) as reader:
        assert [one.id for one in reader.jobs()] == ["fox"]


async def test_a_page_damaged_behind_a_runs_back_is_a_sentence_that_names_the_cure(
    run_folder: Path,
) -> None:
    [(page,)] = rows(run_folder, "SELECT rootpage FROM sqlite_master WHERE name = 'jobs'")
    assert isinstance(page, int)
    overwrite(run_folder, page, b"\0")

    async with Checkpoint.open(run_folder) as checkpoint:  # it was closed well, so it is not read
        story = Story(checkpoint.store)
        with pytest.raises(CheckpointError, match=f"malformed.*untouched.*{REPAIR}"):
            story.draw(story.take(job("another"), run=9))
        with pytest.raises(CheckpointError, match=f"could not be read: .*malformed.*{REPAIR}"):
            list(checkpoint.jobs())

    with pytest.raises(CheckpointError, match=REPAIR):  # and from now on it is refused at once
        async with Checkpoint.open(run_folder):
            pass
    assert Checkpoint.repair(run_folder).is_clean


@pytest.mark.parametrize(
    ("version", "advice"), [(0, "an older nanobatch wrote it"), (9, "a newer nanobatch wrote it")]
)
async def test_another_layout_is_refused_with_its_own_advice(
    run_folder: Path, version: int, advice: str
) -> None:
    edit(run_folder, f"PRAGMA user_version = {version}")

    with pytest.raises(CheckpointError, match=f"has layout {version}.*Nothing was.*{advice}"):
        Checkpoint.read(run_folder)
    with pytest.raises(CheckpointError, match=f"has layout {version}.*Nothing was.*{advice}"):
        async with Checkpoint.open(run_folder):
            pass


@pytest.mark.parametrize(
    ("statement", "ask"),
    [
        ("UPDATE jobs SET status = 'happy'", "jobs"),
        ("UPDATE candidates SET state = 'gone'", "candidates"),
        ("UPDATE jobs SET body = 'no JSON'", "images"),
        ("UPDATE slots SET tier = 'cheap'", "ledger"),
        ("UPDATE failures SET at = 9223372036854775807", "failures"),
    ],
)
def test_a_row_nobody_can_understand_is_a_sentence_for_readers(
    run_folder: Path, statement: str, ask: str
) -> None:
    edit(
        run_folder,
        "INSERT INTO failures VALUES (1, 0, 1, NULL, 'timeout', '', '', 0, 0)",
        statement,
    )

    with (
        Checkpoint.read(run_folder) as reader,
        pytest.raises(CheckpointError, match=r"cannot be understood: .*`nanobatch verify .*run`"),
    ):
        list(getattr(reader, ask)())


async def test_a_row_nobody_can_understand_is_a_sentence_for_a_run(run_folder: Path) -> None:
    edit(
        run_folder,
        "UPDATE jobs SET status = 'happy'",
        "INSERT INTO calls VALUES (40, 1, 'chat', 0, 5, 1)",
    )

    async with Checkpoint.open(run_folder) as checkpoint:
        with pytest.raises(CheckpointError, match="cannot be understood: 'happy'"):
            Story(checkpoint.store).take(job("job 0"), run=9)
    abandon(run_folder)
    with pytest.raises(CheckpointError, match="cannot be understood: 'chat'"):
        async with Checkpoint.open(run_folder):
            pass


def test_a_database_another_program_holds_is_a_sentence(tmp_path: Path) -> None:
    writer = Writer(connect_writing(tmp_path), tmp_path)
    writer.commit_now(lambda db: None)
    writer._connection.execute("PRAGMA busy_timeout = 1")
    other = connect_writing(tmp_path)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(CheckpointError, match="another program holds the database: close it"):
        writer.commit_now(lambda db: None)

    other.close()
    writer.commit_now(lambda db: None)
    writer.close()


@pytest.mark.parametrize("content", [None, b"another"], ids=["removed", "changed"])
async def test_a_file_that_is_not_the_one_that_was_paid_for_is_never_accepted(
    tmp_path: Path, content: bytes | None
) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        taken = story.take(job(), run=1)
        drawn = story.draw(taken, png(1))
        staged = tmp_path / drawn.staged
        times = staged.stat()
        staged.unlink()
        if content:
            staged.write_bytes(content.ljust(times.st_size))
            os.utime(staged, ns=(times.st_atime_ns, times.st_mtime_ns))

        with pytest.raises(CheckpointError, match=r"Everything else is safe"):
            story.accept(taken, drawn)

        assert list((tmp_path / "images").iterdir()) == []
        staged.write_bytes(png(1))  # somebody put it back
        assert story.accept(taken, drawn).read_bytes() == png(1)


@pytest.mark.parametrize("content", [None, png(2)], ids=["removed", "changed"])
async def test_a_run_buys_nothing_in_place_of_a_staged_file_somebody_took(
    tmp_path: Path, content: bytes | None
) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        staged = tmp_path / story.draw(story.take(job(), run=0), png(1)).staged
    staged.unlink()
    if content:
        staged.write_bytes(content)

    async with simulator() as server:
        with pytest.raises(CheckpointError, match=r"1-00\.png .* since it was paid for"):
            await pipeline_on(server, tmp_path).run([job()])
        refused = server.bill.requests
        assert Checkpoint.repair(tmp_path, forget_missing=True).is_clean
        result = await pipeline_on(server, tmp_path).run([job()])
        spent = result.spend.confirmed_usd

        assert refused == 0
        assert server.bill.requests == 1
        assert [image.job_id for image in result.images] == ["fox"]
        assert spent == server.bill.usd + sum(line.usd for line in _before(tmp_path))


def _before(folder: Path) -> list[LedgerLine]:
    with Checkpoint.read(folder) as reader:
        return [line for line in reader.ledger() if line.model_id == "painter"]


def test_an_unwritable_place_for_an_export_is_a_sentence(run_folder: Path) -> None:
    (run_folder / "folder.csv").mkdir()

    with (
        Checkpoint.read(run_folder) as reader,
        pytest.raises(CheckpointError, match=r"Cannot export to .* The checkpoint is untouched"),
    ):
        reader.export(run_folder / "folder.csv")
