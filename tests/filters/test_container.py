from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nanobatch.filters.container import Header, fault_in, sniff
from tests.filters.files import (
    COMPLETE,
    JPEGS,
    PALETTE,
    PNG_MAGIC,
    PNGS,
    WEBPS,
    chunk,
    ihdr,
    noise,
    png,
    png_of,
    saved,
    segment,
    webp_chunks,
    webp_of,
)

ROWS = zlib.compress(bytes(25 * 16))
SOF = segment(0xC0, struct.pack(">BHHB", 8, 16, 24, 1) + bytes(3))
SOS = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00")


def cuts(files: dict[str, bytes]) -> list[object]:
    """Return the files without what may stand after their end."""
    return [
        pytest.param(image_bytes, id=name)
        for name, image_bytes in files.items()
        if not name.endswith("-trailing")
    ]


@pytest.mark.parametrize("name", COMPLETE)
def test_a_complete_image_of_any_kind_has_no_fault(name: str) -> None:
    assert fault_in(COMPLETE[name]) is None


@pytest.mark.parametrize("name", COMPLETE)
def test_the_header_is_read_from_the_bytes(name: str) -> None:
    mime_type, extension = {
        "png": ("image/png", "png"),
        "jpeg": ("image/jpeg", "jpg"),
        "webp": ("image/webp", "webp"),
    }[name.partition("-")[0]]

    assert sniff(COMPLETE[name]) == Header(
        mime_type=mime_type, width_px=24, height_px=16, extension=extension
    )


def test_the_webp_samples_cover_all_three_layouts() -> None:
    first_chunks = {webp_chunks(image_bytes)[0][0] for image_bytes in WEBPS.values()}

    assert first_chunks == {b"VP8 ", b"VP8L", b"VP8X"}


def test_the_jpeg_samples_hold_what_their_names_say() -> None:
    assert b"\xff\xc0" in JPEGS["jpeg-baseline"]
    assert b"\xff\xc2" in JPEGS["jpeg-progressive"]
    assert JPEGS["jpeg-progressive"].count(b"\xff\xda") > 1
    assert b"\xff\xd0" in JPEGS["jpeg-restarts"]
    assert JPEGS["jpeg-exif-preview"].count(b"\xff\xd8\xff") == 2


@pytest.mark.parametrize("image_bytes", cuts(COMPLETE))
def test_an_image_cut_at_any_byte_has_a_fault(image_bytes: bytes) -> None:
    passed = [
        length for length in range(len(image_bytes)) if fault_in(image_bytes[:length]) is None
    ]

    assert passed == []


@pytest.mark.parametrize("image_bytes", cuts(PNGS))
def test_a_png_with_any_one_byte_changed_has_a_fault(image_bytes: bytes) -> None:
    passed = [
        (position, flip)
        for position in range(len(image_bytes))
        for flip in (0x01, 0x20, 0x80, 0xFF)
        if fault_in(_with_flipped(image_bytes, position, flip)) is None
    ]

    assert passed == []


def test_a_cut_image_is_called_cut_off() -> None:
    for name in ("png-RGB", "jpeg-baseline", "webp-lossy"):
        fault = fault_in(COMPLETE[name][:-1])

        assert fault is not None
        assert "cut off" in fault


def test_the_words_for_no_image_at_all() -> None:
    assert fault_in(b"") == "The image is empty: 0 bytes."
    assert sniff(b"") == Header(mime_type="", width_px=0, height_px=0, extension="bin")


@pytest.mark.parametrize(
    ("image_bytes", "what"),
    [
        (saved(noise(), "GIF"), "a GIF image"),
        (saved(noise(), "BMP"), "a BMP image"),
        (saved(noise(), "TIFF"), "a TIFF image"),
        (saved(noise(size=(16, 16)), "ICO", bitmap_format="bmp"), "an icon (ICO)"),
        (b"MM\x00*\x00\x00\x00\x08", "a TIFF image"),
        (b"\xff\x0a\x00", "a JPEG XL image"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "a JPEG XL image"),
        (b"\x00\x00\x00\x1cftypavif", "an AVIF or HEIC image or a video"),
        (b"%PDF-1.7", "a PDF document"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1f\x8b\x08", "gzip data"),
        (PNG_MAGIC.replace(b"\r\n", b"\n"), "a PNG damaged in transfer"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "a RIFF file that is no WebP image"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"<svg/>", "an SVG drawing"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><title>502</title>", "an HTML page"),
        (b"<p>oh</p><body>", "an HTML page"),
        (b'<?xml version="1.0"?><a/>', "XML"),
        (b'{"error": {"code": 500}}', "JSON"),
        (b"[1]", "JSON"),
        (b"I cannot draw that.\r\n", "plain text"),
        (b"\x00\x01\x02\x03\x04\x05\x06\x07", "unknown binary content"),
    ],
)
def test_what_is_no_png_jpeg_or_webp_is_named(image_bytes: bytes, what: str) -> None:
    fault = fault_in(image_bytes)

    assert fault is not None
    assert what in fault
    assert sniff(image_bytes).mime_type == ""
    assert sniff(image_bytes).extension == "bin"


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_an_animated_image_is_called_animated(file_format: str) -> None:
    frames = [noise(), noise().rotate(180)]

    animated = saved(frames[0], file_format, save_all=True, append_images=frames[1:])

    assert "animated" in str(fault_in(animated))


def test_an_animated_webp_is_found_without_its_animation_bit() -> None:
    frames = [noise(), noise().rotate(180)]
    chunks = webp_chunks(saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    kind, content = chunks[0]

    unmarked = webp_of((kind, bytes([content[0] & ~0x02]) + content[1:]), *chunks[1:])

    assert "animated" in str(fault_in(unmarked))


@pytest.mark.parametrize(
    ("image_bytes", "size"),
    [
        (png(20_000, 20_000, rows=b"", depth=1), "20000x20000"),
        (png(8_001, 8_000, rows=b""), "8001x8000"),
        (png(0, 5, rows=b""), "0x5"),
        (png(5, 0, rows=b""), "5x0"),
        (JPEGS["jpeg-baseline"].replace(b"\x00\x10\x00\x18", b"\x4e\x20\x4e\x20"), "20000x20000"),
        (JPEGS["jpeg-baseline"].replace(b"\x00\x10\x00\x18", b"\x00\x00\x00\x18"), "24x0"),
        (webp_of((b"VP8L", b"\x2f\xff\xff\xff\x0f\x00")), "16384x16384"),
        (
            webp_of((b"VP8 ", b"\x10\x00\x00\x9d\x01\x2a\x10\x27\x10\x27\x00\x00")),
            "10000x10000",
        ),
    ],
)
def test_a_size_of_no_pixels_or_a_bomb_is_named(image_bytes: bytes, size: str) -> None:
    assert len(image_bytes) < 2_000
    assert size in str(fault_in(image_bytes))


def test_a_picture_of_64_million_pixels_is_the_largest_that_passes() -> None:
    assert fault_in(png(8_000, 8_000, rows=b"")) is None
    assert "64,000,000" in str(fault_in(png(64_000_001, 1, rows=b"")))


@pytest.mark.parametrize(
    ("chunks", "what"),
    [
        ([chunk(b"tEXt"), ihdr(24, 16)], "begins with a tEXt chunk"),
        ([ihdr(24, 16), ihdr(24, 16), chunk(b"IDAT", ROWS), chunk(b"IEND")], "two headers"),
        ([ihdr(24, 16), chunk(b"IEND")], "no pixel data"),
        ([ihdr(24, 16), chunk(b"IDAT", ROWS)], "no end marker"),
        (
            [ihdr(24, 16), chunk(b"IDAT", ROWS), chunk(b"tIME"), chunk(b"IDAT"), chunk(b"IEND")],
            "in two places",
        ),
        (
            [ihdr(24, 16, colour_type=PALETTE), chunk(b"IDAT", ROWS), chunk(b"IEND")],
            "a palette (PLTE)",
        ),
        ([ihdr(24, 16), chunk(b"CgBI"), chunk(b"IDAT", ROWS), chunk(b"IEND")], "CgBI"),
        ([ihdr(24, 16), chunk(b"ID4T", ROWS), chunk(b"IEND")], "no chunk"),
        ([ihdr(24, 16, depth=3), chunk(b"IDAT", ROWS), chunk(b"IEND")], "3 bits"),
        ([ihdr(24, 16, colour_type=7), chunk(b"IDAT", ROWS), chunk(b"IEND")], "colour type 7"),
        ([ihdr(24, 16, interlace=2), chunk(b"IDAT", ROWS), chunk(b"IEND")], "interlace"),
        ([chunk(b"IHDR", bytes(12)), chunk(b"IDAT", ROWS), chunk(b"IEND")], "12 bytes long"),
        ([ihdr(24, 16), *[chunk(b"tIME")] * 100_000], "100,000 chunks"),
    ],
)
def test_a_png_with_chunks_wrong_missing_or_misplaced_has_a_fault(
    chunks: list[bytes], what: str
) -> None:
    assert what in str(fault_in(png_of(*chunks)))


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        ([b"\xff\xd9"], "before any pixel data"),
        ([SOF, b"\xff\xd9"], "before any pixel data"),
        ([SOS, b"\x12\x34\xff\xd9"], "before a frame header"),
        ([SOF, SOF, SOS, b"\x12\xff\xd9"], "frame header"),
        ([segment(0xC0, b"\x08"), SOS, b"\x12\xff\xd9"], "frame header"),
        ([SOF.replace(b"\x18\x01", b"\x18\x03"), SOS, b"\x12\xff\xd9"], "frame header"),
        ([SOF, SOS, b"\xff\xd9"], "without pixel data"),
        ([SOF, b"\xff\xd8", SOS, b"\x12\xff\xd9"], "FFD8"),
        ([SOF, b"\xff\xe1\x00\x01", SOS, b"\x12\xff\xd9"], "impossible length"),
        ([SOF, b"\x00", SOS, b"\x12\xff\xd9"], "no marker"),
        ([segment(0xFE, b"")] * 100_001, "100,000 segments"),
    ],
)
def test_a_jpeg_with_segments_wrong_missing_or_misplaced_has_a_fault(
    parts: list[bytes], what: str
) -> None:
    assert what in str(fault_in(b"\xff\xd8" + b"".join(parts)))


def test_fill_bytes_restarts_and_stuffed_bytes_in_a_jpeg_are_no_fault() -> None:
    scan = b"\x12\xff\x00\x34\xff\xd0\x56\xff\xff\xd9"

    assert fault_in(b"\xff\xd8\xff\x01\xff\xff" + SOF + SOS + scan) is None


@pytest.mark.parametrize(
    ("image_bytes", "what"),
    [
        (webp_of(), "header cannot be read"),
        (webp_of((b"ALPH", bytes(20))), "header cannot be read"),
        (webp_of((b"VP8L", b"\x2f\x00\x00\x00\xe0")), "header cannot be read"),
        (webp_of((b"VP8X", bytes(10))), "0 pictures"),
        (webp_of((b"VP8X", bytes(10)), webp_chunks(WEBPS["webp-lossy"])[0]), "does not fit"),
        (webp_of(*webp_chunks(WEBPS["webp-metadata"]) * 2), "2 pictures"),
        (WEBPS["webp-lossy"][:16] + b"\xff\xff\xff\x7f" + WEBPS["webp-lossy"][20:], "longer"),
        (webp_of((b"VP8 ", webp_chunks(WEBPS["webp-lossy"])[0][1][:12])), "picture is cut off"),
        (
            webp_of((b"VP8X", bytes(10)), *[(b"EXIF", b"")] * 100_000),
            "100,000 chunks",
        ),
    ],
)
def test_a_webp_with_chunks_wrong_missing_or_too_many_has_a_fault(
    image_bytes: bytes, what: str
) -> None:
    assert what in str(fault_in(image_bytes))


def test_a_still_webp_that_claims_to_be_animated_is_called_animated() -> None:
    (kind, content), *others = webp_chunks(WEBPS["webp-metadata"])

    marked = webp_of((kind, bytes([content[0] | 0x02]) + content[1:]), *others)

    assert "animated" in str(fault_in(marked))


@pytest.mark.parametrize("code", range(0xC0, 0xD0))
def test_the_size_of_a_jpeg_is_in_its_frame_header_of_whatever_process(code: int) -> None:
    is_frame = code not in {0xC4, 0xC8, 0xCC}  # tables, reserved, arithmetic conditioning

    header = sniff(b"\xff\xd8" + SOF.replace(b"\xff\xc0", bytes([0xFF, code])))

    assert (header.width_px, header.height_px) == ((24, 16) if is_frame else (0, 0))


def test_a_preview_inside_exif_is_not_mistaken_for_the_picture() -> None:
    preview = saved(noise(size=(8, 8)), "JPEG")
    picture = JPEGS["jpeg-exif-preview"]
    end_of_preview = picture.index(preview) + len(preview)

    assert sniff(picture).width_px == 24
    assert "cut off" in str(fault_in(picture[:end_of_preview]))


@given(st.binary(max_size=300))
def test_no_bytes_make_the_check_raise(image_bytes: bytes) -> None:
    assert sniff(image_bytes).extension in {"png", "jpg", "webp", "bin"}
    assert isinstance(fault_in(image_bytes), str)


@given(
    st.sampled_from([PNG_MAGIC, b"\xff\xd8\xff", b"RIFF\x40\x00\x00\x00WEBP"]),
    st.binary(max_size=300),
)
def test_no_bytes_after_a_right_beginning_make_the_check_raise(magic: bytes, rest: bytes) -> None:
    assert sniff(magic + rest).mime_type.startswith("image/")
    assert isinstance(fault_in(magic + rest), str | None)


@given(st.data())
def test_no_change_to_an_image_makes_the_check_raise_or_pass_a_size_out_of_range(
    data: st.DataObject,
) -> None:
    image_bytes = bytearray(data.draw(st.sampled_from(list(COMPLETE.values()))))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(image_bytes)))
        removed = data.draw(st.integers(0, 8))
        image_bytes[start : start + removed] = data.draw(st.binary(max_size=8))

    header, fault = sniff(bytes(image_bytes)), fault_in(bytes(image_bytes))

    assert fault is None or fault.endswith(".")
    if fault is None:
        assert header.mime_type
        assert 0 < header.width_px * header.height_px <= 64_000_000


def test_the_size_read_is_the_size_decoded() -> None:
    for width, height in [(1, 1), (300, 7), (7, 300)]:
        picture = Image.new("RGB", (width, height))
        for file_format in ("PNG", "JPEG", "WEBP"):
            header = sniff(saved(picture, file_format))

            assert (header.width_px, header.height_px) == (width, height)


def _with_flipped(image_bytes: bytes, position: int, flip: int) -> bytes:
    changed = bytes([image_bytes[position] ^ flip])
    return image_bytes[:position] + changed + image_bytes[position + 1 :]
