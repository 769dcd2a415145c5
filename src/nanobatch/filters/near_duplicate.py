"""A filter on what was accepted before: the same picture is not accepted twice."""

from __future__ import annotations

import logging
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from nanobatch.candidate import MAX_PIXELS, Verdict
from nanobatch.errors import ConfigError
from nanobatch.filters.hamming import MAX_DISTANCE, HashIndex
from nanobatch.filters.perceptual_hash import HASH_BITS, perceptual_hash

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.candidate import AcceptedImage, Candidate

__all__ = ["NearDuplicate"]

_MEMO_BYTES: Final = HASH_BITS // 8
_log = logging.getLogger("nanobatch")


class _Accepted:
    """Which image each hash belongs to."""

    def __init__(self, distance: int) -> None:
        self.index = HashIndex(distance)
        self._job_ids: list[str] = []
        self._numbers = array("Q")

    def add(self, found: int, image: AcceptedImage) -> None:
        """Add an image; one that is told again changes nothing."""
        known = (self.at(place) for place in self.index.places_of(found))
        if (image.job_id, image.number) not in known:
            self.index.add(found)
            self._job_ids.append(image.job_id)
            self._numbers.append(image.number)

    def nearest(self, wanted: int, *, but: tuple[str, int] | None) -> tuple[int, int] | None:
        """Return place and distance of the nearest image other than `but`; `None` if too far."""
        near = self.index.nearest(wanted)
        if near is not None and self.at(near[0]) == but:
            return self.index.nearest(wanted, but=near[0])
        return near

    def at(self, place: int) -> tuple[str, int]:
        """Return job id and number of an image."""
        return self._job_ids[place], self._numbers[place]


@dataclass(frozen=True, slots=True, kw_only=True)
class NearDuplicate:
    """Rejects pictures that look like one that was accepted before, in any run of the checkpoint.

    Compared are perceptual hashes: 64 bits that say where the picture is lighter and darker, from
    an eighth of its side up (`phash`, see `nanobatch.filters.perceptual_hash`). The same picture
    at another size, format, brightness or compression stays within a few bits, unrelated pictures
    differ in about 32. The hash sees neither colour nor fine detail. What it misses: crops,
    rotated and mirrored copies, the same subject drawn again.

    Of two near-duplicates in flight exactly one is accepted. A candidate that has waited, for its
    `best_of` group or for a finish that failed (`finish_fallback`), is compared once more before
    it is accepted, also where this filter stands inside a combination. The finish of an image that
    a person chose is not compared with that image: it is meant to look like it.

    Use one object for one checkpoint: whatever it was told of, it compares with. It takes about
    100 bytes an accepted image. Among a million a look-up takes less than a millisecond for a
    distance up to 7, about 4 up to 11, and tens above that.
    An image that was accepted in a run without this filter is read from its file.
    """

    name: str = field(default="near_duplicate", init=False, repr=False)

    distance: int = 6
    """Most bits of 64 in which two pictures differ that count as the same, 0 to 15."""

    _accepted: _Accepted = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Begin with nothing to compare with.

        Raises:
            ConfigError: `distance` is no whole number from 0 to 15.
        """
        distance = cast("object", self.distance)
        is_count = isinstance(distance, int) and not isinstance(distance, bool)
        if not is_count or not 0 <= self.distance <= MAX_DISTANCE:
            raise ConfigError(
                f"NearDuplicate: distance must be a whole number of bits from 0 to {MAX_DISTANCE}, "
                f"not {distance!r}."
            )
        object.__setattr__(self, "_accepted", _Accepted(self.distance))

    def __call__(self, candidate: Candidate, /) -> Verdict:
        """Accept a picture that is unlike every accepted one; the reason names the nearest.

        Raises:
            BrokenImageError: The pixels cannot be decoded.
        """
        memo = perceptual_hash(candidate.image).to_bytes(_MEMO_BYTES, "big")
        return self._compared(memo, but=candidate.finishes)

    def again(self, memo: bytes, /) -> Verdict:
        """Return the verdict on a picture by its hash: images may have been accepted since."""
        return self._compared(memo)

    def _compared(self, memo: bytes, *, but: tuple[str, int] | None = None) -> Verdict:
        near = self._accepted.nearest(int.from_bytes(memo, "big"), but=but)
        if near is None:
            return Verdict(accepted=True, memo=memo)
        place, differing = near
        job_id, number = self._accepted.at(place)
        return Verdict(
            accepted=False,
            reason=f"near-duplicate (of image {number} of job {job_id!r}: "
            f"{differing} of {HASH_BITS} bits differ)",
            memo=memo,
        )

    def seen(self, image: AcceptedImage, memo: bytes, /) -> None:
        """Compare with this image from now on."""
        found = int.from_bytes(memo, "big") if len(memo) == _MEMO_BYTES else _hash_of(image.path)
        if found is not None:
            self._accepted.add(found, image)


def _hash_of(path: Path) -> int | None:
    """Return the hash of an accepted file; `None` if it cannot be read any more."""
    import PIL.Image  # noqa: PLC0415 - heavy: imported when used

    try:
        with PIL.Image.open(path, formats=("PNG", "JPEG", "WEBP")) as picture:
            if picture.width * picture.height <= MAX_PIXELS:
                return perceptual_hash(picture)
            why = f"more than {MAX_PIXELS:,} pixels"
    except Exception as error:  # noqa: BLE001 - Pillow raises SyntaxError, struct.error, ...
        why = f"{type(error).__name__}: {error}"
    _log.warning("Filter near_duplicate cannot compare with %s: %s.", path.name, why)
    return None
