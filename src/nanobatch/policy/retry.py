"""How a call that met a transient fault is tried again."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

import backoff

from nanobatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Retry", "at_least"]


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential waits with full jitter, never shorter than what the server asked for.

    Raises:
        ConfigError: Fewer than one try, or a wait that is not positive and finite.
    """

    tries: int = 3
    """Requests of one call in all, the first included, >= 1."""

    first_wait_seconds: float = 1.0
    """Upper end of the first wait; each further one doubles. > 0."""

    max_wait_seconds: float = 60.0
    """Upper end of every wait; only the server may ask for more. > 0."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        if self.tries < 1:
            raise ConfigError(f"Retry(tries={self.tries}): at least 1 try is needed.")
        for name in ("first_wait_seconds", "max_wait_seconds"):
            seconds = getattr(self, name)
            if not (isfinite(seconds) and seconds > 0):
                raise ConfigError(f"Retry({name}={seconds}): it must be above 0 and finite.")

    def waits(self) -> Iterator[float]:
        """Yield the random wait before each further try, in seconds; one iterator per call."""
        steps = backoff.expo(
            base=2, factor=self.first_wait_seconds, max_value=self.max_wait_seconds
        )
        next(steps)  # backoff's generators yield nothing useful before their first send
        for _ in range(self.tries - 1):
            yield backoff.full_jitter(next(steps))


def at_least(wait_seconds: float, asked_seconds: float | None) -> float:
    """Return the wait, lengthened to what the server asked for, with jitter on top of it.

    Everybody whose call was refused was told the same number: the jitter spreads them out.
    """
    if asked_seconds is None:
        return wait_seconds
    return max(wait_seconds, asked_seconds + backoff.full_jitter(min(1.0, asked_seconds / 10)))
