from __future__ import annotations

import pytest
from PIL import Image

from nanobatch import filters
from nanobatch.errors import BrokenImageError
from nanobatch.filters.copies import sample, small_grey, tone_histograms
from tests.filters.files import COMPLETE, PNGS, candidate, noise, png, saved

PICTURES = (
    filters.Alpha(),
    filters.Exposure(),
    filters.NoBorders(),
    filters.NotBlank(),
    filters.NotTiled(),
    filters.Sharpness(),
)


def test_a_copy_is_made_once_and_shared() -> None:
    shared = candidate(saved(noise(), "PNG"))

    assert shared.derived(small_grey) is shared.derived(small_grey)


def test_what_could_not_be_made_is_not_kept() -> None:
    broken = candidate(PNGS["png-RGB"][:60])

    for _ in range(2):
        with pytest.raises(BrokenImageError):
            broken.derived(small_grey)


def test_a_picture_that_somebody_changed_has_new_copies() -> None:
    changed = candidate(saved(Image.new("L", (8, 8), 200), "PNG"))
    changed.image.paste(0, (0, 0, 8, 8))
    assert set(changed.derived(small_grey).tobytes()) == {0}

    changed.forget_changes()

    assert set(changed.derived(small_grey).tobytes()) == {200}


def test_copies_live_on_while_nobody_changes_the_picture() -> None:
    kept = candidate(saved(noise(), "PNG"))
    grey = kept.derived(small_grey)

    kept.forget_changes()

    assert kept.derived(small_grey) is grey


def test_a_grey_copy_has_512_by_512_pixels_or_as_many_in_another_shape() -> None:
    sizes = {
        (1024, 1024): (512, 512),
        (2048, 512): (1024, 256),
        (300, 400): (300, 400),
        (4096, 1): (4096, 1),
    }

    for size, small in sizes.items():
        assert small_grey(candidate(saved(Image.new("L", size), "PNG"))).size == small


def test_the_pixels_of_a_grey_copy_are_means() -> None:
    columns = Image.new("L", (2, 1))
    columns.putpixel((1, 0), 200)
    stripes = Image.new("L", (1024, 1024))
    for left in range(0, 1024, 2):
        stripes.paste(columns.resize((2, 1024)), (left, 0))

    assert set(small_grey(candidate(saved(stripes, "PNG"))).tobytes()) == {100}


def test_the_pixels_of_a_sample_are_those_of_the_picture() -> None:
    large = Image.new("L", (3000, 3000), 7)
    large.paste(9, (0, 0, 3000, 1500))

    seen = sample(candidate(saved(large, "PNG")))

    assert seen.size == (1024, 1024)
    assert sorted(seen.getcolors() or []) == [(512 * 1024, 7), (512 * 1024, 9)]


def test_what_is_transparent_is_seen_on_white_and_on_black() -> None:
    glass = candidate(saved(Image.new("RGBA", (4, 4), (10, 20, 30, 0)), "PNG"))

    assert set(small_grey(glass).tobytes()) == {255}
    assert [channel.index(16) for channel in tone_histograms(glass)] == [255] * 3 + [0] * 3


def test_16_bits_are_scaled_to_8() -> None:
    row = b"\x00" + (40_000).to_bytes(2, "big") * 8

    assert set(small_grey(candidate(png(8, 4, rows=row * 4, depth=16))).tobytes()) == {156}


@pytest.mark.parametrize("name", COMPLETE)
@pytest.mark.parametrize("judge", PICTURES, ids=lambda judge: judge.name)
def test_every_kind_of_file_gets_a_verdict_and_stays_as_it_is(
    name: str, judge: filters.Filter
) -> None:
    judged = candidate(COMPLETE[name])
    before = (judged.image.mode, judged.image.size, judged.image.tobytes())

    judge(judged)

    assert (judged.image.mode, judged.image.size, judged.image.tobytes()) == before
