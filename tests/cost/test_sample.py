"""Estimates and forecasts of cost models.

The numbers are those of the reference page's formulas, computed by its own program: `wilson`,
`rate_cs` (beta-binomial) and `per_accepted` (MOVER-Wilson, with z or the anytime z_n).
"""

from __future__ import annotations

import decimal
import math
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nanobatch import CostModel, Estimate, ModelRegistry
from nanobatch.cost import LedgerTotals
from tests.cost.slots import Slot, flat, ledger, measured

if TYPE_CHECKING:
    from pathlib import Path

INFINITY = Decimal("Infinity")
HUNDREDS = settings(max_examples=200, deadline=None, database=None)


def noisy() -> CostModel:
    """Fifty slots: every tenth regenerated and rejected, tokens that vary, 35 accepted."""
    return measured(
        Slot(
            (33_600_000, 33_600_000 + 100_000 * (n % 3))
            if n % 10 == 0
            else (33_600_000 + 100_000 * (n % 3),),
            n % 10 not in {0, 3, 7},
        )
        for n in range(50)
    )


def bounds(estimate: Estimate | None) -> tuple[float, float, float]:
    assert estimate is not None
    return float(estimate.low), float(estimate.value), float(estimate.high)


# --- cost per accepted image -----------------------------------------------------------------


def test_a_cost_for_one_look_has_the_bounds_of_mover_wilson() -> None:
    estimate = noisy().estimate()

    # the page's per_accepted(cost, ok, anytime=False); the value is 1.8529 / 35
    assert bounds(estimate) == pytest.approx(
        (0.04346482353168334, 0.05294, 0.06890893444368151), rel=1e-7
    )
    assert estimate is not None
    assert (estimate.n, estimate.level, estimate.live, estimate.unit) == (50, 0.95, False, "usd")


def test_a_cost_looked_at_live_has_the_bounds_of_the_anytime_z() -> None:
    estimate = noisy().estimate(live=True)

    # the page's per_accepted(cost, ok, anytime=True)
    assert bounds(estimate) == pytest.approx(
        (0.03991845243547144, 0.05294, 0.08164675106766937), rel=1e-9
    )
    assert estimate is not None
    assert estimate.live


@pytest.mark.parametrize(
    ("live", "low", "high"),
    [
        (False, 0.04153458084348956, 0.059733705622287865),
        (True, 0.03942285008517329, 0.06921142687289879),
    ],
)
def test_a_flat_price_leaves_the_uncertainty_of_the_accept_rate(
    live: bool, low: float, high: float
) -> None:
    # per_accepted([.0336] * 50, 35 of 50): C / (bound of the accept rate)
    assert bounds(flat(50, 35).estimate(live=live)) == pytest.approx((low, 0.048, high), rel=1e-7)


def test_another_level_is_another_interval() -> None:
    estimate = flat(50, 35).estimate(level=0.90)

    # Wilson's bounds for 35 of 50 at z = 1.6448536, (0.7 + z^2/100 -+ z sqrt(0.21/50 + z^2/10^4))
    # / (1 + z^2/50), are 0.5854003745535734 and 0.794066351770266; a slot is 0.0336
    usd = 0.0336 / 0.794066351770266, 0.048, 0.0336 / 0.5854003745535734
    assert bounds(estimate) == pytest.approx(usd, rel=1e-7)
    assert estimate is not None
    assert estimate.level == 0.90


@pytest.mark.parametrize("level", [0, 1, -0.5, 95, math.nan])
def test_a_level_is_above_0_and_below_1(level: float) -> None:
    with pytest.raises(ValueError, match=r"^level is .* above 0 and below 1\.$"):
        flat(50, 35).estimate(level=level)


def test_without_an_accepted_image_the_slots_still_say_what_one_costs_at_least() -> None:
    estimate = flat(50, 0).estimate()

    # the accept rate is below 0.07134760017861413, says wilson(0, 50)
    low, value, high = bounds(estimate)
    assert low == pytest.approx(0.0336 / 0.07134760017861413, rel=1e-7)
    assert value == high == math.inf


def test_an_empty_ledger_knows_nothing() -> None:
    model = CostModel.from_ledger([])

    assert bounds(model.estimate()) == (0, math.inf, math.inf)
    assert bounds(model.estimate(live=True)) == (0, math.inf, math.inf)
    assert bounds(model.accept) == bounds(model.accept_live) == (0, 0, 1)
    assert bounds(model.regeneration) == bounds(model.regeneration_live) == (0, 0, 1)


def test_one_slot_leaves_the_cost_wide_open() -> None:
    estimate = flat(1, 1).estimate()

    low, value, high = bounds(estimate)
    assert low == 0
    assert value == 0.0336
    assert high > 5 * value


def test_what_is_free_costs_nothing_for_sure() -> None:
    assert bounds(flat(50, 35, nano_usd=0).estimate()) == (0, 0, 0)


def test_an_image_in_a_slot_that_was_never_billed_breaks_nothing() -> None:
    lines = [line for line in ledger([Slot((1,), accepted=True)]) if line.call is None]

    model = CostModel.from_ledger(lines)

    assert model.accepted == 1
    assert bounds(model.estimate()) == (0, math.inf, math.inf)
    assert str(model)


# --- rates -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figure", "low", "value", "high"),
    [
        # by the page's wilson(35, 50), rate_cs(35, 50), wilson(5, 50), rate_cs(5, 50)
        ("accept", 0.5624964942316114, 0.7, 0.8089644656969429),
        ("accept_live", 0.4829231463638488, 0.7, 0.868555318518639),
        ("regeneration", 0.04347576465675888, 0.1, 0.2136023154861324),
        ("regeneration_live", 0.015658554584609255, 0.1, 0.2876604654108085),
    ],
)
def test_rates_have_wilsons_bounds_or_those_of_a_confidence_sequence(
    figure: str, low: float, value: float, high: float
) -> None:
    estimate: Estimate = getattr(noisy(), figure)

    # z is 1.959964 on the reference page and has all its digits here
    assert bounds(estimate) == pytest.approx((low, value, high), rel=1e-6)
    assert (estimate.n, estimate.unit) == (50, "rate")
    assert estimate.live == figure.endswith("live")


@pytest.mark.parametrize(
    ("accepted", "low", "high"), [(0, 0, 0.12938128909150676), (50, 0.8706187109084933, 1)]
)
def test_a_rate_at_the_end_of_its_range_stays_in_it(accepted: int, low: float, high: float) -> None:
    # by the page's rate_cs(0, 50) and rate_cs(50, 50)
    assert bounds(flat(50, accepted).accept_live) == pytest.approx(
        (low, accepted / 50, high), rel=1e-9
    )


def test_slots_of_many_calls_make_the_regeneration_rate_a_bounded_mean() -> None:
    # 5 slots of 50 with 3 extra calls each: r = 0.3 = 3 x 0.1
    model = measured(Slot((1,) * (4 if n < 5 else 1), accepted=True) for n in range(50))

    # 3 x wilson(5, 50) and 3 x rate_cs(5, 50)
    assert bounds(model.regeneration) == pytest.approx(
        (0.13042729397027664, 0.3, 0.6408069464583972), rel=1e-6
    )
    assert bounds(model.regeneration_live) == pytest.approx(
        (0.046975663753827765, 0.3, 0.8629813962324254), rel=1e-9
    )


# --- other origins -----------------------------------------------------------------------------


def test_rates_entered_by_hand_have_no_estimates() -> None:
    model = CostModel(usd_per_call="0.0336", regeneration_rate="0.08", accept_rate="0.7")

    figures = (model.accept, model.accept_live, model.regeneration, model.regeneration_live)
    assert figures == (None,) * 4
    assert model.estimate() is None
    assert model.estimate(live=True) is None


def test_rates_of_a_config_rest_on_the_slots_they_were_measured_on(tmp_path: Path) -> None:
    config = tmp_path / "nanobatch.toml"
    config.write_text(
        "[rates.lite]\naccept = 0.70\nregenerate = 0.10\nslots = 50\nmeasured_on = 2026-11-23\n"
    )

    model = CostModel.from_registry(ModelRegistry.load(config), "lite")

    assert bounds(model.accept) == pytest.approx((0.56249649, 0.7, 0.80896447), rel=1e-6)
    assert bounds(model.regeneration) == pytest.approx((0.04347576, 0.1, 0.21360232), rel=1e-6)
    estimate = model.estimate()
    assert estimate is not None
    assert (estimate.value, estimate.n) == (model.usd_per_accepted, 50)
    assert model.slots is None  # there is no ledger behind it


def test_totals_without_their_slots_take_the_least_scatter_their_rates_allow() -> None:
    kept = flat(50, 35)
    lost = CostModel.from_totals(
        LedgerTotals(slots=50, calls=50, accepted=35, generation_usd=Decimal("1.68"))
    )

    assert lost.estimate() == kept.estimate()


# --- properties --------------------------------------------------------------------------------


@st.composite
def stories(draw: st.DrawFn, *, most_calls: int = 3) -> list[Slot]:
    random = Random(draw(st.integers(0, 2**32)))
    count = draw(st.integers(0, 60))
    rate = draw(st.floats(0, 1))
    return [
        Slot(
            tuple(random.randrange(90_000_000) for _ in range(random.randint(1, most_calls))),
            random.random() < rate,
        )
        for _ in range(count)
    ]


@HUNDREDS
@given(slots=stories())
def test_every_interval_contains_its_value_and_a_live_one_contains_that_for_one_look(
    slots: list[Slot],
) -> None:
    model = measured(slots)

    for once, live in [
        (model.estimate(), model.estimate(live=True)),
        (model.accept, model.accept_live),
        (model.regeneration, model.regeneration_live),
    ]:
        assert once is not None
        assert live is not None
        assert 0 <= live.low <= once.low <= once.value <= once.high <= live.high
        assert once.value == live.value
        assert once.low.is_finite()


@HUNDREDS
@given(slots=stories(), times=st.integers(2, 20))
def test_more_of_the_same_slots_narrow_every_interval(slots: list[Slot], times: int) -> None:
    assume(len(slots) >= 10 and any(slot.accepted for slot in slots))
    few, many = measured(slots), measured(slots * times)

    for one, more in [
        (few.accept, many.accept),
        (few.regeneration, many.regeneration),
        (few.estimate(), many.estimate()),
        (few.accept_live, many.accept_live),
    ]:
        (low, _, high), (low_more, _, high_more) = bounds(one), bounds(more)
        assert low <= low_more * (1 + 1e-9)
        assert high >= high_more * (1 - 1e-9)


@HUNDREDS
@given(slots=stories(), factor=st.integers(2, 10**6))
def test_prices_times_a_number_are_costs_times_that_number(slots: list[Slot], factor: int) -> None:
    dear = [Slot(tuple(factor * nano for nano in slot.nano_usd), slot.accepted) for slot in slots]

    for live in (False, True):
        one, other = measured(slots).estimate(live=live), measured(dear).estimate(live=live)
        scaled = [factor * amount for amount in bounds(one)]
        assert bounds(other) == pytest.approx(scaled, rel=1e-9)


def test_the_caller_s_decimal_context_changes_no_bound() -> None:
    model = noisy()

    with decimal.localcontext(prec=2):
        estimate, forecast = model.estimate(), model.forecast(100)

    assert estimate == model.estimate()
    assert forecast == model.forecast(100)


# --- forecasts -------------------------------------------------------------------------------


def test_exact_rates_leave_the_luck_of_the_draw() -> None:
    model = CostModel(usd_per_call=1, regeneration_rate=0, accept_rate="0.7")

    forecast = model.forecast(63)

    # 63 / 0.7 = 90 slots. Slots t with |63 - 0.7 t| = 1.959964 sqrt(0.21 t): with u = sqrt(t),
    # u = (sqrt(1.959964^2 0.21 + 4 0.7 63) -+ 1.959964 sqrt(0.21)) / 1.4 = 8.866952, 10.150049
    assert forecast.expected_usd == 90
    assert float(forecast.low_usd) == pytest.approx(78.62284, abs=1e-4)
    assert float(forecast.high_usd) == pytest.approx(103.02350, abs=1e-4)
    assert not forecast.is_measured
    assert "entered by hand and taken as exact" in str(forecast)


def test_measured_rates_add_their_own_uncertainty_in_squares() -> None:
    model = flat(50, 35)

    forecast = model.forecast(63)

    # The reference page's bounds of C are 0.865304 and 1.244452 of its value, the luck of 63
    # images at an accept rate of 0.7 (the test above) 0.873587 and 1.144706 of the mean:
    # 1 - sqrt(0.134696^2 + 0.126413^2) = 0.815275, 1 + sqrt(0.244452^2 + 0.144706^2) = 1.284071
    assert forecast.expected_usd == Decimal("3.024")
    assert float(forecast.low_usd) == pytest.approx(3.024 * 0.815275, rel=1e-5)
    assert float(forecast.high_usd) == pytest.approx(3.024 * 1.284071, rel=1e-5)
    assert forecast.is_measured
    assert "rest on 50 slots" in str(forecast)


def test_one_image_never_costs_less_than_one_slot() -> None:
    model = CostModel(usd_per_call="0.0336", regeneration_rate="0.08", accept_rate="0.7")

    assert model.forecast(1).low_usd == Decimal("0.0336")


def test_wants_by_prompt_are_their_sum() -> None:
    assert noisy().forecast(iter([4, 0, 96])) == noisy().forecast(100)


def test_what_is_accepted_at_once_at_one_price_is_certain() -> None:
    model = CostModel(usd_per_call="0.1", regeneration_rate=1, accept_rate=1)

    forecast = model.forecast(10)

    assert forecast.low_usd == forecast.expected_usd == forecast.high_usd == 2


def test_a_ledger_without_slots_has_measured_nothing() -> None:
    assert not CostModel.from_ledger([]).forecast(5).is_measured


def test_no_images_cost_nothing() -> None:
    for model in (noisy(), flat(50, 0), CostModel.from_ledger([])):
        forecast = model.forecast([])
        assert forecast.images == 0
        assert forecast.expected_usd == forecast.high_usd == 0


def test_without_an_accepted_image_a_forecast_is_a_lower_bound() -> None:
    forecast = flat(50, 0).forecast(10)

    assert 0 < forecast.low_usd < 10 * Decimal("0.4709338489")
    assert (forecast.expected_usd, forecast.high_usd) == (INFINITY, INFINITY)


@pytest.mark.parametrize("wants", [-1, 1.5, [2, -1], [True], "12", 10**16])
def test_a_want_is_a_whole_number(wants: Any) -> None:
    with pytest.raises(ValueError, match=r"^wants is .*; it must be a whole number"):
        noisy().forecast(wants)


@HUNDREDS
@given(slots=stories(), images=st.integers(1, 10**6))
def test_a_forecast_contains_its_mean_and_is_never_surer_of_an_image_than_the_estimate(
    slots: list[Slot], images: int
) -> None:
    model = measured(slots)
    estimate = model.estimate()
    assert estimate is not None

    forecast = model.forecast(images)

    assert 0 <= forecast.low_usd <= forecast.expected_usd <= forecast.high_usd
    if estimate.value.is_finite():
        assert forecast.high_usd >= estimate.high * images * Decimal("0.999999999")
