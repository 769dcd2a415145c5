from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from decimal import Decimal
from typing import Any

import pytest

from nanobatch import Forecast

INFINITY = Decimal("Infinity")


def part(name: str, low: str, expected: str, high: str, **fields: Any) -> Forecast:
    return Forecast(
        images=fields.pop("images", 10),
        low_usd=Decimal(low),
        expected_usd=Decimal(expected),
        high_usd=Decimal(high),
        is_measured=fields.pop("is_measured", True),
        name=name,
        **fields,
    )


def bounds(forecast: Forecast) -> list[Decimal]:
    return [forecast.low_usd, forecast.expected_usd, forecast.high_usd]


def test_independent_parts_add_their_distances_in_squares() -> None:
    lite, quality = part("lite", "7", "10", "16"), part("quality", "16", "20", "28")

    both = Forecast.sum([lite, quality], name="both")

    # below: 3 and 4 make 5; above: 6 and 8 make 10
    assert bounds(both) == [25, 30, 40]
    assert both.images == 20
    assert both.parts == (lite, quality)


def test_one_part_is_a_sum_to_the_last_digit() -> None:
    one = part("lite", "0.123456789012345678901", "0.2", "0.3")

    whole = Forecast.sum([one])

    assert whole.low_usd == one.low_usd


def test_no_parts_are_no_images_for_no_money() -> None:
    nothing = Forecast.sum([])

    assert nothing.images == 0
    assert bounds(nothing) == [0, 0, 0]
    assert nothing.is_measured


def test_drafts_that_are_finished_are_no_images_of_their_own() -> None:
    whole = Forecast.sum([part("draft", "1", "2", "3"), part("finish", "1", "2", "3")], images=10)

    assert whole.images == 10


def test_a_sum_is_measured_only_if_all_its_parts_are_and_keeps_each_note_once() -> None:
    guessed = part("a", "1", "2", "3", is_measured=False, note="Rates taken as exact.")

    whole = Forecast.sum([guessed, part("b", "1", "2", "3"), guessed])

    assert not whole.is_measured
    assert whole.note == "Rates taken as exact."


def test_a_part_without_an_end_leaves_the_sum_a_lower_bound() -> None:
    whole = Forecast.sum([part("a", "1", "2", "3"), part("b", "4", "Infinity", "Infinity")])

    assert bounds(whole) == [5, INFINITY, INFINITY]
    assert "no image has been accepted yet; at least 5.00 USD" in str(whole)


def test_parts_of_different_levels_do_not_add_up() -> None:
    with pytest.raises(ValueError, match=r"different levels \[0\.9, 0\.95\]"):
        Forecast.sum([part("a", "1", "2", "3"), part("b", "1", "2", "3", level=0.9)])


def test_no_amount_is_above_the_cap() -> None:
    capped = part("a", "7", "10", "16").capped(Decimal(9))

    assert bounds(capped) == [7, 9, 9]


def test_a_forecast_prints_a_table_and_says_the_same_in_a_sentence() -> None:
    whole = Forecast.sum([part("lite", "7", "10", "16"), part("2K", "16", "20", "28")])

    assert str(whole).splitlines() == [
        "      images    USD  95 % from  95 % to",
        "lite      10  10.00       7.00    16.00",
        "2K        10  20.00      16.00    28.00",
        "all       20  30.00      25.00    40.00",
        "20 images: about 30.00 USD, 25.00 to 40.00 USD (95 %, rates measured).",
    ]


def test_a_notebook_shows_the_table_with_names_escaped() -> None:
    html = Forecast.sum([part("<b>", "7", "10", "16")])._repr_html_()

    assert "<td>&lt;b&gt;</td><td>10</td><td>10.00</td><td>7.00</td><td>16.00</td>" in html
    assert html.endswith(
        "<p>10 images: about 10.00 USD, 7.00 to 16.00 USD (95 %, rates measured).</p>"
    )


def test_a_forecast_is_a_value() -> None:
    one: Any = part("a", "1", "2", "3")

    copy = pickle.loads(pickle.dumps(one))  # noqa: S301 - our own bytes

    assert copy == one
    assert hash(copy) == hash(one)
    with pytest.raises(FrozenInstanceError):
        one.images = 3
