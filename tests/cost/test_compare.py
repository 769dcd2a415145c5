from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobatch import CostModel, ModelRegistry, compare
from tests.cost.slots import Slot, flat, measured

if TYPE_CHECKING:
    from pathlib import Path

NANO = 33_600_000


def every(count: int, *, of: int, accepted: int, nano_usd: int = NANO) -> CostModel:
    """Return a tier that accepts the first `accepted` slots of every `of`."""
    return measured(Slot((nano_usd,), number % of < accepted) for number in range(count))


def by_hand(accept_rate: str, usd_per_call: str = "0.0336") -> CostModel:
    return CostModel(usd_per_call=usd_per_call, regeneration_rate=0, accept_rate=accept_rate)


def test_a_clear_difference_is_named_with_how_sure_it_is() -> None:
    lite = every(50, of=10, accepted=7)
    quality = every(50, of=20, accepted=19, nano_usd=4 * NANO)

    found = compare(lite, quality)

    # a_Q k_L / k_Q = 0.96 / 4; 48 of 50 are accepted
    assert found.break_even_accept_rate == Decimal("0.24")
    assert (found.cheaper, found.cheaper_by_point) == ("lite", "lite")
    assert found.pairs == 50
    assert found.evidence >= 20
    assert found.sureness == 1 - 1 / found.evidence
    assert found.slots_to_settle == 0
    assert found.sentence.startswith("Lite costs less per accepted image than quality: ")
    assert found.sentence.endswith("when more than 24.0 % of its slots are accepted.")


def test_the_same_slots_on_the_other_side_name_the_other_tier() -> None:
    cheap, dear = every(50, of=10, accepted=7), every(50, of=20, accepted=19, nano_usd=4 * NANO)

    found = compare(dear, cheap)

    assert found.cheaper == "quality"
    assert found.evidence == pytest.approx(compare(cheap, dear).evidence)
    assert "Quality costs less per accepted image than Lite" in str(found)
    # a_Q k_L / k_Q = 0.7 x 4
    assert found.break_even_accept_rate == Decimal("2.8")
    assert "quality stays cheaper whatever Lite's accept rate" in str(found)


def test_too_few_slots_leave_it_open_and_say_how_many_more_it_takes() -> None:
    lite = every(10, of=10, accepted=7)
    quality = every(10, of=10, accepted=9, nano_usd=2 * NANO)

    found = compare(lite, quality)

    assert found.cheaper is None
    assert found.cheaper_by_point == "lite"
    assert found.evidence < 20
    assert found.slots_to_settle is not None
    assert f"About {found.slots_to_settle:,} more slots on each would settle it." in str(found)


def test_the_slots_it_says_are_missing_settle_it_on_average() -> None:
    random = Random(7)
    promised = compare(by_hand("0.5"), by_hand("0.95", "0.1344")).slots_to_settle
    needed = []
    for _ in range(40):
        lite = [Slot((NANO,), random.random() < 0.5) for _ in range(200)]
        quality = [Slot((4 * NANO,), random.random() < 0.95) for _ in range(200)]
        needed.append(
            next(
                slots
                for slots in range(4, 200, 4)
                if compare(measured(lite[:slots]), measured(quality[:slots])).cheaper
            )
        )

    # mean pairs 31 to 32 in the reference page's simulation and in benchmarks/economics
    assert sum(needed) / 40 == pytest.approx(promised, rel=0.35)


def test_only_the_tier_with_fewer_slots_needs_more() -> None:
    found = compare(every(200, of=10, accepted=6), every(20, of=10, accepted=9, nano_usd=2 * NANO))

    assert found.pairs == 20
    assert "more quality slots would settle it" in str(found)


def test_a_tier_compared_with_itself_is_a_tie() -> None:
    tier = every(50, of=10, accepted=7)

    found = compare(tier, tier)

    assert (found.cheaper, found.cheaper_by_point, found.evidence) == (None, None, 1)
    assert found.slots_to_settle is None
    assert found.break_even_accept_rate == tier.accept_rate
    assert "Both tiers cost the same per accepted image." in str(found)


def test_near_ties_say_so_instead_of_a_number() -> None:
    found = compare(every(1000, of=1000, accepted=700), every(1000, of=1000, accepted=702))

    assert found.cheaper is None
    assert found.slots_to_settle is None
    assert "too close to tell apart" in str(found)


def test_a_tier_without_an_accepted_image_can_lose() -> None:
    found = compare(flat(50, 0), every(50, of=20, accepted=19))

    assert (found.cheaper, found.cheaper_by_point) == ("quality", "quality")
    assert "unknown (0.4709 or more" in str(found)


def test_without_an_accepted_image_on_quality_there_is_no_dividing_line() -> None:
    found = compare(every(50, of=10, accepted=7), flat(50, 0))

    assert found.break_even_accept_rate is None
    assert found.cheaper == "lite"


def test_without_any_accepted_image_nothing_is_said() -> None:
    found = compare(flat(50, 0), flat(50, 0, nano_usd=4 * NANO))

    assert (found.cheaper, found.cheaper_by_point, found.slots_to_settle) == (None, None, None)
    assert "Neither tier has an accepted image yet." in str(found)


@pytest.mark.parametrize(("lite_nano", "quality_nano"), [(0, 0), (0, NANO), (NANO, 0)])
def test_tiers_that_cost_nothing_are_compared_like_others(
    lite_nano: int, quality_nano: int
) -> None:
    found = compare(
        every(50, of=10, accepted=7, nano_usd=lite_nano),
        every(50, of=10, accepted=7, nano_usd=quality_nano),
    )

    winner = {(0, 0): None, (0, NANO): "lite", (NANO, 0): "quality"}[lite_nano, quality_nano]
    assert (found.cheaper, found.cheaper_by_point) == (winner, winner)
    assert (found.break_even_accept_rate is None) == (quality_nano == 0)


def test_rates_entered_by_hand_are_no_evidence() -> None:
    found = compare(by_hand("0.7"), every(50, of=20, accepted=19, nano_usd=4 * NANO))

    assert (found.cheaper, found.cheaper_by_point) == (None, "lite")
    assert (found.pairs, found.evidence, found.sureness) == (0, 1, 0)
    assert "the rates of Lite were entered by hand, so there is no evidence" in str(found)
    assert found.slots_to_settle is not None
    assert f"About {found.slots_to_settle} slots on each, kept in a ledger," in str(found)


def test_rates_of_a_config_are_no_evidence_either(tmp_path: Path) -> None:
    config = tmp_path / "nanobatch.toml"
    config.write_text(
        "[rates.lite]\naccept = 0.70\nregenerate = 0.10\nslots = 50\nmeasured_on = 2026-11-23\n"
    )
    lite = CostModel.from_registry(ModelRegistry.load(config), "lite")

    found = compare(lite, every(50, of=20, accepted=19))

    assert found.cheaper is None
    assert "of Lite only the rates were kept, not the slots" in str(found)


def test_an_empty_ledger_has_no_slots_yet() -> None:
    found = compare(CostModel.from_ledger([]), every(50, of=20, accepted=19))

    assert (found.cheaper, found.break_even_accept_rate) == (None, None)
    assert "Lite has no slots yet, so there is no evidence. Draw some slots on both." in str(found)


def test_a_bound_that_somebody_knows_takes_the_place_of_the_guess() -> None:
    lite, quality = every(20, of=10, accepted=7), every(20, of=10, accepted=9, nano_usd=4 * NANO)

    tight = compare(
        lite, quality, most_usd_per_lite_slot="0.0336", most_usd_per_quality_slot="0.1344"
    )
    wide = compare(lite, quality, most_usd_per_lite_slot=10, most_usd_per_quality_slot=10)

    assert tight.evidence > compare(lite, quality).evidence > wide.evidence


@pytest.mark.parametrize("name", ["most_usd_per_lite_slot", "most_usd_per_quality_slot"])
def test_a_bound_is_a_number_above_zero(name: str) -> None:
    bound: dict[str, Any] = {name: 0}

    with pytest.raises(ValueError, match=rf"^{name} is 0; it must be a number greater than 0\.$"):
        compare(by_hand("0.7"), by_hand("0.9"), **bound)


def test_a_named_tier_that_no_longer_looks_cheaper_is_questioned() -> None:
    lite = measured(Slot((NANO,), number < 40) for number in range(400))

    found = compare(lite, every(40, of=2, accepted=1))

    # 40 of 40 against 20 of 40 name Lite; over all its 400 slots it accepts 40
    assert (found.cheaper, found.cheaper_by_point) == ("lite", "quality")
    assert "the figures over all slots say otherwise: something has changed" in str(found)


def test_a_comparison_prints_both_tiers_with_their_intervals() -> None:
    lines = str(compare(flat(50, 35), by_hand("0.9", "0.1344"))).splitlines()

    # Wilson's bounds for 35 of 50, and 0.0336 divided by them
    assert [line.split("  ")[0] for line in lines[:3]] == ["", "lite", "quality"]
    assert lines[0].split() == [
        "USD",
        "per",
        "accepted",
        "image",
        "accept",
        "rate",
        "USD",
        "per",
        "slot",
    ]
    assert [cell.strip() for cell in lines[1].split("  ") if cell] == [
        "lite",
        "0.0480 (0.0415 to 0.0597, 95 %, n = 50)",
        "70.0 % (56.2 to 80.9 %, 95 %, n = 50)",
        "0.0336",
    ]
    assert lines[2].split() == ["quality", "0.1493", "90.0", "%", "0.1344"]
    assert lines[1].index("0.0480") == lines[2].index("0.1493") == lines[0].index("USD")


def test_a_notebook_shows_the_table_and_the_sentence() -> None:
    found = compare(flat(50, 35), by_hand("0.9"))

    html = found._repr_html_()
    assert "<td>lite</td><td>0.0480 (0.0415 to 0.0597, 95 %, n = 50)</td>" in html
    assert html.endswith("</p>")


def test_a_comparison_is_a_value() -> None:
    found: Any = compare(flat(50, 35), flat(50, 20))

    copy = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own bytes

    assert copy == found
    assert hash(copy) == hash(found)
    with pytest.raises(FrozenInstanceError):
        found.cheaper = "lite"


@settings(max_examples=150, deadline=None, database=None)
@given(seed=st.integers(0, 2**32))
def test_whatever_is_compared_has_an_outcome_and_shows_itself(seed: int) -> None:
    random = Random(seed)

    def tier() -> CostModel:
        if random.random() < 0.2:
            return by_hand(str(random.choice([0.01, 0.5, 1])), random.choice(["0", "0.1"]))
        price, rate = random.choice([0, 1, NANO]), random.choice([0, 0.1, 0.7, 1])
        return measured(
            Slot((random.randint(0, 3) * price,) * random.randint(1, 3), random.random() < rate)
            for _ in range(random.choice([0, 1, 2, 40]))
        )

    found = compare(tier(), tier())

    assert found.evidence >= 1
    assert 0 <= found.sureness <= 1
    assert (found.cheaper is not None) == (found.evidence >= 20)
    assert str(found)
    assert found._repr_html_()
