"""What each filter was asked, rejected and charged."""

from __future__ import annotations

import shutil
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from nanobatch import Checkpoint, CheckpointError, Job, Verdict
from nanobatch.filters import AllOf
from tests.checkpoint.damage import edit
from tests.support import pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch import Candidate
    from nanobatch.checkpoint import FilterFigures


def figures(folder: Path) -> dict[str, FilterFigures]:
    with Checkpoint.read(folder) as checkpoint:
        return {one.name: one for one in checkpoint.filters()}


class Rejects:
    """Rejects the first so many candidates it is asked about, at a price."""

    def __init__(self, name: str, times: int, usd: str = "0") -> None:
        self.name = name
        self.left = times
        self.usd = Decimal(usd)

    @property
    def worst_case_usd(self) -> Decimal:
        return self.usd

    def __call__(self, candidate: Candidate) -> Verdict:
        self.left -= 1
        return Verdict(accepted=self.left < 0, reason="no", usd=self.usd)


class Remembers(Rejects):
    def seen(self, image: Any, memo: bytes) -> None:
        """Learn nothing."""


async def run(folder: Path, *filters: Any, want: int = 3, job_id: str = "a") -> None:
    async with simulator() as server:
        pipeline = pipeline_on(server, folder, quality=None, filters=filters, concurrency=1)
        result = await pipeline.run([Job(id=job_id, prompt="a fox", want=want)])
    assert result.delivered == want


async def test_each_filter_is_asked_what_those_before_it_let_pass(tmp_path: Path) -> None:
    # Six candidates: one rejected by each of the three, three accepted. The one that remembers
    # stands first in the list and is asked last.
    filters = [Remembers("last", 1), Rejects("first", 1), Rejects("second", 1, usd="0.02")]

    await run(tmp_path, *filters)

    found = figures(tmp_path)
    assert list(found) == ["first", "second", "last"]
    assert [(one.asked, one.rejected) for one in found.values()] == [(6, 1), (5, 1), (4, 1)]
    assert found["second"].usd == Decimal("0.10")
    assert found["second"].usd_per_rejection == Decimal("0.10")
    assert found["last"].reject_share == 0.25
    assert found["first"].usd == found["first"].unknown_usd == 0


async def test_they_begin_anew_when_the_list_changes(tmp_path: Path) -> None:
    await run(tmp_path, Rejects("old", 2), want=1)
    await run(tmp_path, Rejects("new", 1), want=2, job_id="b")

    assert [(one.name, one.asked, one.rejected) for one in figures(tmp_path).values()] == [
        ("new", 3, 1)
    ]


async def test_those_of_finishes_begin_anew_by_themselves(tmp_path: Path) -> None:
    async def finish(job_id: str, of_finishes: Rejects) -> None:
        async with simulator() as server:
            pipeline = pipeline_on(
                server,
                tmp_path,
                route="finish",
                filters=[Rejects("draft", 0)],
                finish_filters=[of_finishes],
                concurrency=1,
            )
            await pipeline.run([Job(id=job_id, prompt="a fox")])

    await finish("a", Rejects("old", 1, usd="0.02"))
    await finish("b", Rejects("new", 0, usd="0.01"))

    found = [(one.name, one.asked, one.rejected, one.usd) for one in figures(tmp_path).values()]
    assert found == [("draft", 3, 0, Decimal(0)), ("new", 1, 0, Decimal("0.01"))]


async def test_a_paid_part_of_a_combination_shows_its_price(tmp_path: Path) -> None:
    await run(tmp_path, AllOf(Rejects("free", 1), Rejects("paid", 0, usd="0.02")), want=2)

    found = figures(tmp_path)
    assert [(one.name, one.asked, one.rejected, one.usd) for one in found.values()] == [
        ("all_of(free, paid)", 3, 1, Decimal(0)),
        ("paid", 2, 0, Decimal("0.04")),
    ]


async def test_a_filter_that_rejects_nothing_has_no_price_per_rejection(tmp_path: Path) -> None:
    await run(tmp_path, Rejects("paid", 0, usd="0.02"), want=1)

    assert figures(tmp_path)["paid"].usd_per_rejection is None


async def test_a_checkpoint_without_a_run_has_no_figures(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        assert checkpoint.filters() == ()


@pytest.mark.parametrize("times", [1, 2])
async def test_a_second_run_with_the_same_list_adds_up(times: int, tmp_path: Path) -> None:
    for number in range(times):
        await run(tmp_path, Rejects("same", 1), want=1, job_id=str(number))

    assert figures(tmp_path)["same"].asked == 2 * times


async def test_an_edited_row_ends_in_a_sentence(tmp_path: Path) -> None:
    await run(tmp_path, Rejects("edited", 1), want=1)
    edit(tmp_path, "UPDATE meta SET value = '[[' WHERE key = 'filter_names'")

    with pytest.raises(CheckpointError, match="cannot be understood"):
        figures(tmp_path)
    with Checkpoint.read(tmp_path) as checkpoint:
        [fault] = checkpoint.verify().faults
    assert "filter_names makes no sense" in fault


@pytest.mark.parametrize("key", ["filter_names", "judged_since", "finishes_judged_since"])
@pytest.mark.parametrize(
    "value", ["[[", "7", "null", '"[]"', "[[1], []]", '[["a"]]', "{}", '{"slot": "x"}', "[" * 9999]
)
async def test_what_the_figures_rest_on_is_verified_repaired_and_never_a_traceback(
    key: str, value: str, tmp_path: Path
) -> None:
    await run(tmp_path, Rejects("edited", 1), want=1)
    edit(tmp_path, f"UPDATE meta SET value = '{value}' WHERE key = '{key}'")  # noqa: S608 - ours

    with Checkpoint.read(tmp_path) as checkpoint:
        faults = checkpoint.verify().faults
    copy = tmp_path.with_name(f"{tmp_path.name} copied")
    shutil.copytree(tmp_path, copy)
    repaired = Checkpoint.repair(tmp_path)
    await run(copy, Rejects("edited", 0), want=2)  # a run writes it anew too

    assert len(faults) == 1
    assert key in faults[0]
    assert repaired.done == (f"Put right: {faults[0]}",)
    assert repaired.is_clean
    with Checkpoint.read(copy) as checkpoint:
        assert checkpoint.verify().is_clean
    assert list(figures(copy)) == ["edited"]
