"""How likely enough of the slots in flight pass, so that a further one would be one too many."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["chance_of"]


def chance_of(passing: int, rates: Iterable[float]) -> float:
    """Return the probability that at least so many of independent slots pass.

    Args:
        passing: How many, >= 0.
        rates: The probability of each slot, 0 to 1.

    Source: the Poisson binomial distribution, added up slot by slot.
    """
    if passing <= 0:
        return 1.0
    chances = [1.0] + [0.0] * passing  # of exactly so many; the last one: that many or more
    for rate in rates:
        chances[passing] += chances[passing - 1] * rate
        for count in range(passing - 1, 0, -1):
            chances[count] += (chances[count - 1] - chances[count]) * rate
        chances[0] *= 1 - rate
    return min(chances[passing], 1.0)
