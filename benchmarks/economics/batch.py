"""What an accepted image costs by the batch service, against the cheapest possible and at once."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import anyio

from nanobatch import BatchOptions, Budget, Gemini, Job, StopRule, TwoTierPipeline
from nanobatch.simulator import Simulator, batch

ACCEPT_RATE = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The simulator's bill for one batch of jobs."""

    images: int
    """Accepted images."""
    requests: int
    usd: Decimal
    usd_per_call: Decimal
    """Of a call by batch, or at once."""


async def outcome(jobs: int, *, options: BatchOptions | None, seed: int) -> Outcome:
    """Run jobs that want one to four images each and return what the simulator charged.

    Args:
        jobs: How many, >= 1.
        options: Rounds and top-up; `None`: everything is drawn at once.
        seed: The simulator's.
    """
    quick = batch.Settings(schedule=batch.Polls(pending=0, running=1))
    wanted = [Job(id=f"job-{n}", prompt=f"dune number {n}", want=1 + n % 4) for n in range(jobs)]
    async with Simulator(
        seed=seed, pixels=0.25, drawings=8, accept_rate=ACCEPT_RATE, batch=quick
    ) as server:
        with tempfile.TemporaryDirectory() as folder:
            pipeline = TwoTierPipeline(
                Gemini(api_key="simulated", base_url=server.base_url),
                checkpoint=Path(folder),
                budget=Budget.unlimited(),
                concurrency=32,
                stop=StopRule(30),  # no prompt is hopeless here
                batch=options,
            )
            result = await pipeline.run(wanted)
        if result.spend.confirmed_usd != server.bill.usd or result.spend.unknown_usd:
            raise AssertionError(f"The ledger says {result.spend}, the bill {server.bill.usd}.")
        if result.delivered != result.wanted:
            raise AssertionError(f"{result.delivered} of {result.wanted} images were delivered.")
        lines = [line for line in server.bill.lines if bool(line.batch) == (options is not None)]
        return Outcome(
            images=result.delivered,
            requests=server.bill.requests,
            usd=server.bill.usd,
            usd_per_call=Decimal(sum(line.nano_usd for line in lines)) / len(lines) / 10**9,
        )


async def compare(jobs: int, seed: int) -> None:
    """Print both modes side by side."""
    at_once = await outcome(jobs, options=None, seed=seed)
    print(f"{jobs} jobs, wants of 1 to 4, accept rate {ACCEPT_RATE}, seed {seed}")
    print(f"{'mode':<26}{'calls':>7}{'USD':>10}{'x floor':>9}{'saved':>8}")
    rows = {"at once": at_once}
    for rounds in (1, 2, 3):
        options = BatchOptions(rounds=rounds, poll_seconds=0.05)
        rows[f"{rounds} rounds and top-up"] = await outcome(jobs, options=options, seed=seed)
    floor = rows["2 rounds and top-up"].usd_per_call
    for name, row in rows.items():
        ratio = row.usd / row.images / floor
        saved = 1 - row.usd / at_once.usd
        print(f"{name:<26}{row.requests:>7}{row.usd:>10.4f}{ratio:>9.3f}{saved:>8.1%}")
    print(f"floor: one batch call per accepted image, {floor:.5f} USD")


def main() -> None:
    """Read the arguments and compare."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="200 jobs instead of 1,000")
    arguments.add_argument("--seed", type=int, default=1)
    chosen = arguments.parse_args()
    anyio.run(compare, 200 if chosen.quick else 1_000, chosen.seed)


if __name__ == "__main__":
    main()
