from __future__ import annotations

from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from nanobatch import CostModel, compare
from tests.cost.plots.drawn import across, bars, curves, dots, down, words
from tests.cost.slots import Slot, flat, measured

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.text import Text

LITE = flat(50, 35)
QUALITY = flat(50, 45, nano_usd=134_400_000)
BY_HAND = CostModel(usd_per_call="0.0336", regeneration_rate="0.08", accept_rate="0.7")
NONE_ACCEPTED = flat(12, 0)
NO_SLOTS = CostModel.from_ledger([])

SITUATIONS: dict[str, Callable[[], Axes]] = {
    "measured": LITE.plot,
    "live": lambda: LITE.plot(live=True),
    "by hand": BY_HAND.plot,
    "against": lambda: LITE.plot(against=QUALITY),
    "against nothing accepted": lambda: LITE.plot(against=NONE_ACCEPTED),
    "against what is free": lambda: LITE.plot(against=flat(50, 30, nano_usd=0)),
    "against no slots": lambda: LITE.plot(against=NO_SLOTS),
    "nothing accepted": NONE_ACCEPTED.plot,
    "no slots": NO_SLOTS.plot,
    "one slot": lambda: flat(1, 1).plot(),
    "a huge interval": lambda: flat(40, 1).plot(),
    "a tiny interval": lambda: flat(20_000, 14_000).plot(),
    "all accepted": lambda: flat(50, 50).plot(),
    "free": lambda: flat(50, 30, nano_usd=0).plot(),
    "nearly free": lambda: flat(50, 30, nano_usd=1).plot(),
    "more images than billed slots": lambda: measured(
        [Slot((10**7,), True), Slot((), True)]
    ).plot(),
    "Lite cheaper": lambda: compare(LITE, QUALITY).plot(),
    "open": lambda: compare(flat(20, 12), flat(20, 18, nano_usd=60_000_000)).plot(),
    "quality cheaper": lambda: compare(flat(60, 8), flat(60, 57, nano_usd=67_000_000)).plot(),
    "two by hand": lambda: compare(BY_HAND, BY_HAND).plot(),
    "Lite without images": lambda: compare(NONE_ACCEPTED, QUALITY).plot(),
    "neither with images": lambda: compare(NONE_ACCEPTED, NONE_ACCEPTED).plot(),
    "Lite without slots": lambda: compare(NO_SLOTS, QUALITY).plot(),
    "neither with slots": lambda: compare(NO_SLOTS, NO_SLOTS).plot(),
}


def test_the_curve_is_the_cost_of_a_slot_over_the_accept_rate() -> None:
    ax = LITE.plot()

    (curve,) = curves(ax)
    assert all(rate * usd == pytest.approx(0.0336) for rate, usd in curve)
    assert curve[-1] == (1, pytest.approx(0.0336))
    assert curve[0][1] == pytest.approx(ax.get_ylim()[1])  # enters the picture at its top


def test_the_point_has_its_interval_on_both_axes() -> None:
    ax = LITE.plot()

    # 35 of 50; Wilson's bounds, as docs/explanation/intervals.md has them
    (point,) = dots(ax, "o")
    across_rates, across_usd = bars(ax)
    assert point == (0.7, pytest.approx(0.048))
    assert across_rates == [
        (pytest.approx(0.562, abs=5e-4), pytest.approx(0.048)),
        (pytest.approx(0.809, abs=5e-4), pytest.approx(0.048)),
    ]
    assert across_usd == [
        (0.7, pytest.approx(0.0415, abs=5e-5)),
        (0.7, pytest.approx(0.0597, abs=5e-5)),
    ]


def test_a_live_plot_has_the_live_intervals() -> None:
    ax = LITE.plot(live=True)

    live, rate = LITE.estimate(live=True), LITE.accept_live
    assert live is not None
    assert rate is not None
    across_rates, across_usd = bars(ax)
    assert across_usd[1][1] == pytest.approx(float(live.high))
    assert across_rates[0][0] == pytest.approx(float(rate.low))
    assert any("95 % live" in text for text in words(ax))


def test_rates_entered_by_hand_are_a_point_without_interval_and_say_so() -> None:
    ax = BY_HAND.plot()

    assert dots(ax, "o") == [(0.7, pytest.approx(0.05184))]
    assert bars(ax) == []
    assert any("entered by hand" in text for text in words(ax))


def test_another_model_is_a_line_across_and_divides_the_accept_rates() -> None:
    ax = LITE.plot(against=QUALITY)

    # quality: 0.1344 / 0.9; 0.0336 / 0.14933 = 0.225
    assert across(ax) == [pytest.approx(0.1344 / 0.9)]
    assert down(ax) == [pytest.approx(0.225)]
    assert "this is cheaper above 22.5 %" in words(ax)
    assert any(text.startswith("against: 0.1493 (") for text in words(ax))


def test_without_an_accepted_image_the_least_cost_is_drawn_and_no_point() -> None:
    ax = NONE_ACCEPTED.plot()

    least = NONE_ACCEPTED.estimate()
    assert least is not None
    (low,) = across(ax)
    assert low == pytest.approx(float(least.low))
    assert low < ax.get_ylim()[1] < 10 * low
    assert dots(ax, "o") == []
    assert words(ax)[0] == "No accepted image yet"


def test_without_slots_there_is_nothing_but_words() -> None:
    ax = NO_SLOTS.plot()

    assert list(ax.lines) == []
    assert words(ax)[0] == "No slots yet"


def test_an_interval_too_long_to_show_ends_in_an_arrow_at_the_top() -> None:
    ax = flat(40, 1).plot()

    top = ax.get_ylim()[1]
    assert top == pytest.approx(3 * 40 * 0.0336)
    assert dots(ax, "^") == [(0.025, top)]
    assert max(usd for bar in bars(ax) for _, usd in bar) == pytest.approx(top)


def test_an_interval_that_fits_has_no_arrow() -> None:
    assert dots(LITE.plot(), "^") == []


def test_a_comparison_shows_both_tiers_and_where_they_cost_the_same() -> None:
    ax = compare(LITE, QUALITY).plot()

    lite, quality = curves(ax)
    assert all(rate * usd == pytest.approx(0.0336) for rate, usd in lite)
    assert all(rate * usd == pytest.approx(0.1344) for rate, usd in quality)
    assert dots(ax, "o") == [(0.7, pytest.approx(0.048))]
    assert dots(ax, "s") == [(0.9, pytest.approx(0.1344 / 0.9))]
    assert down(ax) == [pytest.approx(0.225)]
    assert across(ax) == [pytest.approx(0.1344 / 0.9)]


def test_a_comparison_says_the_verdict_the_evidence_and_the_figures() -> None:
    comparison = compare(LITE, QUALITY)

    said = words(comparison.plot())

    assert said[0] == "Lite is cheaper per accepted image"
    assert "Lite is cheaper above 22.5 %" in said
    assert comparison.sentence in said
    assert said[-2].startswith("Lite: 0.0480 (0.0415 to 0.0597, 95 %, n = 50) USD")
    assert said[-1].startswith("quality: 0.1493 (")


@pytest.mark.parametrize(
    ("lite", "quality", "title"),
    [
        (flat(60, 8), flat(60, 57, nano_usd=67_000_000), "Quality is cheaper per accepted image"),
        (flat(9, 4), flat(9, 8), "Quality looks cheaper, but that is not settled"),
        (BY_HAND, BY_HAND, "Lite and quality cost the same"),
        (NONE_ACCEPTED, NONE_ACCEPTED, "No accepted image yet"),
    ],
)
def test_the_title_is_no_surer_than_the_evidence(
    lite: CostModel, quality: CostModel, title: str
) -> None:
    assert words(compare(lite, quality).plot())[0] == title


def test_the_title_says_so_when_figures_have_left_the_evidence_behind() -> None:
    changed = replace(compare(LITE, QUALITY), cheaper="quality")

    title, *said = words(changed.plot())

    assert title == "What was settled and today's figures disagree"
    assert changed.sentence in said


def test_there_is_no_dividing_line_where_lite_is_never_cheaper() -> None:
    ax = compare(flat(20, 15, nano_usd=70_000_000), flat(20, 18)).plot()  # 0.9 x 70 / 33.6 > 1

    assert down(ax) == []
    assert not any("cheaper above" in text for text in words(ax))


@pytest.mark.parametrize("situation", SITUATIONS)
def test_limits_are_finite_and_hold_what_is_drawn(situation: str) -> None:
    ax = SITUATIONS[situation]()

    bottom, top = ax.get_ylim()
    assert (*ax.get_xlim(), bottom) == (0, 1, 0)
    assert isfinite(top)
    assert all(0 <= x <= 1 and 0 <= y <= top * 1.000001 for x, y in dots(ax, "o") + dots(ax, "s"))


@pytest.mark.parametrize("situation", SITUATIONS)
def test_no_words_overlap_or_leave_the_figure(situation: str) -> None:
    ax = SITUATIONS[situation]()
    figure = ax.get_figure(root=True)
    assert figure is not None
    canvas = FigureCanvasAgg(figure)

    canvas.draw()  # type: ignore[no-untyped-call] # so are its stubs

    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call] # as above
    legend = ax.get_legend()
    texts: list[Text] = [ax._left_title, *ax.texts, ax.xaxis.label]  # type: ignore[attr-defined] # no public way to this artist
    texts += [] if legend is None else legend.get_texts()
    boxes = [text.get_window_extent(renderer) for text in texts]
    for number, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, texts[number]
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1, texts[number]
        assert not any(box.overlaps(other) for other in boxes[:number]), texts[number]
