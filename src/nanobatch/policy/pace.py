"""How fast money and images may go: limits over a sliding window, kept before anybody complains.

Providers limit spending per ten minutes and images per minute. A call above the limit is refused,
which costs time and patience but no money; a batch that keeps the pace meets no refusal at all.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

import anyio

from nanobatch.errors import ConfigError
from nanobatch.models.money import MAX_USD, nano_within_usd
from nanobatch.policy.wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Pace", "Pacer", "Spent"]

SPEND_WINDOW_SECONDS = 600.0
IMAGE_WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Limits of the account, so that a batch keeps below them instead of running into them.

    A limit holds in every window of that length, whichever moment of a call the provider counts:
    a call in flight counts at its worst case, a settled one at its cost, from its start until one
    window after its end. The limits go on counting across a restart.

    Source: spend limits of the Gemini API are $10 (tier 1), $50 (tier 2) and $200 (tier 3) in any
    10 minutes, as users report them; images per minute are shown only at
    https://aistudio.google.com/rate-limit. Collected 2026-11-23, unverified.

    Raises:
        ConfigError: A limit that is not above 0.
    """

    usd_per_10_minutes: Decimal | str | float | None = None
    """Most USD in any ten minutes, above 0; `None` for no such limit.

    A call whose worst case alone is above it is let through when nothing else counts.
    """

    images_per_minute: int | None = None
    """Most calls in any minute, >= 1, whatever comes of them; `None` for no such limit."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        if self.usd_per_10_minutes is not None:
            usd = self.usd_per_10_minutes
            try:
                amount = Decimal(str(usd))
            except InvalidOperation:
                amount = Decimal("NaN")
            if isinstance(usd, bool) or not amount.is_finite() or not 0 < amount <= MAX_USD:
                raise ConfigError(
                    f"Pace(usd_per_10_minutes={usd!r}): it must be an amount of USD above 0, or "
                    "None for no limit."
                )
            object.__setattr__(self, "usd_per_10_minutes", amount)
        images: object = self.images_per_minute
        is_count = isinstance(images, int) and not isinstance(images, bool) and images >= 1
        if images is not None and not is_count:
            raise ConfigError(
                f"Pace(images_per_minute={images!r}): it must be a whole number from 1, or None "
                "for no limit."
            )

    @property
    def nano_usd(self) -> int | None:
        """The spend limit in whole nano-dollars, rounded down; `None` if there is none."""
        usd = self.usd_per_10_minutes
        return None if usd is None else nano_within_usd(Decimal(usd))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What was spent shortly before a run began, by an earlier run of the same checkpoint."""

    seconds_ago: float
    nano: int
    images: int = 1
    """1 for a call that was to draw, 0 for one that judged."""


class Pacer:
    """Lets a call pass only when it keeps the pace; used by one run, first come, first served."""

    def __init__(self, pace: Pace, *, before: Iterable[Spent] = ()) -> None:
        """Begin to count.

        Args:
            pace: The limits.
            before: Calls of earlier runs, the oldest first.
        """
        earlier = list(before)
        self._spend = _Window(pace.nano_usd, SPEND_WINDOW_SECONDS)
        self._images = _Window(pace.images_per_minute, IMAGE_WINDOW_SECONDS)
        now = anyio.current_time()
        for one in earlier:
            self._spend.keep(one.nano, since=now - one.seconds_ago)
            self._images.keep(one.images, since=now - one.seconds_ago)
        self._line = anyio.Lock(fast_acquire=True)
        self._changed = Wakeup()
        self._waits_until: float | None = None

    @property
    def seconds_left(self) -> float | None:
        """How long the first in line waits if nothing settles before; `None` if nobody waits.

        Infinity if it waits for calls in flight.
        """
        if self._waits_until is None:
            return None
        return max(0.0, self._waits_until - anyio.current_time())

    async def reserve(self, worst_nano: int, *, images: int = 1) -> None:
        """Wait in line until a call fits, and count it at its worst case.

        Args:
            worst_nano: Nano-dollars.
            images: 1 for a call that draws, 0 for one that only judges.
        """
        async with self._line:
            while wait_seconds := self.wait_seconds(worst_nano, images=images):
                self._waits_until = anyio.current_time() + wait_seconds
                try:
                    with anyio.move_on_after(wait_seconds):
                        await self._changed.wait()
                finally:
                    self._waits_until = None
            self._count(worst_nano, images)

    def reserve_now(self, worst_nano: int, *, images: int = 1) -> bool:
        """Count a call at its worst case if it fits at once and nobody waits in line before it."""
        if self._line.locked() or self.wait_seconds(worst_nano, images=images):
            return False
        self._count(worst_nano, images)
        return True

    def reserve_more(self, nano: int) -> None:
        """Add to what a call counts for what it did cost above that."""
        self._spend.reserved += nano

    def settle(self, *, reserved_nano: int, cost_nano: int, images: int = 1) -> None:
        """Count a call at its cost, for one window from now."""
        self._spend.settle(reserved_nano, cost_nano)
        self._images.settle(images, images)
        self._changed.wake()

    def cancel(self, *, reserved_nano: int, images: int = 1) -> None:
        """Forget a call that was never sent."""
        self._spend.settle(reserved_nano, 0)
        self._images.settle(images, 0)
        self._changed.wake()

    def wait_seconds(self, worst_nano: int, *, images: int = 1) -> float:
        """Return how long a call has to wait if nothing settles before; 0 if it fits now."""
        seconds = self._spend.wait_seconds(worst_nano)
        return max(seconds, self._images.wait_seconds(images)) if images else seconds

    def _count(self, worst_nano: int, images: int) -> None:
        self._spend.reserved += worst_nano
        self._images.reserved += images


class _Window:
    """Amounts that count for a time, and those in flight that have not begun to run out."""

    def __init__(self, limit: int | None, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._kept: deque[tuple[float, int]] = deque()
        self._total = 0
        self.reserved = 0

    def keep(self, amount: int, *, since: float) -> None:
        """Count an amount for one window from a moment on."""
        if self._limit is not None and amount:
            self._kept.append((since + self._seconds, amount))
            self._total += amount

    def settle(self, reserved: int, amount: int) -> None:
        """Replace a reservation by an amount that counts from now on."""
        self.reserved -= reserved
        self.keep(amount, since=anyio.current_time())

    def wait_seconds(self, amount: int) -> float:
        """Return the time until the next amount runs out; 0 if a further one fits now."""
        if self._limit is None:
            return 0.0
        now = anyio.current_time()
        while self._kept and self._kept[0][0] <= now:
            self._total -= self._kept.popleft()[1]
        counting = self._total + self.reserved
        if counting == 0 or counting + amount <= self._limit:
            return 0.0
        return self._kept[0][0] - now if self._kept else float("inf")
