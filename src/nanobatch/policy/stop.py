"""When a prompt, or a whole batch, does not deserve another call."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from nanobatch.errors import ConfigError
from nanobatch.policy.prompts import fit_good_prompts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sized
    from typing import Self

__all__ = ["StopRule"]

FEWEST_PROMPTS = 20
"""Prompts with an accepted image below which nothing is fitted."""
WRONGLY_STOPPED = 0.01
"""Share of good prompts whose first slots may all fail up to the cap."""
LEAST_CAP, MOST_CAP = 3, 12


class _Job(Protocol):
    """What `StopRule.fit` reads of a job."""

    @property
    def slots(self) -> int: ...

    @property
    def images(self) -> Sized: ...


class _HasJobs(Protocol):
    """What `StopRule.fit` reads: a `Checkpoint`, or what `Checkpoint.read` gives."""

    def jobs(self) -> Iterable[_Job]: ...


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

    @classmethod
    def fit(cls, checkpoint: _HasJobs) -> Self:
        """Return the rule that fits the prompts of a checkpoint.

        The pass rates of good prompts are taken for a Beta distribution, and some prompts for
        hopeless; both are fitted together. `slots_per_accepted` is then the smallest number of
        slots that all fail for at most 1 % of the good prompts, at least 3 and at most 12.

        It counts accepted images per slot. Jobs with `best_of` above 1, or on the route `finish`,
        need several slots for an image by design, so they make the rule more patient than it has
        to be. With fewer than 20 prompts that have an accepted image it warns and returns the
        default.

        ```python
        with Checkpoint.read("runs/wallpapers") as checkpoint:
            rule = StopRule.fit(checkpoint)
        ```

        Args:
            checkpoint: An open `Checkpoint`, or what `Checkpoint.read` gives.

        Raises:
            CheckpointError: It cannot be read.

        Source: the cap equals a Bayes rule that knows the distribution (simulated; reference page
        "Economics of a batch" 3, 2026-11); measured in `benchmarks/economics/routing.py`.
        """
        tallies = [(job.slots, len(job.images)) for job in checkpoint.jobs()]
        tallies = [(slots, min(passed, slots)) for slots, passed in tallies if slots]
        good = sum(passed > 0 for _, passed in tallies)
        if good < FEWEST_PROMPTS:
            default = cls()
            warnings.warn(
                f"Only {good} prompts have an accepted image, {FEWEST_PROMPTS} are needed to fit "
                f"a stop rule: {default} is used.",
                stacklevel=2,
            )
            return default
        prompts = fit_good_prompts(tallies)
        caps = range(LEAST_CAP, MOST_CAP)
        return cls(next((c for c in caps if prompts.failing(c) <= WRONGLY_STOPPED), MOST_CAP))

    def cap(self, *, passing: int, wanted: int) -> int:
        """Return how many slots a job may have used, given its passing and wanted candidates."""
        if self.slots_per_want is not None:
            return self.slots_per_want * wanted
        return self.slots_per_accepted * (passing + 1)
