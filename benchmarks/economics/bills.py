"""How often the bill of images yet to be made lies within its forecast."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from statistics import fmean
from typing import TYPE_CHECKING

from benchmarks.economics.worlds import WORLDS, RunningSums, rates_for
from nanobatch.cost import CostModel, LedgerTotals

if TYPE_CHECKING:
    from benchmarks.economics.worlds import Draws, World

__all__ = ["WANTS", "bills"]

WANTS = (1, 10, 100, 400)
SLOTS_MEASURED = 50
ACCEPT_RATES = (0.35, 0.65, 0.8)
ENTERED_BY_HAND = ("one price", "often regenerated")
"""Worlds that are as rates entered by hand are taken to be: no scatter but that of the calls."""


def bills(seed: int, repetitions: int) -> dict[str, list[list[float]]]:
    """Return, by world, the share of bills in their forecast: by accept rate, then by images.

    Forecasts rest on 50 slots, or on the true rates, entered by hand.
    """
    found: dict[str, list[list[float]]] = {}
    for world in WORLDS:
        for rate in rates_for(world, ACCEPT_RATES):
            draws = world.draws(Random(f"bills {seed} {world.name} {rate}"), rate)
            entered = _entered(world, rate)
            held: list[list[bool]] = []
            held_by_hand: list[list[bool]] = []
            for _ in range(repetitions):
                measured = _measured(draws)
                true = [_bill(draws, want) for want in WANTS]
                held.append(_holds(measured, true))
                if world.name in ENTERED_BY_HAND:
                    held_by_hand.append(_holds(entered, true))
            found.setdefault(world.name, []).append(_means(held))
            if held_by_hand:
                found.setdefault(f"{world.name}, true rates by hand", []).append(
                    _means(held_by_hand)
                )
    return found


def _measured(draws: Draws) -> CostModel:
    sums = RunningSums()
    while sums.slots < SLOTS_MEASURED:
        nano, calls, accepted = draws.slot()
        sums.add(nano, calls, accepted=accepted)
    return CostModel.from_totals(
        LedgerTotals(
            slots=sums.slots,
            calls=sums.calls,
            accepted=sums.accepted,
            generation_usd=Decimal(sums.nano).scaleb(-9),
            by_slot=sums.sums,
        )
    )


def _entered(world: World, rate: float) -> CostModel:
    calls = 1 + world.regeneration_rate
    return CostModel(
        usd_per_call=world.nano_per_slot / calls / 1e9,
        regeneration_rate=world.regeneration_rate,
        accept_rate=rate,
    )


def _bill(draws: Draws, want: int) -> int:
    """Return what `want` accepted images cost, nano-dollars."""
    bill = accepted_slots = 0
    while accepted_slots < want:
        nano, _, accepted = draws.slot()
        bill += nano
        accepted_slots += accepted
    return bill


def _holds(model: CostModel, true: list[int]) -> list[bool]:
    forecasts = [model.forecast(want) for want in WANTS]
    return [
        float(forecast.low_usd) <= bill / 1e9 * (1 + 1e-9)
        and bill / 1e9 <= float(forecast.high_usd) * (1 + 1e-9)
        for forecast, bill in zip(forecasts, true, strict=True)
    ]


def _means(held: list[list[bool]]) -> list[float]:
    return [fmean(column) for column in zip(*held, strict=True)]
