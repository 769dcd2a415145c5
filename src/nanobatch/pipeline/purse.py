"""The run's money: a call that does not fit any more ends the run, whoever wants to make it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from nanobatch.models.money import usd_of_nano
from nanobatch.pipeline.control import Ended, RunStopped

if TYPE_CHECKING:
    from nanobatch.pipeline.control import Control
    from nanobatch.policy import BudgetGate

__all__ = ["Purse"]


class Purse:
    """Reserves and settles for everything that costs money in one run."""

    def __init__(self, gate: BudgetGate, control: Control) -> None:
        self._gate = gate
        self._control = control

    async def reserve(self, worst_nano: int, *, purpose: str, to_judge: bool = False) -> None:
        """Reserve a worst case, waiting for settlements if need be.

        Args:
            worst_nano: Nano-dollars.
            purpose: What would be paid, for the message: `"The next call"`.
            to_judge: Whether it is for judging an image that is paid for; see `Control.waiting`.

        Raises:
            RunStopped: It can never fit; the run ends as `budget`. Or the run ends anyway.
        """
        if self._control.is_over_for(to_judge=to_judge):
            raise RunStopped
        is_granted = self._gate.reserve_now(worst_nano)
        if not is_granted:
            with self._control.waiting(to_judge=to_judge):
                is_granted = await self._gate.reserve(worst_nano)
        if not is_granted:
            self._refuse(worst_nano, purpose)

    async def reserve_patiently(self, worst_nano: int, *, purpose: str) -> None:
        """Reserve a worst case, and let everybody else go first for as long as that takes.

        Raises:
            RunStopped: It can never fit; the run ends as `budget`. Or the run ends anyway.
        """
        with self._control.waiting():
            while not self._gate.reserve_now(worst_nano):
                if self._gate.is_idle:
                    self._refuse(worst_nano, purpose)
                await self._gate.settled()

    def reserve_now(self, worst_nano: int) -> bool:
        """Reserve a worst case if it fits at once."""
        return self._gate.reserve_now(worst_nano)

    def reserve_more(self, nano: int) -> None:
        """Add to a reservation what a call did cost above it, though it may not fit."""
        self._gate.reserve_more(nano)

    def take_over(self, worst_nano: int) -> None:
        """Reserve again what an earlier run sent and nobody has answered yet."""
        self._gate.take_over(worst_nano)

    async def reserve_judgement(self, worst_nano: int, *, filter_name: str) -> None:
        """Reserve for judging an image that is paid for: it goes on when the run ends.

        Raises:
            RunStopped: It can never fit, or the run is cancelled.
        """
        if self._control.ended is Ended.CANCELLED:
            raise RunStopped
        if not await self._gate.reserve(worst_nano):
            self._refuse(worst_nano, f"Filter {filter_name}")

    def _refuse(self, worst_nano: int, purpose: str) -> NoReturn:
        self._control.stop(
            Ended.BUDGET,
            f"{purpose} may cost up to {usd_of_nano(worst_nano):.4f} USD, which the budget "
            "does not cover any more: raise it and run again.",
        )
        raise RunStopped

    def settle(self, *, reserved_nano: int, cost_nano: int) -> None:
        """Replace a reservation by what it did cost, unknown money included."""
        self._gate.settle(reserved_nano=reserved_nano, cost_nano=cost_nano)

    def add(self, nano: int) -> None:
        """Count money that nobody reserved."""
        self._gate.add(nano)
