"""How often the library's intervals hold, and how often its tier test is wrong.

    python -m benchmarks.economics.coverage            # a fixed seed, then a fresh one
    python -m benchmarks.economics.coverage --seed 7   # the fixed one, then this
    python -m benchmarks.economics.coverage --quick    # the fixed one, a twentieth of it

Every bound comes from the library. Coverage at one accept rate is good to about one percent (two
standard errors), its mean over the accept rates to about half a percent.
"""

from __future__ import annotations

import argparse
import secrets
import time
from functools import cache
from random import Random
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.economics.bills import WANTS, bills
from benchmarks.economics.tiers import clear_cases, ties
from benchmarks.economics.worlds import WORLDS, RunningSums, rates_for
from nanobatch.cost.interval import (
    anytime_quantile,
    cost_limits,
    least_cost,
    live_limits,
    quantile,
    wilson_limits,
)
from nanobatch.cost.scatter import Scatter
from nanobatch.cost.table import text_table

if TYPE_CHECKING:
    from collections.abc import Iterable

LEVEL = 0.95
ACCEPT_RATES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
LOOKS = (50, 100, 200)
FIRST_LOOK, LAST_LOOK = 10, 200
FIXED_SEED = 1
QUICK_SCALE = 0.05


class Coverage(NamedTuple):
    """How often intervals held the truth, 0 to 1."""

    cost: float
    accept: float
    regeneration: float


def holds_cost(sums: RunningSums, nano_per_accepted: float, z: float) -> bool:
    """Say whether the interval of the cost per accepted image holds the truth."""
    n = sums.slots
    scatter = Scatter.measured(sums.sums)
    if not sums.accepted:
        least = least_cost(slots=n, relative_variance=scatter.relative_variance, z=z)
        return sums.nano / n * least <= nano_per_accepted
    low, high = cost_limits(
        rate=scatter.accept_rate,
        slots=n,
        relative_variance=scatter.relative_variance,
        covariance=scatter.covariance,
        z=z,
    )
    return low <= nano_per_accepted * sums.accepted / sums.nano <= high


def holds_rate(limits: tuple[float, float], truth: float) -> bool:
    """Say whether the interval of a rate holds the truth."""
    return limits[0] <= truth <= limits[1]


@cache
def once(hits: int, slots: int) -> tuple[float, float]:
    """Return the bounds of a rate for one look."""
    return wilson_limits(hits / slots, slots, quantile(LEVEL))


@cache
def live(hits: int, slots: int) -> tuple[float, float]:
    """Return the bounds of a rate for every look."""
    return live_limits(hits / slots, slots, LEVEL)


def fixed_looks(seed: int, repetitions: int) -> dict[tuple[str, int], list[Coverage]]:
    """Return, by world and number of slots, the coverage at each accept rate."""
    z = quantile(LEVEL)
    found: dict[tuple[str, int], list[Coverage]] = {}
    for world in WORLDS:
        for rate in rates_for(world, ACCEPT_RATES):
            draws = world.draws(Random(f"fixed {seed} {world.name} {rate}"), rate)
            truth = world.nano_per_slot / rate
            held: dict[int, list[tuple[bool, bool, bool]]] = {look: [] for look in LOOKS}
            for _ in range(repetitions):
                sums = RunningSums()
                for look in LOOKS:
                    while sums.slots < look:
                        nano, calls, accepted = draws.slot()
                        sums.add(nano, calls, accepted=accepted)
                    held[look].append(
                        (
                            holds_cost(sums, truth, z),
                            holds_rate(once(sums.accepted, look), rate),
                            holds_rate(once(sums.calls - look, look), world.regeneration_rate),
                        )
                    )
            for look in LOOKS:
                found.setdefault((world.name, look), []).append(mean_of(held[look]))
    return found


def mean_of(held: Iterable[tuple[bool, bool, bool]]) -> Coverage:
    """Return the shares that held."""
    return Coverage(*map(fmean, zip(*held, strict=True)))


def live_looks(seed: int, repetitions: int) -> dict[str, list[Coverage]]:
    """Return, by world, the share of paths whose intervals held at every look."""
    z_at = [0.0] + [anytime_quantile(n, LEVEL) for n in range(1, LAST_LOOK + 1)]
    found: dict[str, list[Coverage]] = {}
    for world in WORLDS:
        for rate in rates_for(world, ACCEPT_RATES):
            draws = world.draws(Random(f"live {seed} {world.name} {rate}"), rate)
            truth = world.nano_per_slot / rate
            held: list[tuple[bool, bool, bool]] = []
            for _ in range(repetitions):
                sums = RunningSums()
                cost = accept = regeneration = True
                for n in range(1, LAST_LOOK + 1):
                    nano, calls, accepted = draws.slot()
                    sums.add(nano, calls, accepted=accepted)
                    if n < FIRST_LOOK:
                        continue
                    cost = cost and holds_cost(sums, truth, z_at[n])
                    accept = accept and holds_rate(live(sums.accepted, n), rate)
                    regeneration = regeneration and holds_rate(
                        live(sums.calls - n, n), world.regeneration_rate
                    )
                held.append((cost, accept, regeneration))
            found.setdefault(world.name, []).append(mean_of(held))
    return found


def shares(values: Iterable[float], *, low: bool = True) -> str:
    """Return the mean of some shares and the worst of them, in percent."""
    each = list(values)
    return f"{100 * fmean(each):.1f} ({100 * (min if low else max)(each):.1f})"


def print_table(title: str, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Print a table under its title."""
    print(f"\n{title}\n{text_table([header, *rows], words=1)}", flush=True)


def print_fixed(seed: int, repetitions: int) -> None:
    """Print the coverage for one look."""
    found = fixed_looks(seed, repetitions)
    header = ("", *(f"n = {look}" for look in LOOKS))
    for figure, field in (
        ("USD per accepted image (MOVER-Wilson)", "cost"),
        ("accept rate (Wilson)", "accept"),
        ("regeneration rate (Wilson)", "regeneration"),
    ):
        print_table(
            f"One look: {figure}, % covered, goal 94 to 97.5; in brackets the worst accept rate",
            header,
            [
                (
                    world.name,
                    *(
                        shares(getattr(held, field) for held in found[world.name, look])
                        for look in LOOKS
                    ),
                )
                for world in WORLDS
                if field != "regeneration" or world.regeneration_rate
            ],
        )


def print_live(seed: int, repetitions: int) -> None:
    """Print how often all looks of a path were right."""
    found = live_looks(seed, repetitions)
    print_table(
        f"Every look from {FIRST_LOOK} to {LAST_LOOK}, % of paths always covered, goal >= 95; "
        "in brackets the worst accept rate",
        ("", "USD per accepted", "accept rate", "regeneration rate"),
        [
            (name, *(shares(column) for column in zip(*held, strict=True)))
            for name, held in found.items()
        ],
    )


def print_tiers(seed: int, repetitions: int) -> None:
    """Print how often ties are named, and how soon clear cases are."""
    print_table(
        "Exact ties, % named within 400 pairs under peeking, goal <= 5; in brackets the worst tie",
        ("", "named"),
        [(name, shares(named, low=False)) for name, named in ties(seed, repetitions).items()],
    )
    print_table(
        "Clear cases: pairs until a tier is named",
        ("", "C_L/C_Q", "pairs", "named, %", "wrongly, %"),
        [
            (
                case.name,
                f"{case.ratio:.2f}",
                f"{case.pairs:.1f}",
                f"{100 * case.named:.1f}",
                f"{100 * case.wrong:.1f}",
            )
            for case in clear_cases(seed, repetitions)
        ],
    )


def print_bills(seed: int, repetitions: int) -> None:
    """Print how often bills lie within their forecasts."""
    print_table(
        "Bills within their forecast, %, goal about 95; in brackets the worst accept rate",
        ("", *(f"{want} image{'s' if want > 1 else ''}" for want in WANTS)),
        [
            (name, *(shares(column) for column in zip(*held, strict=True)))
            for name, held in bills(seed, repetitions).items()
        ],
    )


def main() -> None:
    """Run the study and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="the fresh set of slots; by default drawn anew")
    parser.add_argument("--scale", type=float, default=1.0, help="times as many repetitions")
    parser.add_argument("--quick", action="store_true", help="fixed seed only, few repetitions")
    arguments = parser.parse_args()
    scale = arguments.scale * (QUICK_SCALE if arguments.quick else 1)
    measure(FIXED_SEED, scale)
    if not arguments.quick:
        measure(secrets.randbelow(10**9) if arguments.seed is None else arguments.seed, scale)


def measure(seed: int, scale: float) -> None:
    """Print every table for one seed."""
    start = time.perf_counter()
    for study, repetitions in (
        (print_fixed, 2_500),
        (print_live, 400),
        (print_tiers, 500),
        (print_bills, 700),
    ):
        study(seed, max(1, round(repetitions * scale)))
    print(f"\nseed {seed}, {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
