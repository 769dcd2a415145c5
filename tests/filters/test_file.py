from __future__ import annotations

import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageFile

from nanobatch.candidate import Verdict
from nanobatch.errors import BrokenImageError, ConfigError
from nanobatch.filters import Decodes, MinBytes
from nanobatch.filters.container import fault_in
from nanobatch.filters.container.png import check_rows
from tests.filters.files import (
    CHANNELS,
    COMPLETE,
    LEGAL_DEPTHS,
    RGB,
    candidate,
    chunk,
    ihdr,
    noise,
    png,
    png_of,
    saved,
)

PASS_OF_PIXEL = [
    "16462646",
    "77777777",
    "56565656",
    "77777777",
    "36463646",
    "77777777",
    "56565656",
    "77777777",
]
"""Which Adam7 pass each pixel of an 8x8 tile is in, as drawn in the PNG specification, 8.1."""


MODES = {
    "1": (1, 0),
    "I;16": (16, 0),
    "L": (8, 0),
    "LA": (8, 4),
    "P": (8, 3),
    "RGB": (8, 2),
    "RGBA": (8, 6),
}
"""Depth and colour type of what Pillow opens in these modes."""


def test_a_file_of_exactly_the_least_size_passes() -> None:
    judge = MinBytes(40_000)

    assert judge(candidate(bytes(40_000))) == Verdict.accept()
    assert judge(candidate(bytes(39_999))) == Verdict.reject(
        "file too small (39,999 bytes, at least 40,000)"
    )


def test_the_least_size_is_40_000_bytes_by_default() -> None:
    assert MinBytes() == MinBytes(min_bytes=40_000)


def test_a_least_size_of_zero_lets_every_file_pass() -> None:
    assert MinBytes(0)(candidate(b"")).accepted


def test_a_negative_least_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="-1"):
        MinBytes(-1)


@pytest.mark.parametrize("name", COMPLETE)
def test_a_complete_image_of_any_kind_decodes(name: str) -> None:
    assert Decodes()(candidate(COMPLETE[name])) == Verdict.accept()


@pytest.mark.parametrize("name", ["png-RGB", "jpeg-baseline", "webp-lossy"])
def test_a_cut_image_is_broken_not_rejected(name: str) -> None:
    with pytest.raises(BrokenImageError, match="cut off"):
        Decodes()(candidate(COMPLETE[name][:-1]))


@pytest.mark.parametrize("name", ["png-RGB", "jpeg-baseline", "webp-lossy"])
def test_a_cut_image_is_broken_even_where_pillow_was_told_to_be_lenient(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)

    with pytest.raises(BrokenImageError, match="cut off"):
        Decodes()(candidate(COMPLETE[name][:-1]))


def test_what_is_no_image_is_broken() -> None:
    with pytest.raises(BrokenImageError, match="an HTML page"):
        Decodes()(candidate(b"<!doctype html>"))


@pytest.mark.parametrize("name", ["jpeg-baseline", "webp-lossless"])
def test_pixels_that_do_not_decode_inside_a_sound_structure_are_broken(name: str) -> None:
    whole = COMPLETE[name]
    damaged = {
        "jpeg-baseline": whole.replace(b"\xff\xdb", b"\xff\xee"),  # no quantization tables any more
        "webp-lossless": whole[:25] + bytes(len(whole) - 25),
    }[name]

    with pytest.raises(BrokenImageError, match="does not decode"):
        Decodes()(candidate(damaged))


def test_a_png_with_10_of_its_4000_rows_is_broken_although_pillow_loads_it() -> None:
    short = candidate(png(4000, 4000, rows=bytes(10 * 12_001), colour_type=RGB))

    assert short.image.size == (4000, 4000)
    # A row is a filter byte and 4,000 x 3 bytes; 4,000 rows are 48,004,000 bytes.
    with pytest.raises(BrokenImageError, match="120,010 of 48,004,000 bytes"):
        Decodes()(short)


@pytest.mark.parametrize(
    ("width", "height", "depth", "colour_type", "interlace", "row_bytes"),
    [
        (3, 2, 1, 0, 0, 4),  # 2 rows of 1 + 1
        (9, 2, 1, 0, 0, 6),  # 9 bits are 2 bytes
        (5, 3, 4, 3, 0, 12),  # 20 bits are 3 bytes
        (5, 3, 8, 2, 0, 48),  # 3 rows of 1 + 15
        (5, 3, 16, 6, 0, 123),  # 3 rows of 1 + 40
        (1, 1, 8, 0, 1, 2),  # the first pass alone
        (5, 5, 8, 0, 1, 36),  # 25 pixels and 1+1+1+2+1+3+2 filter bytes
        (8, 8, 8, 0, 1, 79),  # 64 pixels and 1+1+1+2+2+4+4 filter bytes
    ],
)
def test_the_bytes_a_png_needs_are_those_worked_out_by_hand(
    *, width: int, height: int, depth: int, colour_type: int, interlace: int, row_bytes: int
) -> None:
    def of(size_bytes: int) -> bytes:
        return png(
            width,
            height,
            rows=bytes(size_bytes),
            depth=depth,
            colour_type=colour_type,
            interlace=interlace,
        )

    check_rows(of(row_bytes))
    with pytest.raises(BrokenImageError, match=f"{row_bytes - 1:,} of {row_bytes:,} bytes"):
        check_rows(of(row_bytes - 1))


@pytest.mark.parametrize("fill", [b"\x00", b"\x01"])  # black; and filter 1 with something to see
@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize(("colour_type", "depth"), LEGAL_DEPTHS)
@settings(max_examples=15)
@given(width=st.integers(1, 40), height=st.integers(1, 40))
def test_every_byte_of_every_row_of_a_png_counts(
    *, width: int, height: int, colour_type: int, depth: int, interlace: int, fill: bytes
) -> None:
    needed = _row_bytes(width, height, bits=depth * CHANNELS[colour_type], interlace=interlace)
    whole, short = (
        png(
            width,
            height,
            rows=fill * size_bytes,
            depth=depth,
            colour_type=colour_type,
            interlace=interlace,
        )
        for size_bytes in (needed, needed - 1)
    )

    assert Decodes()(candidate(whole)).accepted
    with pytest.raises(BrokenImageError, match=f"{needed - 1:,} of {needed:,} bytes"):
        Decodes()(candidate(short))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "I;16"])
def test_a_last_row_is_missed_in_every_mode_whatever_its_colour(mode: str) -> None:
    depth, colour_type = MODES[mode]
    row_bytes = 1 + -(-24 * depth * CHANNELS[colour_type] // 8)
    # The colours that decoding looks for in the last row: here they are the picture.
    row = bytes([0, *[83, 171, 59, 113][: CHANNELS[colour_type]] * 24])[:row_bytes]
    row = row.ljust(row_bytes, b"S")
    palette = [chunk(b"PLTE", bytes(3 * 256))] if mode == "P" else []

    def drawn(rows: int) -> bytes:
        header = ihdr(24, 16, depth=depth, colour_type=colour_type)
        return png_of(header, *palette, chunk(b"IDAT", zlib.compress(row * rows)), chunk(b"IEND"))

    assert Decodes()(candidate(drawn(16))).accepted
    with pytest.raises(BrokenImageError, match="lacks pixels"):
        Decodes()(candidate(drawn(15)))


def test_the_rows_of_a_very_high_picture_are_all_counted() -> None:
    with pytest.raises(BrokenImageError, match="0 of 40,000,000 bytes"):
        check_rows(png(1, 20_000_000, rows=b""))


def test_rows_that_show_something_to_the_end_are_not_inflated_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(_: bytes) -> None:
        pytest.fail("the rows were counted")

    monkeypatch.setattr("nanobatch.filters.container.png.check_rows", never)

    assert Decodes()(candidate(saved(noise(), "PNG"))).accepted


def test_more_pixel_data_than_the_rows_need_does_no_harm() -> None:
    assert Decodes()(candidate(png(24, 16, rows=bytes(25 * 20)))).accepted


@pytest.mark.parametrize(
    ("idat", "what"),
    [
        (b"", "0 of 400 bytes"),
        (zlib.compress(b""), "0 of 400 bytes"),
        (zlib.compress(bytes(399)), "399 of 400 bytes"),
        (zlib.compress(bytes(399)) + bytes(70_000), "399 of 400 bytes"),  # junk after the stream
        (b"no zlib stream", "does not inflate"),
        (zlib.compress(bytes(200))[:-1] + b"\xff", "does not inflate"),  # a wrong Adler-32
    ],
)
def test_pixel_data_that_does_not_inflate_to_all_rows_is_broken(idat: bytes, what: str) -> None:
    damaged = png_of(ihdr(24, 16), chunk(b"IDAT", idat), chunk(b"IEND"))

    assert fault_in(damaged) is None
    with pytest.raises(BrokenImageError, match=what):
        Decodes()(candidate(damaged))


def test_pixel_data_in_many_small_chunks_is_counted_as_one() -> None:
    stream = zlib.compress(noise("L", (400, 300)).tobytes() + bytes(300))
    pieces = [chunk(b"IDAT", stream[i : i + 7]) for i in range(0, len(stream), 7)]

    check_rows(png_of(ihdr(400, 300), *pieces, chunk(b"IEND")))


def test_counting_the_rows_of_a_bomb_takes_less_than_a_megabyte() -> None:
    # 63 MB of pixels in a file of about 63 kB.
    bomb = png(8_000, 7_900, rows=bytes(7_900 * 8_001))
    tracemalloc.start()

    check_rows(bomb)

    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1_000_000


def test_the_decoded_picture_is_shared_with_later_filters() -> None:
    judged = candidate(saved(noise(), "PNG"))

    Decodes()(judged)

    assert "image" in vars(judged)


def _row_bytes(width: int, height: int, *, bits: int, interlace: int) -> int:
    """Count pixel by pixel; deliberately not by the formula under test."""
    pixels: dict[tuple[int, int], int] = {}
    for y in range(height):
        for x in range(width):
            row = (int(PASS_OF_PIXEL[y % 8][x % 8]) if interlace else 0, y)
            pixels[row] = pixels.get(row, 0) + 1
    return sum(1 + -(-count * bits // 8) for count in pixels.values())
