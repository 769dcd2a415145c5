"""What type checkers say of the public names; mypy and pyright read this file, pytest runs it."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, assert_type

from matplotlib.axes import Axes

from nanobatch import Comparison, CostModel, Estimate, Forecast, compare
from nanobatch.cost import SlotOutcome


def test_figures_have_the_types_they_are_documented_with() -> None:
    model = CostModel(usd_per_call="0.0336", regeneration_rate=0, accept_rate=1)
    estimate = Estimate(value=Decimal(1), low=Decimal(1), high=Decimal(1), n=1)
    found = compare(model, model)

    assert_type(model.estimate(live=True), Estimate | None)
    assert_type(model.accept, Estimate | None)
    assert_type(model.regeneration_live, Estimate | None)
    assert_type(model.trail, tuple[SlotOutcome, ...])
    assert_type(model.forecast(3), Forecast)
    assert_type(model.forecast([1, 2]), Forecast)
    assert_type(Forecast.sum([model.forecast(3)]), Forecast)
    assert_type(estimate.high, Decimal)
    assert_type(found, Comparison)
    assert_type(found.cheaper, Literal["lite", "quality"] | None)
    assert_type(found.slots_to_settle, int | None)
    assert_type(found.break_even_accept_rate, Decimal | None)
    assert_type(model.plot(against=model), Axes)
    assert_type(found.plot(), Axes)
    assert_type(model.forecast(3).plot(), Axes)
