from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from nanobatch import Estimate


def estimate(value: str, low: str, high: str, **fields: Any) -> Estimate:
    return Estimate(value=Decimal(value), low=Decimal(low), high=Decimal(high), n=50, **fields)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (estimate("0.7", "0.5622", "0.8089"), "70.0 % (56.2 to 80.9 %, 95 %, n = 50)"),
        (estimate("0", "0", "0.1", live=True), "0.0 % (0.0 to 10.0 %, 95 % live, n = 50)"),
        (
            estimate("0.05184", "0.0442", "0.06481", unit="usd"),
            "0.0518 (0.0442 to 0.0648, 95 %, n = 50) USD",
        ),
        (
            estimate("1.5", "1.25", "2", unit="usd", level=0.995),
            "1.50 (1.25 to 2.00, 99.5 %, n = 50) USD",
        ),
        (
            estimate("Infinity", "0.65", "Infinity", unit="usd"),
            "unknown (0.6500 or more, 95 %, n = 50) USD",
        ),
        (
            estimate("0.7", "0.65", "Infinity", unit="usd"),
            "0.7000 (0.6500 or more, 95 %, n = 50) USD",
        ),
    ],
)
def test_an_estimate_shows_its_interval_its_level_and_its_count(shown: Estimate, text: str) -> None:
    assert str(shown) == text


def test_an_estimate_is_for_one_look_at_95_percent_unless_it_says_otherwise() -> None:
    plain = estimate("0.7", "0.5", "0.8")

    assert (plain.level, plain.live, plain.unit) == (0.95, False, "rate")
