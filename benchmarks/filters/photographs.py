"""Photographs in the public domain, out of the wheel of scikit-image.

Its docstrings in `skimage/data/_fetchers.py` name author and licence of each (read in 0.26.0 on
2026-11-27). Only the files are used: scikit-image is installed without its dependencies and never
imported.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

from PIL import Image

__all__ = ["PHOTOGRAPHS", "photograph"]

PHOTOGRAPHS = {
    "astronaut.png": "NASA, released into the public domain",
    "brick.png": "CC0Textures, CC0",
    "camera.png": "Lav Varshney, CC0",
    "chelsea.png": "Stefan van der Walt, CC0",
    "coffee.png": "Rachel Michetti, CC0",
    "coins.png": "Brooklyn Museum, no known copyright restrictions",
    "grass.png": "linolafett, CC0",
    "gravel.png": "CC0Textures, CC0",
    "hubble_deep_field.jpg": "NASA, public domain",
    "ihc.png": "CMMI, no known copyright restrictions",
    "retina.jpg": "Wikimedia Commons, CC0",
    "rocket.jpg": "SpaceX, released into the public domain",
}
"""Each file, who made it, and under which terms it may be used."""


@cache
def photograph(name: str) -> Image.Image:
    """Return a photograph in mode RGB.

    Raises:
        ModuleNotFoundError: scikit-image is not installed.
    """
    found = importlib.util.find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("The photographs come with scikit-image: `nox -s filters`.")
    with Image.open(Path(found.submodule_search_locations[0]) / "data" / name) as opened:
        return opened.convert("RGB")
