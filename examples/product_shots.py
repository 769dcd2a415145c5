"""Product shots: the photo of each product goes along, and every shot shows it in a new scene.

Run it with `python examples/product_shots.py [out-folder]`; it uses the simulator.
"""

import sys
import tempfile
from pathlib import Path

import anyio
from PIL import Image, ImageDraw

from nanobatch import Budget, Checkpoint, Gemini, Job, TwoTierPipeline
from nanobatch.simulator import Simulator

PRODUCTS = {"mug": "#b5532a", "lamp": "#2a6f97", "vase": "#5f7a3d"}
SCENES = ("on a marble table, morning light", "in a cosy reading corner", "on a plain grey ground")


def photograph(product: str, folder: Path) -> Path:
    """Stand in for a photo of the product: a coloured shape on white."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", (768, 768), "white")
    ImageDraw.Draw(picture).rounded_rectangle((200, 160, 568, 640), 90, fill=PRODUCTS[product])
    picture.save(path := folder / f"{product}.png")
    return path


def shots(product: str, photo: Path) -> list[Job]:
    """Return one job a scene; the tag puts the costs of a product together."""
    return [
        Job(
            id=f"{product}-{number}",
            prompt=f"The {product} of the photo, unchanged, {scene}. No text.",
            references=(photo,),
            tag=product,
        )
        for number, scene in enumerate(SCENES, 1)
    ]


async def main(folder: Path) -> None:
    """Make every shot of every product and write the list that a shop can import."""
    jobs = [job for name in PRODUCTS for job in shots(name, photograph(name, folder))]
    async with Simulator(seed=7, accept_rate=0.7) as simulator:
        pipeline = TwoTierPipeline(
            Gemini(api_key="simulated", base_url=simulator.base_url),  # the real API: Gemini()
            checkpoint=folder / "shots",
            budget=Budget(usd="5.00"),
        )
        result = await pipeline.run(jobs)
    with Checkpoint.read(folder / "shots") as checkpoint:
        for name in PRODUCTS:
            print(f"{name}: USD {checkpoint.cost_model(tag=name).usd_per_accepted:.4f} a shot")
        checkpoint.export(folder / "shots.csv")
    print(f"{result.delivered} of {result.wanted} shots: {folder / 'shots.csv'}")


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
