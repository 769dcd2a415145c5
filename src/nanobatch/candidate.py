"""What a model returned, what the filters said of it, and what was kept."""

from __future__ import annotations

import io
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

from nanobatch.errors import BrokenImageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

    from nanobatch.job import Job
    from nanobatch.models import Tier, TokenUsage

__all__ = ["MAX_PIXELS", "AcceptedImage", "Candidate", "Verdict"]

_T = TypeVar("_T")

MAX_PIXELS = 64_000_000
"""Largest image that is ever decoded, in pixels: twice what a 4K model draws, far below a bomb."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the filters say of one candidate."""

    accepted: bool
    """Whether the candidate passes."""

    reason: str = ""
    """Why it was rejected, in words for a person; empty for an acceptance."""

    score: float | None = None
    """How good it is, larger is better, any scale; `None` if the filter does not rank."""

    usd: Decimal = Decimal(0)
    """What this judgement cost, USD, >= 0."""

    memo: bytes = b""
    """What the filter wants back on resume if the image is accepted (`RemembersAccepted.seen`)."""

    @classmethod
    def accept(cls, score: float | None = None) -> Verdict:
        """Return an acceptance, with a score if the filter ranks."""
        return cls(accepted=True, score=score)

    @classmethod
    def reject(cls, reason: str, score: float | None = None) -> Verdict:
        """Return a rejection; `reason` is shown to people and counted in reports."""
        return cls(accepted=False, reason=reason, score=score)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An image a model returned and nobody has judged.

    Not slotted: the decoded image and what else is expensive is computed once, when asked for.
    """

    job: Job
    """The job this candidate is meant for."""

    image_bytes: bytes
    """The file exactly as the provider delivered it."""

    mime_type: str
    """`image/png`, `image/jpeg` or `image/webp`, read from the bytes; empty if none of them."""

    sha256: str
    """Hex digest of `image_bytes`."""

    width_px: int
    """Width from the header, before any rotation; 0 if there is no readable header."""

    height_px: int
    """Height from the header, before any rotation; 0 if there is no readable header."""

    model_id: str
    """The model that was asked."""

    tier: Tier
    """The tier it was asked in."""

    slot: int
    """The slot in the checkpoint."""

    usage: TokenUsage | None
    """What the call used; `None` if the provider did not say."""

    finishes: tuple[str, int] | None = None
    """Job id and number of the accepted image of which this is the finish, if a person chose it
    (`TwoTierPipeline.finish`): it is meant to look like that one. `None` for all others."""

    def __repr__(self) -> str:
        """Show what identifies the candidate, never its bytes."""
        return (
            f"Candidate(job={self.job.id!r}, slot={self.slot}, {self.mime_type or 'no image'}, "
            f"{self.width_px}x{self.height_px}, sha256={self.sha256[:12]})"
        )

    @cached_property
    def image(self) -> Image:
        """The decoded picture, a PIL image in the file's own mode; decoded once and shared.

        It is read-only: work on `candidate.image.copy()` or on a converted image. What a filter
        changes all the same (`thumbnail`, `paste`) the next filter does not see.

        Raises:
            BrokenImageError: The bytes do not decode, or are larger than `MAX_PIXELS`.
                The pipeline then treats the candidate as broken, whatever filter asked.
        """
        import PIL.Image  # noqa: PLC0415 - heavy: imported when used

        if not 0 < self.width_px * self.height_px <= MAX_PIXELS:
            raise BrokenImageError(
                f"The header says {self.width_px}x{self.height_px} px; "
                f"only 1 to {MAX_PIXELS:,} pixels are decoded."
            )
        try:
            picture = PIL.Image.open(io.BytesIO(self.image_bytes), formats=("PNG", "JPEG", "WEBP"))
            if picture.width * picture.height > MAX_PIXELS:
                raise BrokenImageError(f"It decodes to more than {MAX_PIXELS:,} pixels.")
            mark = _mark_last_row(picture)
            picture.load()
            self.__dict__["_has_last_row"] = mark is not None and _last_row(picture) != mark
        except Exception as error:  # noqa: BLE001 - Pillow raises SyntaxError, struct.error, ...
            self.__dict__["_decode_fault"] = fault = f"The image does not decode: {error}"
            raise BrokenImageError(fault) from None
        picture.readonly = 1  # Pillow then copies the pixels before it changes them
        self.__dict__["_pixels"] = picture.im
        return picture

    @property
    def decode_fault(self) -> str | None:
        """Why `image` could not be decoded, if somebody asked for it; `None` otherwise."""
        return cast("str | None", self.__dict__.get("_decode_fault"))

    @property
    def has_last_row(self) -> bool:
        """Whether decoding has written the last row, as far as that was seen.

        Pillow leaves missing rows of a PNG as they were, without a word; so a mark is put into
        the last row first. `False` may also mean that the picture is of a kind that hides it.
        """
        return bool(self.__dict__.get("_has_last_row"))

    def derived(self, make: Callable[[Candidate], _T]) -> _T:
        """Return `make(candidate)`, made for the first filter that asks and shared by all others.

        For what several filters need and what takes time, for instance a small grey copy. Whoever
        gets it must not change it, and it should not hold the candidate itself.

        Args:
            make: Makes it; a function of a module, since the same function gets the same object.

        Raises:
            BrokenImageError: `make` looks at an image that does not decode.
            Exception: What else `make` raises; nothing is kept then.
        """
        made: dict[object, Any] = self.__dict__.setdefault("_derived", {})
        if make not in made:
            made[make] = make(self)
        return cast("_T", made[make])

    def forget_changes(self) -> None:
        """Drop the decoded picture if somebody changed it: the next one to ask gets a fresh one.

        What was derived goes with it, since nobody knows from which of the two it was made.
        """
        picture = self.__dict__.get("image")
        if picture is None:
            return
        try:
            is_intact = picture.im is self.__dict__["_pixels"]
        except ValueError:  # somebody closed it
            is_intact = False
        if not is_intact:
            self.forget_picture()

    def forget_picture(self) -> None:
        """Drop the decoded picture and what was derived: whoever asks again decodes again."""
        for name in ("image", "_pixels", "_derived"):
            self.__dict__.pop(name, None)


_MARKS = {"L": 83, "P": 83, "LA": (83, 171), "RGB": (83, 171, 59), "RGBA": (83, 171, 59, 113)}
"""An odd colour for each mode whose rows are written from top to bottom, once."""


def _mark_last_row(picture: ImageFile) -> bytes | None:
    """Colour the last row of a PNG that is not decoded yet; return its bytes, if it was done."""
    ink = _MARKS.get(picture.mode)
    if ink is None or picture.format != "PNG" or picture.info.get("interlace"):
        return None
    width, height = picture.size
    picture.load_prepare()
    picture.im.paste(ink, (0, height - 1, width, height))
    return bytes(ink if isinstance(ink, tuple) else (ink,)) * width


def _last_row(picture: ImageFile) -> bytes:
    width, height = picture.size
    return picture.crop((0, height - 1, width, height)).tobytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedImage:
    """A candidate that passed, durably on disk and in the checkpoint."""

    job_id: str
    number: int
    """Which image of its job, from 1 in the order of acceptance."""

    path: Path
    """Absolute path of the file; its bytes are exactly as delivered."""

    sha256: str
    """Hex digest of the file."""

    mime_type: str
    width_px: int
    height_px: int
    model_id: str
    """The model that drew this file."""

    tier: Tier
    """The tier that drew this file."""

    usd: Decimal
    """Confirmed USD of its slot; of draft and finish together if it was finished."""

    score: float | None
    """The last score a filter gave it; `None` if no filter ranks."""

    prompt: str
    slot: int
    """The slot in the checkpoint."""
