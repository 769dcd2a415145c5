"""Half the price: the same jobs through the Batch API, left in the evening, collected later.

Run it with `python examples/batch_jobs.py [out-folder]`; it uses the simulator.
"""

import sys
import tempfile
from pathlib import Path

import anyio

from nanobatch import (
    BatchJobChanged,
    BatchOptions,
    Budget,
    Checkpoint,
    Gemini,
    Job,
    TwoTierPipeline,
)
from nanobatch.simulator import Simulator

JOBS = [Job(id=f"dune-{n}", prompt=f"Dunes at dusk, view {n}", want=1 + n % 2) for n in range(12)]


def pipeline(simulator: Simulator, folder: Path, wait: float | None = None) -> TwoTierPipeline:
    """Return the pipeline; two rounds of batch jobs, and what is missing is drawn at once."""
    return TwoTierPipeline(
        Gemini(api_key="simulated", base_url=simulator.base_url),  # the real API: Gemini()
        checkpoint=folder,
        budget=Budget(usd="5.00"),
        batch=BatchOptions(poll_seconds=0.5, max_wait_seconds=wait),  # real jobs take hours
    )


def tell(event: object) -> None:
    """Print what becomes of the batch jobs."""
    if isinstance(event, BatchJobChanged):
        print(f"  {event.state}: {event.slots} slots wait")


async def main(folder: Path) -> None:
    """Order, leave, come back, and say what it cost."""
    async with Simulator(seed=4, accept_rate=0.7) as simulator:
        print(pipeline(simulator, folder).forecast(JOBS))

        left = await pipeline(simulator, folder, wait=0).run(JOBS, tell)
        print(left.ended, "-", left.reason)
        with Checkpoint.read(folder) as checkpoint:
            print([f"{job.state}, {job.waiting} slots" for job in checkpoint.batch_jobs()])

        result = await pipeline(simulator, folder).run(JOBS, tell)
    print(f"{result.ended}: {result.delivered} of {result.wanted} images")
    print(f"USD {result.cost.usd_per_accepted:.4f} per accepted image")
    print(f"By batch jobs {simulator.bill.batch_usd} USD, at once {simulator.bill.interactive_usd}")


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
