"""Hero images: candidates compete, the sharpest wins, and the winner is finished in 2K.

Run it with `python examples/hero_images.py [out-folder]`; it uses the simulator.
"""

import sys
import tempfile
from pathlib import Path

import anyio

from nanobatch import Budget, Checkpoint, Gemini, Job, Route, TwoTierPipeline, filters
from nanobatch.simulator import Simulator

HEROES = {"lighthouse": "A lighthouse in a storm, low sun", "dunes": "Dunes at sunrise, long view"}


def jobs() -> list[Job]:
    """Return each hero twice: drawn by the quality model at once, and drafted on Lite first."""
    ways = {"direct": (Route.QUALITY, 2), "finished": (Route.FINISH, 4)}
    return [
        Job(
            id=f"{name}-{way}",
            prompt=prompt,
            aspect_ratio="16:9",
            size="2K",
            route=route,
            best_of=best_of,
            tag=way,
        )
        for name, prompt in HEROES.items()
        for way, (route, best_of) in ways.items()
    ]


async def main(folder: Path) -> None:
    """Make all of them, and say what each way costs and which candidates lost."""
    async with Simulator(seed=7, accept_rate=0.8) as simulator:
        pipeline = TwoTierPipeline(
            Gemini(api_key="simulated", base_url=simulator.base_url),  # the real API: Gemini()
            lite="lite",
            quality="gemini-3-pro-image",
            filters=[*filters.default(), filters.Sharpness()],  # its measure is the score
            checkpoint=folder,
            budget=Budget(usd="10.00"),
        )
        print(pipeline.forecast(jobs()).sentence)
        result = await pipeline.run(jobs())
    for image in result.images:
        size = f"{image.width_px} x {image.height_px} px"
        print(f"{image.path.name}: {size}, sharpness {image.score or 0:.2f}, USD {image.usd:.4f}")
    with Checkpoint.read(folder) as checkpoint:
        for way in ("direct", "finished"):
            print(f"{way}: USD {checkpoint.cost_model(tag=way).usd_per_accepted:.4f} an image")
        lost = [one for one in checkpoint.candidates() if one.state == "unpicked"]
    print(f"{len(lost)} good candidates lost; they stay on disk and can be taken instead.")


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
