"""Who may open a checkpoint, and what is said to everybody else."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from nanobatch.checkpoint import Checkpoint
from nanobatch.errors import CheckpointError, CheckpointLockedError
from tests.checkpoint.children import KILLED, SIGKILL, run
from tests.checkpoint.story import Story, job

HOLDER = """
import sys, anyio
from nanobatch.checkpoint import Checkpoint
async def hold():
    async with Checkpoint.open(sys.argv[1]):
        print("held", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)
anyio.run(hold)
"""


def _hold(folder: Path) -> subprocess.Popen[str]:
    source = str(Path(__file__).parents[2] / "src")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        env={**os.environ, "PYTHONPATH": source},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


async def test_a_new_folder_is_created_with_its_parents_and_is_empty(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path / "runs" / "new") as checkpoint:
        assert list(checkpoint.images()) == []
        assert list(checkpoint.jobs()) == []
        assert list(checkpoint.ledger()) == []
        assert checkpoint.spend.worst_case_usd == 0
        assert checkpoint.verify().is_clean

    names = {path.name for path in (tmp_path / "runs" / "new").iterdir()}
    assert {"ledger.sqlite", "images", "staging"} <= names


async def test_a_second_writer_is_refused_and_told_who_has_it_and_a_killed_one_frees_it(
    tmp_path: Path,
) -> None:
    with _hold(tmp_path) as holder:
        with pytest.raises(CheckpointLockedError, match=f"process {holder.pid}") as refused:
            async with Checkpoint.open(tmp_path):
                pass
        with Checkpoint.read(tmp_path) as reader:
            assert list(reader.images()) == []

        holder.send_signal(signal.SIGKILL)
        holder.wait()

    assert refused.value.pid == holder.pid
    async with Checkpoint.open(tmp_path) as checkpoint:
        assert checkpoint.verify().is_clean


async def test_a_second_writer_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path):
        with pytest.raises(CheckpointLockedError, match="this same process") as refused:
            async with Checkpoint.open(tmp_path):
                pass

    assert refused.value.pid == os.getpid()
    async with Checkpoint.open(tmp_path) as checkpoint:
        assert checkpoint.spend.worst_case_usd == 0


async def test_a_checkpoint_that_failed_to_open_is_not_locked(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_text("a diary, not a database" * 100)

    for _ in range(2):
        with pytest.raises(CheckpointError, match="cannot be used: file is not a database"):
            async with Checkpoint.open(tmp_path):
                pass


async def test_what_is_written_is_read_at_once_by_others(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        with Checkpoint.read(tmp_path) as reader:
            story = Story(checkpoint.store)
            taken = story.take(job(), run=1)
            before = len(list(reader.images()))
            path = story.accept(taken, story.draw(taken))
            after = [image.path for image in reader.images()]

    assert before == 0
    assert after == [path]


async def test_reading_goes_on_while_a_run_commits_and_holds_nobody_up(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        taken = story.take(job(want=9), run=1)
        story.accept(taken, story.draw(taken))
        story.accept(taken, story.draw(taken))
        with Checkpoint.read(tmp_path) as reader:
            images = reader.images()
            first = next(images)
            story.accept(taken, story.draw(taken))  # in the middle of an iteration
            rest = list(images)
            now = list(reader.images())

    assert first.number == 1
    assert [image.number for image in rest] == [2]  # the page was read before
    assert [image.number for image in now] == [1, 2, 3]


def test_reading_where_nothing_is_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"No checkpoint in .*nowhere: there is no ledger"):
        Checkpoint.read(tmp_path / "nowhere")

    assert not (tmp_path / "nowhere").exists()


def test_reading_an_empty_ledger_says_so(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").touch()

    with pytest.raises(CheckpointError, match=r"No checkpoint in .*ledger\.sqlite is empty"):
        Checkpoint.read(tmp_path)


async def test_the_database_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as foreign:
        foreign.execute("PRAGMA journal_mode = WAL")
        foreign.execute("CREATE TABLE books (title TEXT)")
    before = (tmp_path / "ledger.sqlite").read_bytes()

    with pytest.raises(CheckpointError, match="the database of another program"):
        async with Checkpoint.open(tmp_path):
            pass
    with pytest.raises(CheckpointError, match="the database of another program"):
        Checkpoint.read(tmp_path)

    assert (tmp_path / "ledger.sqlite").read_bytes() == before


async def test_a_newer_layout_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        db.execute("PRAGMA user_version = 9")
    before = (tmp_path / "ledger.sqlite").read_bytes()

    with pytest.raises(CheckpointError, match="has layout 9; this nanobatch reads layout 2"):
        async with Checkpoint.open(tmp_path):
            pass
    with pytest.raises(CheckpointError, match="has layout 9"):
        Checkpoint.read(tmp_path)

    assert (tmp_path / "ledger.sqlite").read_bytes() == before


async def test_images_without_their_ledger_are_refused_and_not_taken_for_strangers(
    tmp_path: Path,
) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        taken = story.take(job(), run=1)
        path = story.accept(taken, story.draw(taken))
    (tmp_path / "ledger.sqlite").unlink()

    with pytest.raises(CheckpointError, match=r"holds images, but its ledger\.sqlite is missing"):
        async with Checkpoint.open(tmp_path):
            pass

    assert path.is_file()


async def test_a_damaged_ledger_is_a_sentence_and_no_new_start(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        story = Story(checkpoint.store)
        for number in range(40):
            story.take(job(f"j{number}", prompt="x" * 500), run=1)
    database = tmp_path / "ledger.sqlite"
    size = database.stat().st_size
    with closing(sqlite3.connect(database)) as db:
        db.execute("UPDATE meta SET value = '0' WHERE key = 'is_clean'")
        db.commit()
    with database.open("r+b") as file:
        file.seek(size - 4096)
        file.write(b"\xff" * 4096)

    with pytest.raises(CheckpointError, match=r"damaged|malformed"):
        async with Checkpoint.open(tmp_path):
            pass

    assert database.stat().st_size == size


def test_a_read_only_medium_is_a_sentence_for_readers_and_writers() -> None:
    folder = Path(tempfile.mkdtemp())  # not `tmp_path`: others may not even look into that
    said: list[int] = []
    try:
        anyio.run(_open_and_close, folder)
        for path in (*folder.iterdir(), folder):
            path.chmod(0o555 if path.is_dir() else 0o444)
        said = [run(lambda: _as_nobody(_read, folder)), run(lambda: _as_nobody(_write, folder))]
    finally:
        for path in (folder, *folder.iterdir()):
            path.chmod(0o755)
        shutil.rmtree(folder)

    assert said == [0, 0]


async def _open_and_close(folder: Path) -> None:
    async with Checkpoint.open(folder):
        pass


def _as_nobody(try_it: object, folder: Path) -> None:
    if os.getuid() == 0:  # root may write anywhere
        os.setuid(65534)
    assert callable(try_it)
    try_it(folder)


def _read(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="copy the folder and read the copy"):
        Checkpoint.read(folder)


def _write(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be locked"):
        anyio.run(_open_and_close, folder)


async def test_a_closed_checkpoint_says_so_whatever_is_asked(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        pass
    with Checkpoint.read(tmp_path) as reader:
        pass

    for closed in (checkpoint, reader):
        for ask in (
            lambda one: list(one.images()),
            lambda one: list(one.failures()),
            lambda one: list(one.candidates()),
            lambda one: list(one.jobs()),
            lambda one: list(one.ledger()),
            lambda one: one.cost_model(),
            lambda one: one.spend,
            lambda one: one.verify(),
            lambda one: one.job("fox"),
            lambda one: one.export(tmp_path / "manifest.csv"),
        ):
            with pytest.raises(CheckpointError, match="is closed: use it inside"):
                ask(closed)
    with pytest.raises(CheckpointError, match="is closed: use it inside"):
        checkpoint.settle(1, 0, "not billed")
    with pytest.raises(CheckpointError, match="is closed: use it inside"):
        await checkpoint.store.new_run()
    assert not (tmp_path / "manifest.csv.part").exists()


async def test_a_reader_rolls_back_what_a_killed_writer_left_half_done(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        Story(checkpoint.store).take(job(tag="before"), run=1)

    def be_killed_in_a_transaction() -> None:
        db = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
        db.execute("PRAGMA journal_mode = TRUNCATE")
        db.execute("PRAGMA cache_size = 1")  # so that it writes to the file before it commits
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE jobs SET tag = 'half'")
        for number in range(50):
            db.execute("INSERT INTO meta VALUES (?, ?)", (f"k{number}", "x" * 3000))
        os.kill(os.getpid(), SIGKILL)

    assert run(be_killed_in_a_transaction) == KILLED
    assert (tmp_path / "ledger.sqlite-journal").stat().st_size > 0

    with Checkpoint.read(tmp_path) as reader:
        assert reader.verify().is_clean
        kept = reader.job("fox")
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        assert db.execute("SELECT tag FROM jobs").fetchall() == [("before",)]
    assert kept is not None


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_it_works_on_trio(tmp_path: Path, anyio_backend: str) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        run_number = await checkpoint.store.new_run()

    assert run_number == 1
