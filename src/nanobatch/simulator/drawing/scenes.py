"""Which scene and which mood the words of a prompt ask for."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from nanobatch.simulator.drawing import (
    aurora,
    city,
    dunes,
    leaves,
    mountains,
    ocean,
    ribbons,
    space,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from nanobatch.simulator.drawing.canvas import Size

__all__ = ["SCENES", "Motif", "choose", "paint"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    name: str
    words: frozenset[str]
    moods: tuple[str, ...]
    draw: Callable[[Size, Random, str], Image.Image]


@dataclass(frozen=True, slots=True, kw_only=True)
class Motif:
    """One of the pictures that exist: the same motif is always painted the same."""

    scene: str
    """Name of the scene."""

    variation: int
    """Which picture of that scene, from 0."""


def _scene(
    name: str, words: str, moods: tuple[str, ...], draw: Callable[[Size, Random, str], Image.Image]
) -> _Scene:
    return _Scene(name=name, words=frozenset(words.split()), moods=moods, draw=draw)


_ALL = (
    _scene(
        "mountains",
        "mountain mountains peak peaks alps hill hills valley forest pine pines tree trees fog mist"
        " misty wood woods cliff canyon volcano ridge",
        mountains.MOODS,
        mountains.draw,
    ),
    _scene(
        "aurora",
        "aurora borealis northern lights polar arctic snow snowy ice iceberg winter frozen lake"
        " fjord norway iceland",
        aurora.MOODS,
        aurora.draw,
    ),
    _scene(
        "ocean",
        "ocean sea wave waves beach coast coastal surf island sail sailing boat ship water harbour"
        " harbor lighthouse lagoon horizon",
        ocean.MOODS,
        ocean.draw,
    ),
    _scene(
        "dunes",
        "desert dune dunes sand sandy sahara camel oasis savanna dry badlands mesa",
        dunes.MOODS,
        dunes.draw,
    ),
    _scene(
        "city",
        "city skyline skyscraper skyscrapers street streets urban tokyo york downtown building"
        " buildings cyberpunk bridge tower neon metropolis town rooftop",
        city.MOODS,
        city.draw,
    ),
    _scene(
        "ribbons",
        "abstract gradient gradients ribbon ribbons shapes geometric minimal minimalist flow"
        " flowing waveform fluid pattern paper silk colorful colourful",
        ribbons.MOODS,
        ribbons.draw,
    ),
    _scene(
        "space",
        "space nebula galaxy galaxies planet planets cosmos cosmic stars astronaut universe saturn"
        " orbit moons rocket comet interstellar",
        space.MOODS,
        space.draw,
    ),
    _scene(
        "leaves",
        "leaf leaves botanical plant plants jungle tropical flower flowers floral fern monstera"
        " garden foliage rainforest bamboo autumn",
        leaves.MOODS,
        leaves.draw,
    ),
)
SCENES = {scene.name: scene for scene in _ALL}

_MOOD_WORDS = {
    "sunset": "sunset dusk golden orange warm red evening autumn fire amber copper",
    "dawn": "dawn sunrise morning pastel pink soft spring rose",
    "night": "night midnight dark moon moonlit moonlight starry stars indigo navy",
    "day": "day daylight noon bright summer sunny turquoise clear",
    "misty": "mist misty fog foggy rain rainy grey gray storm",
    "green": "green emerald jade jungle moss olive",
    "violet": "violet purple magenta lavender",
    "blue": "blue teal cyan azure cobalt",
    "neon": "neon cyberpunk vibrant electric synthwave retro",
}
_MOODS = {word: mood for mood, words in _MOOD_WORDS.items() for word in words.split()}


def choose(prompt: str, *, chance: Random, drawings: int) -> Motif:
    """Return the motif for a prompt: by its words, and by its hash where they say nothing.

    Args:
        prompt: What was asked for.
        chance: Picks among the variations that fit.
        drawings: How many motifs may exist in all, >= 1; spread over the scenes.
    """
    words = re.findall(r"[a-z]+", prompt.lower())
    scores = [sum(word in scene.words for word in words) for scene in _ALL]
    index = scores.index(max(scores)) if any(scores) else _digest(prompt) % len(_ALL)
    index %= drawings
    scene = _ALL[index]
    # The first scenes get one more variation when the drawings cannot be shared out evenly.
    count = max(1, drawings // len(_ALL) + (index < drawings % len(_ALL)))
    mood = next((_MOODS[word] for word in words if word in _MOODS), None)
    fitting = [v for v in range(count) if scene.moods[v % len(scene.moods)] == mood]
    return Motif(scene=scene.name, variation=chance.choice(fitting or range(count)))


def paint(motif: Motif, size: Size, *, tier: str) -> Image.Image:
    """Return the motif as an RGB picture; the tiers paint it differently."""
    scene = SCENES[motif.scene]
    mood = scene.moods[motif.variation % len(scene.moods)]
    rng = Random(f"{tier}/{scene.name}/{motif.variation}")  # noqa: S311 - a picture, no secret
    return scene.draw(size, rng, mood)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())
