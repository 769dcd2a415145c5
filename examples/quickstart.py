"""A first batch: twenty wallpapers from a local Gemini, without a key and without a bill.

Run it with `python examples/quickstart.py [out-folder]`.
"""

import sys
import tempfile
from pathlib import Path

import anyio

from nanobatch import Budget, Gemini, Job, TwoTierPipeline
from nanobatch.simulator import Simulator

THEMES = ("aurora over a fjord", "dunes at sunrise", "rain on a neon street", "a mossy forest")


async def main(folder: Path) -> None:
    """Make five images of every theme and say what they cost."""
    jobs = [Job(id=theme, prompt=f"Wallpaper of {theme}, soft light", want=5) for theme in THEMES]
    async with Simulator(seed=7, accept_rate=0.7) as simulator:
        pipeline = TwoTierPipeline(
            Gemini(api_key="simulated", base_url=simulator.base_url),  # the real API: Gemini()
            checkpoint=folder,
            budget=Budget(usd="5.00"),
        )
        result = await pipeline.run(jobs)
        print(f"Simulated bill: USD {simulator.bill.usd:.4f}")
    print(f"Ended: {result.ended}, {result.fill_rate:.0%} of the wanted images are there.")
    print(result.cost)
    print(f"The images are in {folder / 'images'}.")


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
