"""Whatever page of the database is destroyed: images stay, and no money is forgotten.

`NANOBATCH_FAULTS=all` destroys every page in three ways, and kills the repair at every step.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING

import anyio
import pytest

from nanobatch.checkpoint import Checkpoint, JobStatus
from nanobatch.errors import CheckpointError
from tests.checkpoint.children import KILLED, run
from tests.checkpoint.damage import PAGE, digests, edit, overwrite, pages, rows
from tests.checkpoint.faults import STRIDE, Fault, inject
from tests.checkpoint.story import Story, job

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.checkpoint import RepairReport
    from tests.checkpoint.damage import Copies

NOISE = random.Random(5).randbytes(PAGE)
ALL = (b"\0", b"\xff", NOISE)
CONTENTS = ALL if STRIDE == 1 else (NOISE,)


def _page_of(root: Path, table: str) -> int:
    query = "SELECT name, rootpage FROM sqlite_master"
    [page] = [page for name, page in rows(root, query) if name == table]
    assert isinstance(page, int)
    return page


def _check(root: Path, copies: Copies, report: RepairReport) -> None:
    assert report.after.faults == ()
    with Checkpoint.read(root) as reader:
        assert reader.spend.worst_case_usd >= copies.written.worst_case_usd
        accepted = {image.sha256 for image in reader.images()}
    assert accepted == copies.written.accepted
    assert copies.written.images <= set(digests(root))


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: content[:2].hex())
def test_any_page_may_be_destroyed(three_jobs: Copies, folder: Path, content: bytes) -> None:
    count = pages(three_jobs.original)
    for page in range(1, count + 1):
        root = three_jobs.to(folder / f"{page}")
        overwrite(root, page, content)

        report = Checkpoint.repair(root)

        _check(root, three_jobs, report)
        assert report.done[0].endswith("the damaged one is kept as ledger.sqlite.damaged-1.")
        assert (root / "ledger.sqlite.damaged-1").stat().st_size == count * PAGE
        assert Checkpoint.repair(root).done == ()
        shutil.rmtree(root)
    assert count == 34  # a change of the tables changes it, and what `graft` relies on


async def test_a_run_goes_on_after_a_salvage(three_jobs: Copies, folder: Path) -> None:
    root = three_jobs.to(folder / "run")
    overwrite(root, _page_of(root, "ledger"), b"\0")
    Checkpoint.repair(root)

    async with Checkpoint.open(root) as checkpoint:
        before = checkpoint.spend.worst_case_usd
        story = Story(checkpoint.store)
        taken = story.take(job("job 1", want=5, prompt="a fox " * 20), run=9)
        assert (taken.status, taken.delivered, len(taken.leftovers)) == (JobStatus.PENDING, 3, 1)
        story.accept(taken, story.draw(taken))

        assert checkpoint.verify().is_clean
        assert checkpoint.spend.worst_case_usd == before + Decimal("0.0336")


def test_a_lost_ledger_counts_every_call_at_its_worst_case(
    three_jobs: Copies, folder: Path
) -> None:
    root = three_jobs.to(folder / "run")
    overwrite(root, _page_of(root, "ledger"), b"\0")

    Checkpoint.repair(root)

    with Checkpoint.read(root) as reader:
        # 11 calls a job, and the line of its settlement by hand, which nothing else speaks of.
        assert reader.spend.unknown_usd == 3 * 12 * Decimal("0.12")
        assert reader.spend.confirmed_usd == 0
        model = reader.cost_model()
        assert (model.accepted, model.wanted) == (9, 9)
        # Of the calls, 7 a job gave an image; of the others nobody can say whether they did.
        assert model.calls == 21


def test_rows_on_both_sides_of_a_destroyed_page_are_brought_over(folder: Path) -> None:
    anyio.run(_take_many, folder)
    [(page,)] = (
        rows(
            folder,
            "SELECT pageno FROM dbstat WHERE name = 'jobs' AND pagetype = 'leaf' "
            "ORDER BY path LIMIT 1 OFFSET 4",
        )
        if _has_dbstat()
        else [(None,)]
    )
    if page is None:
        pytest.skip("this SQLite cannot say which page is whose")
    assert isinstance(page, int)
    overwrite(folder, page, b"\0")

    report = Checkpoint.repair(folder)

    assert report.is_clean
    with Checkpoint.read(folder) as reader:
        ids = [one.id for one in reader.jobs()]
    lost = [one for one in ids if one.startswith("lost-job-")]
    assert len(ids) == 200
    assert 3 <= len(lost) <= 10  # a row of 500 bytes and more: that many are on a page
    assert ids[0] == "j0"
    assert ids[-1] == "j199"


def _has_dbstat() -> bool:
    with closing(sqlite3.connect(":memory:")) as db:
        try:
            db.execute("SELECT 1 FROM dbstat")
        except sqlite3.OperationalError:
            return False
    return True


async def _take_many(folder: Path) -> None:
    async with Checkpoint.open(folder) as checkpoint:
        story = Story(checkpoint.store)
        for number in range(200):
            story.take(job(f"j{number}", prompt="x" * 500), run=1)


def test_what_is_no_database_at_all_is_left_as_it_is(one_job: Copies, folder: Path) -> None:
    root = one_job.to(folder / "run")
    (root / "ledger.sqlite").write_bytes(b"a diary, not a database" * 5000)
    before = (root / "ledger.sqlite").read_bytes()

    with pytest.raises(CheckpointError, match=r"Not one row .* Nothing was changed"):
        Checkpoint.repair(root)

    assert (root / "ledger.sqlite").read_bytes() == before
    assert {path.name for path in root.glob("ledger.sqlite.*")} == set()
    assert one_job.written.images <= set(digests(root))


def test_a_table_that_somebody_dropped_is_there_again(one_job: Copies, folder: Path) -> None:
    root = one_job.to(folder / "run")
    edit(root, "PRAGMA foreign_keys = OFF", "DROP TABLE images")

    report = Checkpoint.repair(root)

    _check(root, one_job, report)


def test_a_repair_that_is_killed_at_any_step_can_be_done_again(
    one_job: Copies, folder: Path
) -> None:
    """The most a repair can have to do: salvage, adopt, restore and sweep."""
    broken = one_job.to(folder / "broken")
    overwrite(broken, _page_of(broken, "images"), b"\0")
    (broken / "images" / "job 0-1.png").rename(broken / "images" / "renamed.png")
    (broken / "staging" / "holiday.png").write_bytes(b"not ours")
    point, code, kills = 1 - STRIDE, KILLED, 0
    while code == KILLED:
        point += STRIDE
        root = folder / f"{point}"
        shutil.copytree(broken, root)

        def be_killed(root: Path = root, point: int = point) -> None:
            inject(Fault.KILL, at=point, root=root)
            Checkpoint.repair(root)

        code = run(be_killed)
        kills += code == KILLED
        _check(root, one_job, Checkpoint.repair(root))
        assert (root / "ledger.sqlite.damaged-1").is_file()
        assert (root / "lost+found" / "holiday.png").read_bytes() == b"not ours"
        shutil.rmtree(root)

    assert code == 0
    assert kills >= 6
