"""Group commit: whatever wants to be durable at the same moment shares one transaction."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from nanobatch.checkpoint import writer
from nanobatch.checkpoint.schema import connect_writing
from nanobatch.checkpoint.writer import Writer
from nanobatch.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Recorded:
    """A writer with the transactions its connection has seen."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.statements: list[str] = []
        connection = connect_writing(root)
        connection.set_trace_callback(self.statements.append)
        self.writer = Writer(connection, root)

    def count(self, statement: str) -> int:
        return sum(one == statement for one in self.statements)

    def durable_keys(self) -> list[str]:
        """Read what is durable, as another process would."""
        with closing(sqlite3.connect(self.root / "ledger.sqlite")) as db:
            return [row[0] for row in db.execute("SELECT key FROM meta ORDER BY key")]


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Recorded]:
    recorded = Recorded(tmp_path)
    yield recorded
    recorded.writer.close()


def _put(key: str) -> Callable[[sqlite3.Connection], str]:
    def change(db: sqlite3.Connection) -> str:
        db.execute("INSERT INTO meta VALUES (?, '')", (key,))
        return key

    return change


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_two_hundred_at_once_are_durable_and_share_transactions(
    recorded: Recorded, anyio_backend: str
) -> None:
    names = sorted(f"k{number:03}" for number in range(200))
    results: list[str] = []
    seen_too_early: list[str] = []

    async def put(key: str) -> None:
        results.append(await recorded.writer.commit(_put(key)))
        if key not in recorded.durable_keys():
            seen_too_early.append(key)

    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(put, name)

    assert recorded.durable_keys() == names
    assert sorted(results) == names
    assert seen_too_early == []
    assert recorded.count("COMMIT") <= 4  # the first goes alone, the others wait for it together


async def test_while_nobody_is_in_a_hurry_changes_wait_for_others(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PATIENCE_SECONDS", 0.5)

    async def put_three(name: str) -> None:
        for number in range(3):
            await recorded.writer.commit(_put(f"{name}{number}"))

    with recorded.writer.patient(lambda: True):
        async with anyio.create_task_group() as group:
            for name in "abcdefgh":
                await anyio.lowlevel.checkpoint()  # each comes a little later
                group.start_soon(put_three, name)

    assert len(recorded.durable_keys()) == 24
    assert recorded.count("COMMIT") <= 5  # the first goes alone


async def test_a_hurry_is_looked_for_before_each_turn(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PATIENCE_SECONDS", 3600)

    await recorded.writer.commit(_put("a"))
    with recorded.writer.patient(lambda: False):
        await recorded.writer.commit(_put("b"))
    await recorded.writer.commit(_put("c"))

    assert recorded.durable_keys() == ["a", "b", "c"]


async def test_it_is_behind_while_much_waits_in_memory(recorded: Recorded) -> None:
    goes_on = threading.Event()
    was_behind: list[bool] = []

    def wait() -> None:
        goes_on.wait(30)

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(
                partial(
                    recorded.writer.commit,
                    _put(f"k{number}"),
                    before=wait,
                    held_bytes=writer.TURN_BYTES,
                )
            )
            await anyio.wait_all_tasks_blocked()
            was_behind.append(recorded.writer.is_behind)
        goes_on.set()

    assert was_behind == [False, False, True]
    assert not recorded.writer.is_behind


@pytest.mark.parametrize("fault", ["ours", "constraint", "syntax"])
async def test_a_change_that_fails_undoes_itself_and_no_other(
    recorded: Recorded, fault: str
) -> None:
    errors: list[Exception] = []

    def fail(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO meta VALUES ('undone', '')")
        if fault == "ours":
            raise ValueError("the caller's own")
        db.execute("INSERT INTO meta VALUES ('undone', '')" if fault == "constraint" else "SELEKT")

    async def try_to_fail() -> None:
        try:
            await recorded.writer.commit(fail)
        except (ValueError, CheckpointError) as error:
            errors.append(error)

    async with anyio.create_task_group() as group:
        for name in ("a", "b"):
            group.start_soon(recorded.writer.commit, _put(name))
        group.start_soon(try_to_fail)
        for name in ("c", "d"):
            group.start_soon(recorded.writer.commit, _put(name))

    assert recorded.durable_keys() == ["a", "b", "c", "d"]
    assert [type(error) for error in errors] == [ValueError if fault == "ours" else CheckpointError]


async def test_a_transaction_sqlite_gives_up_fails_for_everybody_in_it(recorded: Recorded) -> None:
    """As on a full disk, where SQLite may roll back the whole transaction by itself."""
    outcomes: dict[str, str] = {}

    def give_up(db: sqlite3.Connection) -> None:
        db.execute("ROLLBACK")
        raise sqlite3.OperationalError("database or disk is full")

    async def note(name: str, change: Callable[[sqlite3.Connection], object]) -> None:
        try:
            await recorded.writer.commit(change)
            outcomes[name] = "durable"
        except CheckpointError as error:
            outcomes[name] = str(error)

    await note("earlier", _put("earlier"))
    async with anyio.create_task_group() as group:
        group.start_soon(note, "before", _put("before"))
        group.start_soon(note, "full", give_up)
        group.start_soon(note, "after", _put("after"))
    await note("later", _put("later"))

    assert recorded.durable_keys() == ["earlier", "later"]
    assert outcomes["earlier"] == outcomes["later"] == "durable"
    for name in ("before", "full", "after"):
        assert "could not be written: database or disk is full" in outcomes[name]
        assert "Nothing that was saved before is lost" in outcomes[name]


async def test_a_cancelled_commit_is_durable_all_the_same(recorded: Recorded) -> None:
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(recorded.writer.commit, _put(f"k{number:02}"))
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()

    assert recorded.durable_keys() == [f"k{number:02}" for number in range(20)]


async def test_a_commit_that_asyncio_cancels_by_force_is_written_with_the_next_one(
    recorded: Recorded,
) -> None:
    tasks = [asyncio.create_task(recorded.writer.commit(_put(f"k{n}"))) for n in range(5)]
    await asyncio.sleep(0)  # the first has the turn, the others wait for it
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)

    await recorded.writer.commit(_put("next"))

    assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    assert recorded.durable_keys() == ["k0", "k1", "k2", "k3", "k4", "next"]


async def test_closing_writes_what_is_still_queued(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    tasks = [asyncio.create_task(recorded.writer.commit(_put(f"k{n}"))) for n in range(3)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    recorded.writer.close()

    assert recorded.durable_keys() == ["k0", "k1", "k2"]
    with pytest.raises(CheckpointError, match="is closed"):
        await recorded.writer.commit(_put("late"))
    with pytest.raises(CheckpointError, match="is closed"):
        recorded.writer.commit_now(_put("late"))


def test_every_commit_is_synced_to_the_disk(recorded: Recorded) -> None:
    def pragma(db: sqlite3.Connection) -> tuple[object, object]:
        return (
            db.execute("PRAGMA synchronous").fetchone()[0],
            db.execute("PRAGMA journal_mode").fetchone()[0],
        )

    assert recorded.writer.commit_now(pragma) == (2, "truncate")  # 2 is FULL


def test_a_key_in_use_elsewhere_is_waited_for_and_then_a_sentence(
    recorded: Recorded, tmp_path: Path
) -> None:
    recorded.writer.commit_now(lambda db: None)
    recorded.writer._connection.execute("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(CheckpointError, match="database is locked"):
            recorded.writer.commit_now(_put("a"))

        other.execute("ROLLBACK")
    recorded.writer.commit_now(_put("b"))
    assert recorded.durable_keys() == ["b"]
