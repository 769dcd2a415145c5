"""What the database adds up is what the lines add up to, to the nano-dollar."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from nanobatch.checkpoint import Checkpoint
from nanobatch.checkpoint.changes import Settlement, settle
from nanobatch.cost import LedgerTotals, LineKind, Outcome, Stage
from nanobatch.models import Tier
from tests.checkpoint.story import PRICE, Story, job

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.checkpoint import CheckpointReader

pytestmark = pytest.mark.anyio

TIERS = (None, Tier.LITE, Tier.QUALITY)
DEAR = 5_000_000_000
"""5 USD in one call: its square does not fit 64 bits."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def assert_equal_everywhere(reader: CheckpointReader) -> None:
    for tier in TIERS:
        for tag in (None, *reader.tags(), "no such tag"):
            lines = LedgerTotals.of(reader.ledger_at(reader.moment(), tier=tier, tag=tag))
            model = reader.cost_model(tier=tier, tag=tag)
            assert model._totals == lines, (tier, tag)
        for stage in Stage:
            of_stage = [
                line for line in reader.ledger_at(reader.moment(), tier=tier) if line.stage is stage
            ]
            model = reader.cost_model(tier=tier, stage=stage)
            assert model._totals == LedgerTotals.of(of_stage), (tier, stage)


def test_everything_there_is_adds_up(run_folder: Path) -> None:
    with Checkpoint.read(run_folder) as reader:
        assert_equal_everywhere(reader)


@pytest.mark.parametrize("price", [PRICE, DEAR])
async def test_money_of_every_kind_adds_up(tmp_path: Path, price: int) -> None:
    async with Checkpoint.open(tmp_path) as checkpoint:
        assert_equal_everywhere(checkpoint)
        story = Story(checkpoint.store)
        fox = story.take(job("fox", want=3, tag="animals"), run=1)
        owl = story.take(job("owl", tag="birds"), run=1)
        drawn = story.draw(fox)
        story.accept(fox, drawn)
        _, judged = story.begin_judging(drawn.slot)
        judgement = Settlement(
            call=judged,
            slot=drawn.slot,
            job=fox.number,
            kind=LineKind.JUDGE,
            outcome=Outcome.BILLED,
            usd_nano=1_234,
        )
        story.write(lambda db: settle(db, judgement))
        slot, call = story.begin(fox)
        story.settle(fox, slot, call, usd_nano=price)
        slot, call = story.begin(fox, slot=slot)  # regenerated, and nobody knows what it cost
        story.settle(fox, slot, call, usd_nano=0, unknown_nano=120_000_000)
        lost, dropped = story.begin(owl)
        story.settle(
            owl, lost, dropped, outcome=Outcome.UNKNOWN, usd_nano=0, unknown_nano=120_000_000
        )
        story.begin(owl, stage=Stage.FINISH, kind=LineKind.CALL)  # still in flight
        assert_equal_everywhere(checkpoint)

        checkpoint.settle(call, "0.05", "seen on the bill")
        checkpoint.settle(dropped, 0, "not on the bill")
        assert_equal_everywhere(checkpoint)
        everything = checkpoint.cost_model()

    assert (everything.slots, everything.calls, everything.accepted) == (2, 3, 1)
    # 0.0336 for the fox and 0.000001234 for its judgement, the price and 0.05 for the other slot
    assert everything.spend_usd == Decimal("0.083601234") + Decimal(price).scaleb(-9)
