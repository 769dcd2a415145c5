"""The two grades of model a batch is split over."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Tier"]


class Tier(StrEnum):
    """Which grade of model a call goes to; the names are also roles of the registry."""

    LITE = "lite"
    """Cheap, fast, many."""

    QUALITY = "quality"
    """Dear and reliable; also finishes chosen Lite images."""
