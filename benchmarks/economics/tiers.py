"""How often the tier test names a tier on an exact tie, and how soon in clear cases."""

from __future__ import annotations

from random import Random
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.economics.worlds import WORLDS
from nanobatch.cost.bets import WIN, Bets

if TYPE_CHECKING:
    from benchmarks.economics.worlds import World

__all__ = ["Case", "clear_cases", "ties"]

PAIRS_OF_A_TIE, PAIRS_OF_A_CASE = 400, 2_000

TIES = ((0.2375, 0.95), (0.475, 0.95), (0.8, 0.8), (0.3, 0.6), (0.2, 0.2))
"""Accept rates of Lite and quality; quality costs as many Lite slots as makes them a tie."""

CLEAR = (
    (0.70, 0.95, 4.0),
    (0.50, 0.95, 4.0),
    (0.40, 0.95, 4.0),
    (0.70, 0.95, 2.0),
    (0.60, 0.95, 1.0),
    (0.20, 0.95, 2.0),
)
"""Accept rates of Lite and quality, and the price of a quality slot in Lite slots."""


class Case(NamedTuple):
    """What became of a clear case."""

    name: str
    ratio: float
    """True cost per accepted image of Lite over that of quality."""

    pairs: float
    """Mean pairs until a tier was named, where one was."""

    named: float
    """Share in which a tier was named."""

    wrong: float
    """Share in which the dearer one was."""


def ties(seed: int, repetitions: int) -> dict[str, list[float]]:
    """Return, by world, the share of each exact tie on which a tier is named under peeking."""
    found: dict[str, list[float]] = {}
    for world in WORLDS:
        for rates in TIES:
            if max(rates) > world.most_accept_rate:
                continue
            random = Random(f"ties {seed} {world.name} {rates}")
            price = rates[1] / rates[0]
            named = [
                _pairs_to_name(world, random, rates, price, PAIRS_OF_A_TIE)
                for _ in range(repetitions)
            ]
            found.setdefault(world.name, []).append(fmean(one is not None for one in named))
    return found


def clear_cases(seed: int, repetitions: int) -> list[Case]:
    """Return what became of the clear cases, at one price and where slots are regenerated."""
    found: list[Case] = []
    for lite, quality, price in CLEAR:
        ratio = quality / lite / price
        right = "lite" if ratio < 1 else "quality"
        for world in WORLDS:
            if world.name not in {"one price", "regenerated"}:
                continue
            random = Random(f"clear {seed} {world.name} {lite} {price}")
            runs = [
                _pairs_to_name(world, random, (lite, quality), price, PAIRS_OF_A_CASE)
                for _ in range(repetitions)
            ]
            named = [run for run in runs if run is not None]
            found.append(
                Case(
                    name=f"{lite:.0%} at 1, {quality:.0%} at {price:g}, {world.name}",
                    ratio=ratio,
                    pairs=fmean(pairs for pairs, _ in named),
                    named=len(named) / repetitions,
                    wrong=fmean(winner != right for _, winner in named),
                )
            )
    return found


def _pairs_to_name(
    world: World, random: Random, rates: tuple[float, float], price: float, most_pairs: int
) -> tuple[int, str] | None:
    """Return after how many pairs a tier is named, and which; `None` if none is."""
    lite, quality = world.draws(random, rates[0]), world.draws(random, rates[1], price)
    bets = Bets()
    while bets.pairs < most_pairs:
        bets.add(lite.outcome(), quality.outcome())
        if bets.best >= WIN:
            return bets.pairs, "lite" if bets.best_is_lite else "quality"
    return None
