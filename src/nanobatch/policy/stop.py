"""When a prompt, or a whole batch, does not deserve another call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanobatch.errors import ConfigError

if TYPE_CHECKING:
    from typing import Self

__all__ = ["StopRule"]


@dataclass(frozen=True, slots=True)
class StopRule:
    """Stops a job after `slots_per_accepted x (passing candidates + 1)` slots.

    Every passing candidate earns the job another allowance, so a hopeless prompt costs six slots
    while a hard one that now and then works goes on.

    Source: at six, 0.6 % of good prompts are stopped wrongly and a hopeless one costs 6.1 calls
    (simulated for accept rates around 70 %; `docs/explanation/cost.md`).

    Raises:
        ConfigError: A number below 1.
    """

    slots_per_accepted: int = 6
    """Slots a job may use for its next passing candidate, >= 1."""

    hopeless_slots: int = 30
    """A run ends as `hopeless` if none of its first so many judged slots passes, >= 1."""

    slots_per_want: int | None = None
    """If set, the cap is this times `want` instead, whatever passes (see `want_times`)."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        for name in ("slots_per_accepted", "hopeless_slots", "slots_per_want"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"StopRule({name}={value}): it must be at least 1.")

    @classmethod
    def want_times(cls, factor: int) -> Self:
        """Return the simple rule: a job stops after `factor x want x best_of` slots."""
        return cls(slots_per_want=factor)

    def cap(self, *, passing: int, wanted: int) -> int:
        """Return how many slots a job may have used, given its passing and wanted candidates."""
        if self.slots_per_want is not None:
            return self.slots_per_want * wanted
        return self.slots_per_accepted * (passing + 1)
