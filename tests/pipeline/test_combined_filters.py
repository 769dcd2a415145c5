"""A filter inside a combination is treated as if it stood in the list itself."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from nanobatch import Candidate, Checkpoint, ConfigError, Job, JobStatus, Verdict
from nanobatch.cost import LineKind, Outcome
from nanobatch.filters import AllOf, AnyOf, NearDuplicate, Not, OnlyFor
from tests.support import candidates, pipeline_on, simulator, states

if TYPE_CHECKING:
    from pathlib import Path


class Paid:
    """Charges two cents and says that it might have been five."""

    name = "paid"
    worst_case_usd = Decimal("0.05")

    def __init__(self, *, accepted: bool = True) -> None:
        self.accepted = accepted

    def __call__(self, candidate: Candidate) -> Verdict:
        return Verdict(accepted=self.accepted, reason="no", usd=Decimal("0.02"))


def charged(folder: Path) -> list[tuple[Outcome | None, Decimal, Decimal]]:
    """Return what each judgement cost, confirmed and unknown."""
    with Checkpoint.read(folder) as checkpoint:
        lines = [line for line in checkpoint.ledger() if line.kind is LineKind.JUDGE]
        return [(line.outcome, line.usd, line.unknown_usd) for line in lines]


async def run(folder: Path, *filters: Any, job: Job | None = None, **options: Any) -> Any:
    async with simulator() as server:
        pipeline = pipeline_on(server, folder, quality=None, filters=filters, **options)
        return await pipeline.run([job or Job(id="a", prompt="a fox")])


async def test_each_paid_part_has_its_own_line_and_what_is_not_asked_is_not_paid(
    tmp_path: Path,
) -> None:
    result = await run(tmp_path, AllOf(Paid(), AnyOf(Paid(accepted=False), Paid(), Paid())))

    assert result.delivered == 1
    assert charged(tmp_path) == [(Outcome.BILLED, Decimal("0.02"), Decimal(0))] * 3


async def test_a_part_that_fails_after_a_paid_one_leaves_that_payment_confirmed(
    tmp_path: Path,
) -> None:
    def fails(candidate: Candidate) -> bool:
        raise ValueError("no idea")

    result = await run(tmp_path, AllOf(Paid(), Not(fails)))

    assert charged(tmp_path) == [(Outcome.BILLED, Decimal("0.02"), Decimal(0))]
    assert [one.message for one in result.failures] == ["Filter fails raised ValueError: no idea"]
    assert states(tmp_path) == {"staged": 1}


async def test_the_deadline_is_each_parts_own(tmp_path: Path) -> None:
    def slow(candidate: Candidate) -> bool:
        time.sleep(0.5)
        return True

    def hangs(candidate: Candidate) -> bool:
        time.sleep(30)
        return True

    fine = await run(tmp_path / "a", AllOf(slow, slow, slow), filter_timeout_seconds=1)
    late = await run(tmp_path / "b", AllOf(slow, hangs), filter_timeout_seconds=1)

    assert fine.delivered == 1
    assert late.jobs["a"].status is JobStatus.PENDING
    assert [one.message for one in late.failures] == ["Filter hangs did not answer within 1 s."]


async def test_a_rejection_is_counted_for_the_combination_with_the_parts_reason(
    tmp_path: Path,
) -> None:
    def is_fine(candidate: Candidate) -> bool:
        return candidate.slot > 1

    result = await run(tmp_path, AllOf(is_fine))

    rejected = [(one.filter_name, one.reason) for one in candidates(tmp_path) if one.reason]
    assert result.delivered == 1
    assert rejected == [("all_of(is_fine)", "rejected by is_fine")]


async def test_a_part_that_remembers_is_told_of_what_was_accepted_in_this_run_and_before(
    tmp_path: Path,
) -> None:
    class Remembers:
        name = "remembers"

        def __init__(self) -> None:
            self.told: list[tuple[str, bytes]] = []

        def __call__(self, candidate: Candidate) -> Verdict:
            return Verdict(accepted=True, memo=candidate.job.id.encode())

        def seen(self, image: Any, memo: bytes) -> None:
            self.told.append((image.job_id, memo))

    first, second = Remembers(), Remembers()
    await run(tmp_path, OnlyFor("", AnyOf(first)))
    await run(tmp_path, Not(Not(second)), job=Job(id="b", prompt="a hen"))

    assert first.told == [("a", b"a")]
    assert second.told == [("a", b"a"), ("b", b"b")]


async def test_two_parts_that_remember_need_two_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 filters named 'near_duplicate' remember"):
        await run(tmp_path, NearDuplicate(), AllOf(OnlyFor("x", NearDuplicate(distance=2))))
