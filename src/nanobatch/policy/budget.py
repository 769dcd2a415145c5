"""A hard cap on money: the worst case is reserved before a call and settled to what it cost."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

import anyio

from nanobatch.errors import ConfigError
from nanobatch.models.money import MAX_USD, nano_within_usd
from nanobatch.policy.wakeup import Wakeup

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Budget", "BudgetGate"]


class Budget:
    """The most a checkpoint may ever cost, over its whole life and all its runs.

    Args:
        usd: The cap in USD, 0 to a billion. A float is read as its shortest decimal text.

    Raises:
        ConfigError: It is no amount in that range.
    """

    __slots__ = ("_limit",)

    def __init__(self, usd: Decimal | str | float) -> None:
        self._limit: Decimal | None = _amount(usd)

    @classmethod
    def unlimited(cls) -> Self:
        """Return a budget without a cap: the bill is limited by the jobs and the stop rule only."""
        budget = cls(0)
        budget._limit = None
        return budget

    @property
    def usd(self) -> Decimal | None:
        """The cap in USD; `None` if there is none."""
        return self._limit

    @property
    def nano_usd(self) -> int | None:
        """The cap in whole nano-dollars, rounded down; `None` if there is none."""
        return None if self._limit is None else nano_within_usd(self._limit)

    def __eq__(self, other: object) -> bool:
        """Two budgets are equal if their caps are."""
        return isinstance(other, Budget) and other._limit == self._limit

    def __hash__(self) -> int:
        """Hash by the cap."""
        return hash(self._limit)

    def __repr__(self) -> str:
        """Show it as it would be written."""
        return "Budget.unlimited()" if self._limit is None else f"Budget(usd='{self._limit}')"


def _amount(usd: Decimal | str | float) -> Decimal:
    try:
        amount = Decimal(str(usd))
    except InvalidOperation:
        amount = Decimal("NaN")
    if isinstance(usd, bool) or not amount.is_finite() or not 0 <= amount <= MAX_USD:
        raise ConfigError(
            f"Budget(usd={usd!r}): a budget is an amount of USD from 0 to {MAX_USD:,}; "
            "Budget.unlimited() has no cap."
        )
    return amount


class BudgetGate:
    """Lets a call pass only if its worst case still fits; used by one run.

    The invariant: `spent + reserved <= limit` whenever a reservation is granted. A call that is
    refused waits for settlements, because a worst case is mostly several times the real price;
    only when it is refused with nothing reserved is the budget exhausted.
    """

    def __init__(self, *, limit_nano: int | None, spent_nano: int) -> None:
        self._limit = limit_nano
        self.spent_nano = spent_nano
        """Confirmed and unknown money so far, nano-dollars."""
        self.reserved_nano = 0
        """Worst cases of the calls in flight, nano-dollars."""
        self._in_flight = 0
        self._line = anyio.Lock(fast_acquire=True)
        self._settled = Wakeup()

    async def reserve(self, nano: int) -> bool:
        """Reserve a worst case, waiting in line for settlements; `False` if it can never fit."""
        async with self._line:
            while not self._fits(nano):
                if self._in_flight == 0:
                    return False
                await self._settled.wait()
            self.reserved_nano += nano
            self._in_flight += 1
            return True

    def reserve_now(self, nano: int) -> bool:
        """Reserve a worst case if it fits at once and nobody waits in line before it."""
        if self._line.locked() or not self._fits(nano):
            return False
        self.reserved_nano += nano
        self._in_flight += 1
        return True

    def reserve_more(self, nano: int) -> None:
        """Add to a reservation what the call did cost above it, though it may not fit."""
        self.reserved_nano += nano

    def take_over(self, nano: int) -> None:
        """Reserve again what an earlier run sent: it counts as spent until its answer comes."""
        self.spent_nano -= nano
        self.reserved_nano += nano
        self._in_flight += 1

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in flight that could still give back a part of its reserve."""
        return self._in_flight == 0

    async def settled(self) -> None:
        """Wait until something is settled."""
        await self._settled.wait()

    def settle(self, *, reserved_nano: int, cost_nano: int) -> None:
        """Replace a reservation by what the call did cost (0 if nothing, or its unknown part)."""
        self.reserved_nano -= reserved_nano
        self.spent_nano += cost_nano
        self._in_flight -= 1
        self._settled.wake()

    def add(self, nano: int) -> None:
        """Count money that nobody reserved."""
        self.spent_nano += nano

    def _fits(self, nano: int) -> bool:
        return self._limit is None or self.spent_nano + self.reserved_nano + nano <= self._limit
