"""How many slots a run may still begin: a calibration draws its images and no more."""

from __future__ import annotations

__all__ = ["SlotQuota"]


class SlotQuota:
    """Counts the slots that a run begins; one that turns out void is given back."""

    def __init__(self, slots: int | None = None) -> None:
        """Begin to count; `None` lets any number through."""
        self._left = slots

    @property
    def is_limited(self) -> bool:
        """Whether there is an end to it."""
        return self._left is not None

    def has_room(self) -> bool:
        """Return whether another slot may begin."""
        return self._left is None or self._left > 0

    def take(self) -> None:
        """Count a slot that begins."""
        if self._left is not None:
            self._left -= 1

    def give_back(self) -> None:
        """Count a slot out of which nothing was billed."""
        if self._left is not None:
            self._left += 1
