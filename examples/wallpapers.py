"""Wallpapers, decided by measuring: 50 images first, then all within the budget they suggest.

Run it with `python examples/wallpapers.py [out-folder]`; it uses the simulator.
"""

import sys
import tempfile
from pathlib import Path

import anyio

from nanobatch import (
    Budget,
    CostModel,
    Gemini,
    Job,
    ModelRegistry,
    Route,
    StopRule,
    TwoTierPipeline,
    filters,
)
from nanobatch.simulator import Simulator

JOBS = [Job(id=f"wallpaper-{n}", prompt=f"Paper-cut landscape no. {n}") for n in range(1, 121)]
HEROES = [Job(id=f"hero-{n}", prompt=f"Lighthouse {n}", route=Route.QUALITY) for n in (1, 2, 3)]


async def main(folder: Path) -> None:
    """Calibrate, forecast the rest, run it within that."""
    async with Simulator(seed=7, accept_rate=0.7) as simulator:

        def pipeline(budget: Budget) -> TwoTierPipeline:
            return TwoTierPipeline(
                Gemini(api_key="simulated", base_url=simulator.base_url),  # the real API: Gemini()
                lite="nano-banana-2-lite",
                quality="quality",
                route=Route.LITE,  # for jobs that name no route of their own
                filters=[filters.MinBytes(40_000), filters.Decodes(), filters.NotBlank()],
                stop=StopRule.want_times(3),
                checkpoint=folder / "wallpapers",
                budget=budget,
            )

        price = ModelRegistry.builtin()["nano-banana-2-lite"].usd_per_image("1K")
        print(CostModel(usd_per_call=price, regeneration_rate=0.08, accept_rate=0.70))  # a guess
        calibration = await pipeline(Budget(usd="5.00")).calibrate(JOBS, images=50)
        print(calibration, calibration.result.cost.table([150, 600, 3000]), sep="\n")
        ModelRegistry.builtin().save_rates(calibration.rates, folder / "nanobatch.toml")

        rest = pipeline(Budget.unlimited()).forecast(JOBS + HEROES)
        print(rest)
        cap = round(calibration.result.spend.worst_case_usd + rest.high_usd + 1, 2)
        result = await pipeline(Budget(usd=cap)).run(JOBS + HEROES)
    undone = {name: job.reason for name, job in result.jobs.items() if job.status != "done"}
    print(f"{result.ended} within USD {cap}, fill rate {result.fill_rate:.0%}; not done: {undone}")


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
