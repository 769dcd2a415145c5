"""Filters on the file as such: is it large enough, and is every pixel of it there?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanobatch.candidate import Verdict
from nanobatch.errors import BrokenImageError, ConfigError
from nanobatch.filters.container import fault_of, png

if TYPE_CHECKING:
    from nanobatch.candidate import Candidate

__all__ = ["Decodes", "MinBytes"]


@dataclass(frozen=True, slots=True)
class MinBytes:
    """Rejects files too small to hold a detailed picture: the cheapest sign of a failed image."""

    name: str = field(default="min_bytes", init=False, repr=False)

    min_bytes: int = 40_000
    """Smallest file that passes, in bytes, >= 0."""

    def __post_init__(self) -> None:
        """Refuse what is no count.

        Raises:
            ConfigError: `min_bytes` is negative.
        """
        if self.min_bytes < 0:
            raise ConfigError(f"MinBytes: min_bytes must be >= 0, not {self.min_bytes!r}.")

    def __call__(self, candidate: Candidate, /) -> Verdict:
        """Accept a file of at least `min_bytes`."""
        size_bytes = len(candidate.image_bytes)
        if size_bytes < self.min_bytes:
            return Verdict.reject(
                f"file too small ({size_bytes:,} bytes, at least {self.min_bytes:,})"
            )
        return Verdict.accept()


@dataclass(frozen=True, slots=True)
class Decodes:
    """Decodes every pixel; a file that cannot be decoded is broken, not rejected.

    Stricter than Pillow alone, whose `load()` accepts a PNG with 10 of its 4,000 rows (measured on
    Pillow 13.0.0, 2026-11-24): the last row of a PNG is watched, and where that does not show that
    it came, all are inflated and counted. What it cannot see is a JPEG whose scan was cut and then
    closed by a fresh end marker: decoders fill the rest. Nor does it see every PNG whose chunks
    have right checksums while the one inside its pixel data is wrong: somebody wrote it that way,
    and decoders show it.
    """

    name: str = field(default="decodes", init=False, repr=False)

    def __call__(self, candidate: Candidate, /) -> Verdict:
        """Accept what decodes.

        Raises:
            BrokenImageError: The file is incomplete or its pixels cannot be decoded.
        """
        # First, because Pillow lets a cut file pass when LOAD_TRUNCATED_IMAGES is set somewhere.
        fault = fault_of(candidate)
        if fault is not None:
            raise BrokenImageError(fault)
        is_png = candidate.image_bytes.startswith(png.MAGIC)
        try:
            candidate.image.load()
        except BrokenImageError:
            if is_png:  # it says more exactly what is wrong
                png.check_rows(candidate.image_bytes)
            raise
        # Inflating a second time takes 9 ms, so only where decoding did not show the last row.
        if is_png and not candidate.has_last_row:
            png.check_rows(candidate.image_bytes)
        return Verdict.accept()
