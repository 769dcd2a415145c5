"""Tables and sentences fit into a terminal of 80 columns."""

from __future__ import annotations

from decimal import Decimal

from nanobatch.demo.text import counted, percent, sentence, table, usd


def test_a_table_aligns_names_left_and_numbers_right() -> None:
    shown = table(("tier", "calls"), [("Lite", "115"), ("quality", "34")])

    assert shown.splitlines() == [
        "tier     calls",
        "-------  -----",
        "Lite       115",
        "quality     34",
    ]


def test_a_long_reason_is_wrapped_in_its_own_column() -> None:
    shown = table(("id", "why"), [("a", "word " * 40)], left=frozenset({0, 1})).splitlines()

    assert all(len(line) <= 79 for line in shown)
    assert len(shown) > 3
    assert all(line.startswith("    word") for line in shown[3:])


def test_a_sentence_wraps_but_never_breaks_a_path() -> None:
    path = "/" + "folder-" * 20

    shown = sentence(f"The images are in {path} and nowhere else, whatever the terminal's width.")

    assert path in shown.splitlines()


def test_amounts_have_four_decimals_and_rates_one() -> None:
    assert usd(Decimal("1234.56789")) == "1,234.5679"
    assert usd(None) == "n/a"
    assert percent(0.951) == "95.1 %"
    assert percent(Decimal("0.0333")) == "3.3 %"
    assert (counted(1, "image"), counted(1200, "image")) == ("1 image", "1,200 images")
