"""When the provider is down: many transient faults and not one success between them."""

from __future__ import annotations

__all__ = ["OutageBreaker"]

MIN_FAULTS = 50


class OutageBreaker:
    """Counts transient faults since the last success; used by one run."""

    def __init__(self, *, concurrency: int) -> None:
        self._limit = max(MIN_FAULTS, 3 * concurrency)
        self._faults = 0

    def succeeded(self) -> None:
        """Start counting anew."""
        self._faults = 0

    def failed(self) -> bool:
        """Count one transient fault; `True` if it is an outage by now."""
        self._faults += 1
        return self._faults >= self._limit
