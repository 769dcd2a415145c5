"""A backend of your own: anything with `generate` and `aclose` can draw for the pipeline.

Run it with `python examples/own_backend.py [out-folder]`; it needs no network at all.
"""

import io
import sys
import tempfile
from pathlib import Path

import anyio
import anyio.to_thread
from PIL import Image

from nanobatch import Budget, ImageRequest, Job, Reply, TokenUsage, TwoTierPipeline


class NoiseBackend:
    """Draws a soft gradient with film grain, in the ratio that was asked for."""

    async def generate(self, request: ImageRequest) -> Reply:
        """Return one PNG; the token counts are what the pipeline turns into money."""
        png = await anyio.to_thread.run_sync(draw, request.aspect_ratio)
        prompt_tokens = len(request.prompt.split())
        usage = TokenUsage(prompt_tokens=prompt_tokens, image_tokens=1120, text_tokens=0)
        return Reply(images=(png,), usage=usage, finish_reason="STOP")

    async def aclose(self) -> None:
        """Nothing is held open."""


def draw(aspect_ratio: str) -> bytes:
    """Return a PNG whose longer side has 1,024 pixels."""
    width, height = (int(side) for side in aspect_ratio.split(":"))
    size = (1024 * width // max(width, height), 1024 * height // max(width, height))
    sky = Image.linear_gradient("L").resize(size)
    grain = Image.effect_noise(size, 48)
    file = io.BytesIO()
    Image.merge("RGB", (grain, Image.blend(sky, grain, 0.3), sky)).save(file, "PNG")
    return file.getvalue()


async def main(folder: Path) -> None:
    """Draw four wallpapers; they cost what the registry says of the model in the role `lite`."""
    pipeline = TwoTierPipeline(NoiseBackend(), checkpoint=folder, budget=Budget(usd="1.00"))
    result = await pipeline.run([Job(id="dusk", prompt="Dusk", want=4, aspect_ratio="16:9")])
    for image in result.images:
        print(f"{image.path.name}: {image.width_px} x {image.height_px} px")
    print(result.cost)


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
