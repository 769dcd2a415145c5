from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from nanobatch import Forecast
from tests.cost.plots.drawn import bars, dots, words
from tests.cost.slots import flat

INFINITY = Decimal("Infinity")
ONE = Forecast(
    images=600,
    low_usd=Decimal(24),
    expected_usd=Decimal(30),
    high_usd=Decimal(36),
    is_measured=True,
    name="lite",
)
OTHER = Forecast(
    images=20,
    low_usd=Decimal(2),
    expected_usd=Decimal(10),
    high_usd=Decimal(18),
    is_measured=True,
    name="quality",
)


def test_a_forecast_is_its_expected_amount_and_its_bounds() -> None:
    ax = ONE.plot()

    assert dots(ax, "o") == [(30, 0)]
    assert bars(ax) == [[(24, 0), (36, 0)]]
    assert ax.get_xlim() == pytest.approx((0, 1.08 * 36))
    assert ax.get_xlabel() == "USD"
    assert words(ax) == [
        "What 600 accepted images will cost",
        "lite, 600 images: 30.00 (24.00 to 36.00) USD",
        ONE.sentence,
    ]


def test_every_part_has_a_row_and_the_whole_comes_last() -> None:
    ax = Forecast.sum([ONE, OTHER]).plot()

    # distances of 6 and 8 make one of 10, to either side
    assert dots(ax, "o") == [(30, 0), (10, 1), (40, 2)]
    assert bars(ax) == [[(24, 0), (36, 0)], [(2, 1), (18, 1)], [(30, 2), (50, 2)]]
    assert words(ax)[1:4] == [
        "lite, 600 images: 30.00 (24.00 to 36.00) USD",
        "quality, 20 images: 10.00 (2.00 to 18.00) USD",
        "all, 620 images: 40.00 (30.00 to 50.00) USD",
    ]


def test_bounds_that_are_not_known_end_in_an_arrow() -> None:
    night = replace(OTHER, high_usd=INFINITY)
    ax = Forecast.sum([ONE, night]).plot()

    right = ax.get_xlim()[1]
    assert right == pytest.approx(3 * 40)
    assert dots(ax, ">") == [(right, 1), (right, 2)]
    assert "quality, 20 images: 10.00 (2.00 or more) USD" in words(ax)


def test_an_amount_that_is_not_known_has_no_dot() -> None:
    ax = flat(12, 0).forecast(100).plot()

    low = float(flat(12, 0).forecast(100).low_usd)
    assert dots(ax, "o") == []
    assert bars(ax)[0][0] == (pytest.approx(low), 0)
    assert dots(ax, ">") == [(pytest.approx(3 * low), 0)]
    assert words(ax)[1].endswith("or more USD")


def test_nothing_to_pay_is_drawn_at_zero() -> None:
    ax = flat(50, 35).forecast(0).plot()

    assert dots(ax, "o") == [(0, 0)]
    assert ax.get_xlim() == (0, 0.01)


def test_large_amounts_have_separators_on_the_axis() -> None:
    ax = replace(ONE, expected_usd=Decimal(25_000), high_usd=Decimal(30_000)).plot()

    labels = [label.get_text() for label in ax.get_xticklabels()]

    assert "10,000" in labels


def test_a_name_is_taken_as_it_is_and_cut_to_what_fits() -> None:
    ax = replace(ONE, name="$5\nand $6, " + "long " * 30).plot()

    (label,) = (text for text in ax.texts if "600 images: 30.00" in text.get_text())
    assert label.get_text().startswith(r"$5\nand $6, long")
    assert label.get_text().index("…, 600 images") == 49
    assert not label.get_parse_math()  # dollars are no formula
