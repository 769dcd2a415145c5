"""Finds the nearest of very many 64-bit hashes without looking at most of them."""

from __future__ import annotations

from array import array
from itertools import combinations
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_DISTANCE", "HashIndex"]

MAX_DISTANCE: Final = 15
"""Above it a look-up would visit most of the index."""

_BANDS: Final = 4
_BAND_BITS: Final = 16
_NONE: Final = -1
_EVERY_FOURTH: Final = 0x1111_1111_1111_1111


class HashIndex:
    """Hashes in the order they were added, to be asked for the nearest within a fixed distance.

    Each hash stands in four tables, by a quarter of its bits. Two hashes that differ in at most
    `distance` bits differ in at most a quarter of that in one of the quarters, so a look-up visits
    only the buckets so near: 68 of 262,144 for a distance of 4 to 7. A quarter is every fourth bit,
    because neighbouring bits of a picture's hash tend to agree. It takes 24 bytes a hash, and
    1 MiB.

    Source: M. Norouzi, A. Punjani, D. Fleet, Fast Search in Hamming Space with Multi-Index
    Hashing, CVPR 2012.

    Args:
        distance: Most bits that may differ, 0 to 15.
    """

    def __init__(self, distance: int) -> None:
        self._distance = distance
        self._flips = tuple(_flips(distance // _BANDS))
        self._hashes = array("Q")
        self._newest = [array("i", [_NONE]) * (1 << _BAND_BITS) for _ in range(_BANDS)]
        """By band, the last hash in each bucket."""
        self._older = [array("i") for _ in range(_BANDS)]
        """By band, the hash before each one in its bucket."""

    def __len__(self) -> int:
        """Return how many hashes it holds."""
        return len(self._hashes)

    def add(self, wanted: int) -> None:
        """Add a hash; its place is the number of hashes before it."""
        place = len(self._hashes)
        self._hashes.append(wanted)
        for newest, older, key in zip(self._newest, self._older, _keys(wanted), strict=True):
            older.append(newest[key])
            newest[key] = place

    def places_of(self, wanted: int) -> Iterator[int]:
        """Yield the places of exactly this hash, the last one first."""
        place = self._newest[0][_gathered(wanted & _EVERY_FOURTH)]
        while place != _NONE:
            if self._hashes[place] == wanted:
                yield place
            place = self._older[0][place]

    def nearest(self, wanted: int, *, but: int = _NONE) -> tuple[int, int] | None:
        """Return place and distance of the nearest hash, of several the first; `None` if too far.

        It is exact: nothing within the distance is missed.

        Args:
            wanted: The hash to look for.
            but: A place that does not count; -1 if all do.
        """
        hashes = self._hashes
        best, found = self._distance + 1, _NONE
        for newest, older, key in zip(self._newest, self._older, _keys(wanted), strict=True):
            for flip in self._flips:
                place = newest[key ^ flip]
                while place != _NONE:
                    differing = (hashes[place] ^ wanted).bit_count()
                    is_nearer = differing < best or (differing == best and place < found)
                    if is_nearer and place != but:
                        best, found = differing, place
                    place = older[place]
        return None if found == _NONE else (found, best)


def _flips(most: int) -> Iterator[int]:
    """Yield every way in which at most so many bits of a band differ, as a mask."""
    for count in range(most + 1):
        for bits in combinations(range(_BAND_BITS), count):
            yield sum(1 << bit for bit in bits)


def _keys(wanted: int) -> tuple[int, ...]:
    """Return the bands of a hash: bits 0, 4, 8, ...; 1, 5, 9, ...; and so on."""
    return tuple([_gathered(wanted >> band & _EVERY_FOURTH) for band in range(_BANDS)])


def _gathered(spread: int) -> int:
    """Return 16 bits that stand four apart, side by side."""
    spread = (spread | spread >> 3) & 0x0303_0303_0303_0303
    spread = (spread | spread >> 6) & 0x000F_000F_000F_000F
    spread = (spread | spread >> 12) & 0x0000_00FF_0000_00FF
    return (spread | spread >> 24) & 0xFFFF
