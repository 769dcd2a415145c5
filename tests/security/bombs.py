"""The measured process: shows pixel bombs to the container check, `.image` and every filter."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zlib
from pathlib import Path

import PIL.Image

from nanobatch import BrokenImageError, Candidate, Job, filters
from nanobatch.filters.container import fault_in, sniff
from nanobatch.filters.protocol import name_of
from nanobatch.models import Tier
from tests.load.batch import peak_mib
from tests.support import LITE

MIB = 1024 * 1024


def _chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)


def _png(side_px: int, *, pixels: bytes, extra: bytes = b"") -> bytes:
    """A square of one bit a pixel."""
    header = side_px.to_bytes(4) * 2 + b"\x01\0\0\0\0"
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + extra
        + _chunk(b"IDAT", pixels)
        + _chunk(b"IEND", b"")
    )


def _zeros(size: int) -> bytes:
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(MIB)) for _ in range(size // MIB + 1))
    return packed + packer.flush()


def _saved(kind: str, size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("L", (16, 16)).save(file, kind)
    content = bytearray(file.getvalue())
    if kind == "JPEG":  # the frame header: FF C0, length, precision, height, width
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 4] = size[1].to_bytes(2) + size[0].to_bytes(2)
    return bytes(content)


def bombs() -> dict[str, bytes]:
    """Return small files that would take more than 300 MiB, or hours, to unpack."""
    small = zlib.compress(bytes(3 * 16))  # each row has its filter byte
    packed_400 = _zeros(400 * MIB)
    return {
        "a complete picture of 400 MP": _png(20_000, pixels=_zeros(20_000 * 2_501)),
        "a header of 4 billion MP": _png(2**31 - 1, pixels=small),
        "a picture": _png(16, pixels=small),
        "packed text": _png(16, pixels=small, extra=_chunk(b"zTXt", b"x\0\0" + packed_400)),
        "packed colours": _png(16, pixels=small, extra=_chunk(b"iCCP", b"x\0\0" + packed_400)),
        "packed words": _png(16, pixels=small, extra=_chunk(b"iTXt", b"x\0\1\0\0\0" + packed_400)),
        "pixels that go on": _png(16, pixels=packed_400),
        "a JPEG of 4,290 MP": _saved("JPEG", (65_500, 65_500)),
    }


def candidate(content: bytes) -> Candidate:
    header = sniff(content)
    return Candidate(
        job=Job(id="bomb", prompt="x"),
        image_bytes=content,
        mime_type=header.mime_type,
        sha256=hashlib.sha256(content).hexdigest(),
        width_px=header.width_px,
        height_px=header.height_px,
        model_id=LITE,
        tier=Tier.LITE,
        slot=1,
        usage=None,
    )


def picture(shown: Candidate) -> bool:
    return shown.image.size == (16, 16)


def judged(content: bytes) -> list[str]:
    """Return what the check, the decoder and each filter make of a file."""
    shown = candidate(content)
    found = [f"check: {fault_in(content) or 'fine'}"]
    judges: list[filters.AnyFilter] = [picture, *filters.default(), filters.MinSize()]
    for judge in judges:
        try:
            verdict: object = judge(shown)
        except BrokenImageError as error:
            verdict = f"broken, {error}"
        found.append(f"{name_of(judge)}: {verdict}")
    return found


def main() -> None:
    files = {file.stem: file for file in sorted(Path(sys.argv[1]).iterdir())}
    PIL.Image.preinit()
    judged(files.pop("a picture").read_bytes())  # decoders are loaded
    before = peak_mib()
    found = {name: judged(file.read_bytes()) for name, file in files.items()}
    print(json.dumps({"found": found, "grew_mib": peak_mib() - before}))  # noqa: T201


if __name__ == "__main__":
    main()
