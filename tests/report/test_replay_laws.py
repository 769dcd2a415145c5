"""Laws of a replay, on batches with everything in them and many slots at once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, ClassVar

import pytest

from nanobatch import Candidate, Checkpoint, Job, Route, StopRule, Tier, Verdict
from nanobatch.report import replay, reprice
from nanobatch.simulator import answers
from tests.report.batches import batch, is_clean

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.simulator import Answer, Call


@dataclass(frozen=True)
class Lottery:
    """Accepts images by their bytes: the same image always, and about a share of all."""

    share: float
    salt: str = ""
    name: ClassVar[str] = "lottery"

    def __call__(self, candidate: Candidate) -> Verdict:
        digest = hashlib.sha256(self.salt.encode() + candidate.sha256.encode()).digest()
        drawn = digest[0] / 256
        if drawn < self.share:
            return Verdict.accept(score=1 - drawn)
        return Verdict.reject("no luck", score=0.0)


def anything(call: Call) -> Answer | None:
    """Answer with what a model may answer with."""
    return Random(f"{call.prompt} {call.model} {call.nth}").choice(
        [None, None, None, answers.several_images(2), answers.truncated_image(), answers.no_image()]
    )


async def mixed(folder: Path, seed: int, chosen: Lottery) -> None:
    random = Random(seed)
    jobs = [
        Job(
            id=f"{n}",
            prompt=f"a fox {seed} {n}",
            route=random.choice(list(Route)),
            want=random.randint(1, 3),
            best_of=random.choice([1, 1, 2, 3]),
            tag=random.choice("abc"),
        )
        for n in range(12)
    ]
    await batch(
        folder,
        jobs,
        filters=[chosen],
        concurrency=8,
        stop=StopRule(2),
        finish_fallback=bool(seed % 2),
        settings={"answer": anything},
    )


@pytest.mark.parametrize("seed", range(4))
async def test_the_same_filters_change_nothing_whatever_the_batch(
    tmp_path: Path, seed: int
) -> None:
    await mixed(tmp_path, seed, Lottery(0.5))

    outcome = await replay(tmp_path, filters=[Lottery(0.5)])

    with Checkpoint.read(tmp_path) as checkpoint:
        assert outcome.after == outcome.before == checkpoint.cost_model()
    for part in (*outcome.by_tag.values(), *outcome.by_tier.values()):
        assert part.before == part.after == part.fewest == part.most
    assert outcome.newly_passing == outcome.newly_rejected == ()
    assert outcome.rejections_before == outcome.rejections_after
    assert (outcome.undone_finishes, outcome.unfinished_drafts) == (0, 0)
    assert is_clean(tmp_path)


@pytest.mark.parametrize("seed", range(4))
async def test_money_stays_and_parts_add_up_whatever_the_filters(tmp_path: Path, seed: int) -> None:
    await mixed(tmp_path, seed, Lottery(0.5))

    for other in (Lottery(0.2), Lottery(0.9), Lottery(0.5, "other luck")):
        outcome = await replay(tmp_path, filters=[other])

        after = outcome.after
        assert after.spend_usd == outcome.before.spend_usd
        assert (after.slots, after.calls) == (outcome.before.slots, outcome.before.calls)
        assert (after.accepted or 0) <= (after.slots or 0)
        assert (after.delivered or 0) <= min(after.accepted or 0, after.wanted or 0)
        assert not after.accepted or after.total_usd(after.accepted) == after.spend_usd
        for parts in (outcome.by_tag.values(), outcome.by_tier.values()):
            assert sum(part.after.accepted or 0 for part in parts) == after.accepted
            assert sum(part.judged for part in parts) == outcome.whole.judged


async def test_a_looser_lottery_never_accepts_less(tmp_path: Path) -> None:
    await mixed(tmp_path, 1, Lottery(0.5))

    accepted = [
        (await replay(tmp_path, filters=[Lottery(share)])).after.accepted or 0
        for share in (0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)
    ]

    assert accepted[0] == 0
    assert all(fewer <= more for fewer, more in pairwise(accepted))
    assert accepted[-1] > accepted[3] > 0


async def test_what_was_not_kept_lies_within_the_bounds(tmp_path: Path) -> None:
    """Judged with every file, a batch comes to a figure the bounds without them had named."""
    await mixed(tmp_path, 2, Lottery(0.5))
    whole = await replay(tmp_path, filters=[Lottery(0.7)])
    for path in (tmp_path / "rejected").iterdir():
        path.unlink()

    partly = await replay(tmp_path, filters=[Lottery(0.7)])

    assert whole.whole.is_exact
    assert not partly.whole.is_exact
    assert (partly.fewest.accepted or 0) <= (whole.after.accepted or 0)
    assert (whole.after.accepted or 0) <= (partly.most.accepted or 0)


async def test_repricing_at_the_prices_paid_changes_nothing(tmp_path: Path) -> None:
    await mixed(tmp_path, 3, Lottery(0.5))

    outcome = reprice(tmp_path)

    assert outcome.before == outcome.after
    assert set(outcome.by_tier) == set(Tier)
