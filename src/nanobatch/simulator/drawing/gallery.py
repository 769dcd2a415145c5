"""The pictures that were painted so far: each is painted once a process, then reused."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from random import Random
from typing import TYPE_CHECKING, Literal

from PIL import Image, ImageFilter

from nanobatch.simulator.drawing.canvas import finish_surface
from nanobatch.simulator.drawing.files import File, encode
from nanobatch.simulator.drawing.finish import finished
from nanobatch.simulator.drawing.scenes import Motif, paint

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from nanobatch.simulator.drawing.canvas import Size

__all__ = ["Kind", "finish", "picture"]

Kind = Literal["good", "blank", "blurred", "dark", "noise"]

_MAX_CACHE_BYTES = 384 * 1024 * 1024
_MAX_PAINTED_PX = 6_000_000
"""Larger pictures are painted at half the size and enlarged."""
_MIN_PAINTED_SIDE_PX = 192
"""Smaller pictures are painted larger and reduced: scenes need some room."""


class _Cache:
    """Files by key, the least recently used dropped first; each is made by one thread only."""

    def __init__(self) -> None:
        self._files: OrderedDict[Hashable, File] = OrderedDict()
        self._size_bytes = 0
        self._lock = threading.Lock()
        self._making: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, make: Callable[[], File]) -> File:
        with self._lock:
            if key in self._files:
                self._files.move_to_end(key)
                return self._files[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._files:
                    return self._files[key]
            file = make()
            with self._lock:
                self._files[key] = file
                self._size_bytes += len(file.content)
                while self._size_bytes > _MAX_CACHE_BYTES and len(self._files) > 1:
                    _, dropped = self._files.popitem(last=False)
                    self._size_bytes -= len(dropped.content)
                self._making.pop(key, None)
        return file


_CACHE = _Cache()


def picture(motif: Motif, size: Size, *, kind: Kind, tier: str, mime_type: str) -> File:
    """Return the file of one motif, painted now or earlier.

    Args:
        motif: What it shows.
        size: Width and height in pixels.
        kind: `good`, or one of the ways in which a picture goes wrong.
        tier: The tier of the model that paints it.
        mime_type: `image/png` or `image/jpeg`.
    """
    key = (motif, size, kind, tier, mime_type)
    return _CACHE.get(key, lambda: encode(_painted(motif, size, kind=kind, tier=tier), mime_type))


def finish(draft: bytes, size: Size, *, mime_type: str) -> File:
    """Return the finished version of a draft.

    Raises:
        OSError: The draft is no readable image.
    """
    key = (hashlib.sha256(draft).digest(), size, mime_type)

    def make() -> File:
        with Image.open(io.BytesIO(draft)) as opened:
            return encode(finished(opened.convert("RGB"), size), mime_type)

    return _CACHE.get(key, make)


def _painted(motif: Motif, size: Size, *, kind: Kind, tier: str) -> Image.Image:
    rng = Random(f"{kind}/{tier}/{motif.scene}/{motif.variation}")  # noqa: S311 - no secret
    if kind == "noise":
        return Image.frombytes("RGB", size, rng.randbytes(size[0] * size[1] * 3))
    if kind == "dark":
        return finish_surface(Image.new("RGB", size, (6, 6, 9)), rng, grain=1, vignette=0)
    if kind == "blank":
        red, green, blue = (rng.randrange(40, 216) for _ in range(3))
        return Image.new("RGB", size, (red, green, blue))
    scale = _painting_scale(size)
    painted = (round(size[0] * scale), round(size[1] * scale))
    good = paint(motif, painted, tier=tier)
    if painted != size:
        good = good.resize(size, Image.Resampling.LANCZOS)
    if kind == "blurred":
        return good.filter(ImageFilter.GaussianBlur(min(size) * 40 / 1024))
    return good


def _painting_scale(size: Size) -> float:
    if size[0] * size[1] > _MAX_PAINTED_PX:
        return 0.5
    return max(1.0, _MIN_PAINTED_SIDE_PX / min(size))
