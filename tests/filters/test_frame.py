from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobatch.candidate import Verdict
from nanobatch.errors import BrokenImageError, ConfigError
from nanobatch.filters import AspectRatio, MinSize
from tests.filters.files import candidate, png


def of_size(width: int, height: int) -> bytes:
    """Return a PNG that says this size; its pixels are not needed here."""
    return png(width, height, rows=b"")


def test_a_picture_of_exactly_the_least_size_passes() -> None:
    assert MinSize(width_px=300, height_px=200)(candidate(of_size(300, 200))) == Verdict.accept()


@pytest.mark.parametrize(("width", "height"), [(299, 200), (300, 199), (200, 300)])
def test_a_picture_too_narrow_or_too_low_is_rejected(width: int, height: int) -> None:
    verdict = MinSize(width_px=300, height_px=200)(candidate(of_size(width, height)))

    assert verdict == Verdict.reject(f"picture too small ({width}x{height} px, at least 300x200)")


def test_the_least_size_is_512_by_512_by_default() -> None:
    assert MinSize() == MinSize(width_px=512, height_px=512)


def test_a_least_size_of_one_pixel_can_be_asked_for() -> None:
    assert MinSize(width_px=1, height_px=1)(candidate(of_size(1, 1))).accepted


@pytest.mark.parametrize(("width", "height"), [(0, 512), (512, -1)])
def test_a_least_size_without_pixels_is_refused(width: int, height: int) -> None:
    with pytest.raises(ConfigError, match=f"{width} and {height}"):
        MinSize(width_px=width, height_px=height)


@pytest.mark.parametrize(
    ("aspect_ratio", "width", "height"),
    [
        ("1:1", 1024, 1024),
        ("16:9", 1376, 768),
        ("16:9", 1408, 768),
        ("9:16", 768, 1376),
        ("2:3", 848, 1264),
        ("4:5", 928, 1152),
        ("21:9", 1584, 672),
        ("8:1", 2048, 256),
    ],
)
def test_the_sizes_models_deliver_for_a_ratio_pass(
    aspect_ratio: str, width: int, height: int
) -> None:
    assert AspectRatio()(candidate(of_size(width, height), aspect_ratio=aspect_ratio)).accepted


@pytest.mark.parametrize(
    ("aspect_ratio", "width", "height"),
    [("16:9", 1024, 1024), ("16:9", 768, 1376), ("4:5", 896, 1200), ("4:3", 1152, 928)],
)
def test_another_ratio_even_the_nearest_one_on_offer_is_rejected(
    aspect_ratio: str, width: int, height: int
) -> None:
    assert not AspectRatio()(candidate(of_size(width, height), aspect_ratio=aspect_ratio)).accepted


def test_the_reason_states_the_ratio_there_is_and_the_one_wanted() -> None:
    verdict = AspectRatio()(candidate(of_size(1024, 1024), aspect_ratio="16:9"))

    assert verdict.reason == "wrong aspect ratio (1024x1024 px is 1.00, 16:9 is 1.78)"


@pytest.mark.parametrize(("width", "passes"), [(105, True), (106, False), (95, False), (96, True)])
def test_the_tolerance_is_relative_and_its_edge_passes(width: int, *, passes: bool) -> None:
    # Too high by 100/96 - 1 = 4.2 % or 100/95 - 1 = 5.3 %.
    assert AspectRatio(tolerance=0.05)(candidate(of_size(width, 100))).accepted is passes


@given(st.integers(1, 9000), st.integers(1, 7000))
def test_without_tolerance_exactly_the_ratio_itself_passes(width: int, height: int) -> None:
    judged = candidate(of_size(width, height), aspect_ratio="3:2")

    assert AspectRatio(tolerance=0)(judged).accepted is (2 * width == 3 * height)


@given(st.integers(1, 9000), st.integers(1, 7000))
def test_a_picture_and_its_ratio_turned_on_their_side_are_judged_alike(
    width: int, height: int
) -> None:
    upright = candidate(of_size(width, height), aspect_ratio="2:3")
    on_its_side = candidate(of_size(height, width), aspect_ratio="3:2")

    assert AspectRatio()(upright).accepted == AspectRatio()(on_its_side).accepted


def test_a_file_without_a_header_is_broken_not_of_the_wrong_ratio() -> None:
    with pytest.raises(BrokenImageError, match="header"):
        AspectRatio()(candidate(b"<html>"))


@pytest.mark.parametrize("tolerance", [-0.01, math.nan, math.inf])
def test_a_tolerance_that_is_no_amount_is_refused(tolerance: float) -> None:
    with pytest.raises(ConfigError, match=str(tolerance)):
        AspectRatio(tolerance=tolerance)
