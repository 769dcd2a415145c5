from __future__ import annotations

import decimal
import pickle
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest

from nanobatch.cost import CostModel, CostTable, LedgerLine, LedgerTotals, LineKind, Outcome
from nanobatch.cost.formula import Formula
from nanobatch.errors import ConfigError
from nanobatch.models import ModelRegistry

if TYPE_CHECKING:
    from pathlib import Path

AT = datetime(2026, 11, 24, tzinfo=UTC)


def article() -> CostModel:
    return CostModel(usd_per_call="0.0336", regeneration_rate=0.08, accept_rate=0.70)


# --- entered by hand ---------------------------------------------------------------------------


def test_the_article_s_example_costs_what_its_formula_says_to_the_last_digit() -> None:
    model = article()

    # 0.0336 x 1.08 / 0.70 = 0.036288 / 0.70 = 0.05184
    assert model.usd_per_accepted == Decimal("0.05184")
    assert model.usd_per_slot == Decimal("0.036288")
    # 1.08 / 0.70 = 54/35 = 1.542857 142857 ...
    assert model.multiplier == Decimal("1.542857142857142857142857143")


def test_other_usd_per_slot_is_divided_by_the_accept_rate_too() -> None:
    model = CostModel(
        usd_per_call="0.0336",
        regeneration_rate="0.08",
        accept_rate="0.7",
        usd_other_per_slot="0.0007",
    )

    # (0.036288 + 0.0007) / 0.7 = 0.036988 / 0.7 = 0.05284
    assert model.usd_per_accepted == Decimal("0.05284")
    assert model.multiplier == article().multiplier


def test_ten_thousand_images_cost_ten_thousand_times_one() -> None:
    total = article().total_usd(10_000)

    assert total == Decimal("518.40")


def test_a_total_is_not_the_rounded_cost_of_one_image_multiplied() -> None:
    model = CostModel(usd_per_call=1, regeneration_rate=0, accept_rate=0.3)

    # 1 / 0.3 = 3.333..., times 3 is 10 and not 9.999...
    assert model.total_usd(3) == Decimal(10)


def test_the_rates_read_back_as_they_were_entered() -> None:
    model = CostModel(
        usd_per_call=Decimal("0.0336"),
        regeneration_rate=0.08,
        accept_rate="0.70",
        usd_other_per_slot=0,
    )

    assert model.usd_per_call == Decimal("0.0336")
    assert model.regeneration_rate == Decimal("0.08")
    assert model.accept_rate == Decimal("0.7")
    assert model.usd_other_per_slot == Decimal(0)


def test_rates_entered_by_hand_have_no_ledger_behind_them() -> None:
    model = article()

    behind = (
        model.slots,
        model.calls,
        model.accepted,
        model.wanted,
        model.delivered,
        model.fill_rate,
        model.spend_usd,
        model.unknown_usd,
    )
    assert behind == (None,) * 8


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("accept_rate", 0, "greater than 0 up to 1"),
        ("accept_rate", "1.0001", "greater than 0 up to 1"),
        ("accept_rate", -0.5, "greater than 0 up to 1"),
        ("accept_rate", float("nan"), "greater than 0 up to 1"),
        ("accept_rate", True, "greater than 0 up to 1"),
        ("regeneration_rate", -0.01, "at least 0"),
        ("regeneration_rate", float("inf"), "at least 0"),
        ("regeneration_rate", False, "at least 0"),
        ("regeneration_rate", None, "at least 0"),
        ("usd_per_call", "-0.0336", "at least 0"),
        ("usd_per_call", "NaN", "at least 0"),
        ("usd_per_call", Decimal("sNaN"), "at least 0"),
        ("usd_per_call", "$0.0336", "at least 0"),
        ("usd_per_call", "", "at least 0"),
        ("usd_per_call", [1], "at least 0"),
        ("usd_other_per_slot", Decimal(-1), "at least 0"),
        ("usd_other_per_slot", "-Infinity", "at least 0"),
    ],
)
def test_bad_input_is_refused_with_its_name_its_value_and_its_range(
    name: str, value: object, allowed: str
) -> None:
    rates: dict[str, Any] = {
        "usd_per_call": "0.0336",
        "regeneration_rate": 0.08,
        "accept_rate": 0.70,
        name: value,
    }

    with pytest.raises(ValueError, match=r"must be a number") as caught:
        CostModel(**rates)

    assert str(caught.value) == f"{name} is {value!r}; it must be a number {allowed}."


def test_the_ends_of_the_ranges_are_allowed() -> None:
    free = CostModel(usd_per_call=0, regeneration_rate=0, accept_rate=1)
    stubborn = CostModel(usd_per_call="0.1", regeneration_rate=4, accept_rate=1)

    assert free.usd_per_accepted == 0
    assert stubborn.usd_per_accepted == Decimal("0.5")


@pytest.mark.parametrize("images", [-1, 1.5, True, "10", 10**16])
def test_a_total_is_stated_for_whole_numbers_of_images_only(images: Any) -> None:
    with pytest.raises(ValueError, match=r"^images is .*; it must be a whole number from 0 to"):
        article().total_usd(images)


# --- a value ---------------------------------------------------------------------------------


def test_a_model_is_immutable() -> None:
    model: Any = article()

    with pytest.raises(AttributeError):
        model.accept_rate = Decimal(1)
    with pytest.raises(FrozenInstanceError):
        model._formula = None


def test_models_of_the_same_numbers_are_equal_and_hash_alike() -> None:
    same = CostModel(usd_per_call=0.0336, regeneration_rate="0.080", accept_rate=Decimal("0.7"))
    other = CostModel(usd_per_call=0.0336, regeneration_rate="0.080", accept_rate=Decimal("0.8"))

    assert article() == same
    assert hash(article()) == hash(same)
    assert article() != other


def test_a_model_from_a_ledger_is_not_one_entered_by_hand() -> None:
    totals = LedgerTotals(slots=1, calls=1, accepted=1, generation_usd=Decimal("0.1"))
    measured = CostModel.from_totals(totals)
    entered = CostModel(usd_per_call="0.1", regeneration_rate=0, accept_rate=1)

    assert measured.usd_per_accepted == entered.usd_per_accepted
    assert measured != entered


@pytest.mark.parametrize(
    "model", [article(), CostModel.from_totals(LedgerTotals(slots=3, calls=4, accepted=2))]
)
def test_a_model_survives_pickling(model: CostModel) -> None:
    copy: CostModel = pickle.loads(pickle.dumps(model))  # noqa: S301 - our own bytes

    assert copy == model
    assert str(copy) == str(model)


# --- from a ledger -----------------------------------------------------------------------------


def call(number: int, slot: int, usd: str) -> LedgerLine:
    return LedgerLine(
        number=number,
        at=AT,
        kind=LineKind.CALL,
        job_id="fox",
        slot=slot,
        call=number,
        outcome=Outcome.BILLED,
        usd=Decimal(usd),
    )


def small_ledger() -> list[LedgerLine]:
    """Three slots, one of them regenerated; two accepted of the four that are wanted."""
    return [
        LedgerLine(number=1, at=AT, kind=LineKind.WANT, job_id="fox", want=4),
        call(2, 1, "0.0336"),
        LedgerLine(number=3, at=AT, kind=LineKind.JUDGE, job_id="fox", slot=1, usd=Decimal("0.01")),
        LedgerLine(number=4, at=AT, kind=LineKind.ACCEPTED, job_id="fox", slot=1),
        call(5, 2, "0.0336"),
        call(6, 2, "0.0339"),
        call(7, 3, "0.0336"),
        LedgerLine(number=8, at=AT, kind=LineKind.ACCEPTED, job_id="fox", slot=3),
    ]


def test_a_ledger_costs_its_spend_divided_by_its_accepted_images() -> None:
    model = CostModel.from_ledger(iter(small_ledger()))

    # 3 x 0.0336 + 0.0339 + 0.01 = 0.1447; B = 4, N = 3, A = 2
    assert model.spend_usd == Decimal("0.1447")
    assert (model.slots, model.calls, model.accepted) == (3, 4, 2)
    assert model.usd_per_accepted == Decimal("0.07235")
    assert model.usd_per_call == Decimal("0.033675")
    assert model.regeneration_rate == Decimal("0.3333333333333333333333333333")
    assert model.accept_rate == Decimal("0.6666666666666666666666666667")
    assert model.usd_other_per_slot == Decimal("0.003333333333333333333333333333")
    assert model.multiplier == Decimal(2)
    assert (model.delivered, model.wanted, model.fill_rate) == (2, 4, 0.5)


def test_the_identity_is_exact_where_no_decimal_is() -> None:
    totals = LedgerTotals(
        slots=7, calls=9, accepted=3, generation_usd=Decimal("0.31"), other_usd=Decimal("0.013")
    )

    cost = Formula.of(totals).usd_per_accepted

    assert cost == Fraction(323, 1000) / 3


def test_an_empty_ledger_has_rates_of_zero_and_no_cost() -> None:
    model = CostModel.from_ledger([])

    assert model.usd_per_accepted is None
    assert model.multiplier is None
    assert model.usd_per_call == model.usd_per_slot == model.usd_other_per_slot == 0
    assert model.regeneration_rate == model.accept_rate == 0
    assert (model.slots, model.calls, model.accepted) == (0, 0, 0)
    assert model.spend_usd == 0
    assert model.fill_rate == 1.0


def test_money_without_an_accepted_image_has_no_cost_per_accepted_image() -> None:
    model = CostModel.from_ledger([call(1, 1, "0.0336")])

    assert model.usd_per_accepted is None
    assert model.spend_usd == Decimal("0.0336")
    with pytest.raises(ValueError, match="No image has been accepted yet"):
        model.total_usd(1)


def test_a_judge_s_bill_without_any_slot_is_spend_but_no_cost() -> None:
    judged = LedgerLine(number=1, at=AT, kind=LineKind.JUDGE, slot=1, usd=Decimal("0.002"))

    model = CostModel.from_ledger([judged])

    assert model.usd_per_accepted is None
    assert model.spend_usd == Decimal("0.002")


def test_a_low_precision_of_the_caller_s_decimals_loses_no_money() -> None:
    with decimal.localcontext(prec=2):
        model = CostModel.from_ledger(small_ledger())
        spend, cost = model.spend_usd, model.usd_per_accepted

    assert spend == Decimal("0.1447")
    assert cost == Decimal("0.07235")


# --- from the registry -------------------------------------------------------------------------


def test_prices_and_measured_rates_of_the_config_make_a_model(tmp_path: Path) -> None:
    config = tmp_path / "nanobatch.toml"
    config.write_text(
        "[rates.lite]\naccept = 0.70\nregenerate = 0.08\nslots = 50\nmeasured_on = 2026-11-23\n"
    )
    registry = ModelRegistry.load(config)
    price = registry.resolve("lite").usd_per_image("1K")

    model = CostModel.from_registry(registry, "lite")

    assert model.usd_per_call == price
    assert (model.accept_rate, model.regeneration_rate) == (Decimal("0.7"), Decimal("0.08"))
    assert Fraction(model.total_usd(700)) == Fraction(price) * 1080


def test_rates_measured_for_a_model_serve_its_role(tmp_path: Path) -> None:
    model_id = ModelRegistry.builtin().resolve("lite").id
    config = tmp_path / "nanobatch.toml"
    config.write_text(
        f'[rates."{model_id}"]\naccept = 0.5\nregenerate = 0.25\nslots = 40\n'
        "measured_on = 2026-11-23\n"
    )

    model = CostModel.from_registry(ModelRegistry.load(config), "lite")

    assert model.multiplier == Decimal("2.5")


def test_the_batch_price_is_asked_for_by_name(tmp_path: Path) -> None:
    config = tmp_path / "nanobatch.toml"
    config.write_text(
        "[rates.quality]\naccept = 0.9\nregenerate = 0\nslots = 50\nmeasured_on = 2026-11-23\n"
    )
    registry = ModelRegistry.load(config)

    model = CostModel.from_registry(registry, "quality", size="2K", batch=True)

    assert model.usd_per_call == registry.resolve("quality").usd_per_image("2K", batch=True)
    assert model.usd_per_call < registry.resolve("quality").usd_per_image("2K")


def test_a_role_nobody_has_measured_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"'lite'\. Enter them by hand, .*, or measure them"):
        CostModel.from_registry(ModelRegistry.builtin(), "lite")


# --- shown to people -------------------------------------------------------------------------


def test_a_model_says_its_cost_and_how_it_comes_about() -> None:
    assert str(article()) == "USD 0.0518 per accepted image: 0.0336 x (1 + 8.0 %) / 70.0 %"


def test_a_model_from_a_ledger_says_what_it_rests_on() -> None:
    unknown = LedgerLine(
        number=9,
        at=AT,
        kind=LineKind.CALL,
        slot=4,
        call=9,
        outcome=Outcome.UNKNOWN,
        unknown_usd=Decimal("0.1229"),
    )

    text = str(CostModel.from_ledger([*small_ledger(), unknown]))

    # 0.07235 is shown with three significant digits, the half going to the even one; the bounds
    # are those of the reference page for costs .0436, .0675 and .0336, the second rejected
    assert text == (
        "USD 0.0724 (0.0307 to 0.3237, 95 %, n = 3) per accepted image: "
        "(0.0337 x (1 + 33.3 %) + 0.00333) / 66.7 %\n"
        "accept rate 66.7 % (20.8 to 93.9 %, 95 %, n = 3); "
        "regeneration rate 33.3 % (6.1 to 79.2 %, 95 %, n = 3)\n"
        "USD 0.1447 confirmed and at most USD 0.1229 unknown; 3 slots, 4 calls, 2 accepted; "
        "fill rate 50.0 % (2 of 4 wanted)"
    )


def test_a_model_without_an_accepted_image_says_so() -> None:
    text = str(CostModel.from_ledger([call(1, 1, "0.0336")]))

    # the accept rate is below 0.793, says wilson(0, 1); one slot does not say how its cost scatters
    assert text == (
        "No accepted image yet, so no cost per accepted image.\n"
        "accept rate 0.0 % (0.0 to 79.3 %, 95 %, n = 1); "
        "regeneration rate 0.0 % (0.0 to 79.3 %, 95 %, n = 1)\n"
        "USD 0.0336 confirmed; 1 slots, 1 calls, 0 accepted"
    )


def test_a_notebook_shows_a_table_with_the_cost_and_the_fill_rate() -> None:
    html = CostModel.from_ledger(small_ledger())._repr_html_()

    usd = "0.0724 (0.0307 to 0.3237, 95 %, n = 3)"  # as above
    assert f"<td>USD per accepted image</td><td>{usd}</td>" in html
    assert "<td>Accept rate</td><td>66.7 % (20.8 to 93.9 %, 95 %, n = 3)</td>" in html
    assert "<td>Fill rate</td><td>50.0 %</td>" in html


def test_a_table_iterates_exact_rows_in_the_order_asked_for() -> None:
    table = article().table([1000, 1])

    assert isinstance(table, CostTable)
    assert list(table) == [(1000, Decimal("51.84")), (1, Decimal("0.05184"))]
    assert len(table) == 2


def test_a_table_prints_aligned_columns() -> None:
    assert str(article().table(iter([10_000, 100]))).splitlines() == [
        "images     USD",
        "10,000  518.40",
        "   100    5.18",
    ]


def test_a_table_of_no_counts_is_its_heading() -> None:
    assert str(article().table([])) == "images  USD"


def test_a_table_shows_itself_in_a_notebook() -> None:
    html = article().table([100])._repr_html_()

    assert html == (
        "<table><thead><tr><th>images</th><th>USD</th></tr></thead>"
        "<tbody><tr><td>100</td><td>5.18</td></tr></tbody></table>"
    )
