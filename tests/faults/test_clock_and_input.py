"""Clocks that lie, dates that are none, and an input that is another one than last time."""

from __future__ import annotations

import time
from datetime import date
from typing import TYPE_CHECKING

import pytest

from nanobatch import Checkpoint, Ended, Job, ModelRegistry, RegistryError, Route
from tests.support import LITE, pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path

HOUR_NS = 3600 * 10**9


@pytest.mark.fault("C2")
async def test_a_wall_clock_that_jumps_changes_neither_order_nor_money(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = time.time_ns, 0
    far = int(1.5 * 10**18) * 2  # in the year 2065

    def jumping() -> int:
        nonlocal asked
        asked += 1
        return (real() - HOUR_NS, 0, far, real() + HOUR_NS)[asked % 4]

    monkeypatch.setattr(time, "time_ns", jumping)
    jobs = [Job(id=f"j{n}", prompt=f"dune {n}", want=2, route=Route.LITE) for n in range(4)]
    async with simulator(accept_rate=0.7) as server:
        result = await pipeline_on(server, tmp_path).run(jobs)

    assert asked > 20
    assert result.ended is Ended.COMPLETE
    assert result.delivered == 8
    assert result.spend.confirmed_usd == server.bill.usd
    with Checkpoint.read(tmp_path) as checkpoint:
        lines = list(checkpoint.ledger())
        assert [line.number for line in lines] == sorted(line.number for line in lines)
        assert {line.at.year for line in lines} >= {1970, 2065}
        assert checkpoint.verify().is_clean


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("2027-06-30", date(2027, 6, 30)),
        ('"2027-06-30"', date(2027, 6, 30)),
        ("2028-02-29", date(2028, 2, 29)),
        ("9999-12-31", date(9999, 12, 31)),
        ("1969-12-31", date(1969, 12, 31)),
    ],
)
@pytest.mark.fault("C3", "C5")
def test_a_retirement_is_a_day_of_the_calendar(tmp_path: Path, written: str, day: date) -> None:
    assert load(tmp_path, written)[LITE].retires == day


@pytest.mark.parametrize(
    "written",
    [
        "2027-06-30T00:00:00",  # a moment without a time zone is no day
        "2027-06-30T00:00:00Z",
        "2027-02-29",
        '"10000-01-01"',
        '"soon"',
    ],
)
@pytest.mark.fault("C3", "C5")
def test_what_is_no_day_is_refused_before_anything_runs(tmp_path: Path, written: str) -> None:
    with pytest.raises(RegistryError, match=r"nanobatch\.toml"):
        load(tmp_path, written)


def load(folder: Path, retires: str) -> ModelRegistry:
    file = folder / "nanobatch.toml"
    file.write_text(f'[models."{LITE}"]\nretires = {retires}\n')
    return ModelRegistry.load(file)


@pytest.mark.fault("F9")
async def test_jobs_that_go_come_or_change_places_are_taken_as_they_are(tmp_path: Path) -> None:
    def job(name: str) -> Job:
        return Job(id=name, prompt=f"a {name}", route=Route.LITE)

    async with simulator() as server:
        first = await pipeline_on(server, tmp_path).run([job("fox"), job("owl"), job("elk")])
        second = await pipeline_on(server, tmp_path).run([job("elk"), job("new"), job("fox")])

    assert server.bill.requests == 4
    assert first.delivered == second.delivered == 3
    assert sorted(second.jobs) == ["elk", "fox", "new"]
    assert second.spend.confirmed_usd == server.bill.usd
    with Checkpoint.read(tmp_path) as checkpoint:
        assert {image.job_id for image in checkpoint.images()} == {"fox", "owl", "elk", "new"}
