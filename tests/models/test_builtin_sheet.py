"""The built-in price sheet against the published numbers, typed here by hand."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from importlib import resources

import pytest

from nanobatch.errors import PriceUnknownError
from nanobatch.models import ModelRegistry, TokenUsage

TEN_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
FOURTEEN_RATIOS = (*TEN_RATIOS, "1:4", "4:1", "1:8", "8:1")
REGISTRY = ModelRegistry.builtin()

# id, name, ratios, input, text and image rate, first day
RATES = [
    ("gemini-3.1-flash-lite-image", "Nano Banana 2 Lite", 14, "0.25", "1.5", "30", "2026-06-30"),
    ("gemini-nano-banana-2.1", "Nano Banana 2.1", 14, "1.5", "7.5", "30", "2026-10-06"),
    ("gemini-3-pro-image", "Nano Banana Pro", 10, "2", "12", "120", "2026-05-28"),
    ("gemini-3.1-flash-image", "Nano Banana 2", 14, "0.5", "3", "60", "2026-05-28"),
    ("gemini-2.5-flash-image", "Nano Banana", 10, "0.3", "2.5", "30", "2025-10-02"),
]

# id, input and text rate, first day
JUDGES = [
    ("gemini-3.1-flash-lite", "0.25", "1.5", "2026-11-27"),
    ("gemini-3.5-flash-lite", "0.3", "2.5", "2026-11-27"),
    ("gemini-3.8-flash", "0.75", "3.75", "2026-12-31"),
    ("gemini-3.8-flash", "1.5", "7.5", "2027-01-01"),
]

# id, size, tokens, USD an image, USD an image through the Batch API
IMAGES = [
    ("gemini-3.1-flash-lite-image", "1K", 1120, "0.0336", "0.0168"),
    ("gemini-nano-banana-2.1", "1K", 1120, "0.0336", "0.0168"),
    ("gemini-nano-banana-2.1", "2K", 1680, "0.0504", "0.0252"),
    ("gemini-nano-banana-2.1", "4K", 3780, "0.1134", "0.0567"),
    ("gemini-3-pro-image", "1K", 1120, "0.1344", "0.0672"),
    ("gemini-3-pro-image", "2K", 1120, "0.1344", "0.0672"),
    ("gemini-3-pro-image", "4K", 2000, "0.24", "0.12"),
    # 747 x 60 / 10^6; the published 0.045 is rounded
    ("gemini-3.1-flash-image", "512", 747, "0.04482", "0.02241"),
    ("gemini-3.1-flash-image", "1K", 1120, "0.0672", "0.0336"),
    ("gemini-3.1-flash-image", "2K", 1680, "0.1008", "0.0504"),
    ("gemini-3.1-flash-image", "4K", 2520, "0.1512", "0.0756"),
    ("gemini-2.5-flash-image", "1K", 1290, "0.0387", "0.01935"),
]

# id, retires, replacement
LIFETIMES = [
    ("gemini-3.1-flash-lite-image", None, ""),
    ("gemini-nano-banana-2.1", None, ""),
    ("gemini-3-pro-image", None, ""),
    ("gemini-3.1-flash-image", date(2026, 10, 29), "gemini-nano-banana-2.1"),
    ("gemini-2.5-flash-image", date(2026, 10, 2), "gemini-3.1-flash-lite-image"),
    ("gemini-3.1-flash-image-preview", date(2026, 6, 25), "gemini-nano-banana-2.1"),
    ("gemini-3-pro-image-preview", date(2026, 6, 25), "gemini-3-pro-image"),
    ("imagen-4.0-fast-generate-001", date(2026, 8, 17), "gemini-3.1-flash-lite-image"),
    ("imagen-4.0-generate-001", date(2026, 8, 17), "gemini-nano-banana-2.1"),
    ("imagen-4.0-ultra-generate-001", date(2026, 8, 17), "gemini-3-pro-image"),
]


DRAWING = [REGISTRY[model_id] for model_id, *_ in LIFETIMES]


@pytest.mark.parametrize(
    ("model_id", "name", "ratios", "input_rate", "text_rate", "image_rate", "first_day"), RATES
)
def test_the_sheet_has_the_list_prices(
    model_id: str,
    name: str,
    ratios: int,
    input_rate: str,
    text_rate: str,
    image_rate: str,
    first_day: str,
) -> None:
    model = REGISTRY[model_id]

    (row,) = model.prices
    assert model.name == name
    assert model.aspect_ratios == (FOURTEEN_RATIOS if ratios == 14 else TEN_RATIOS)
    assert row.input_usd_per_million_tokens == Decimal(input_rate)
    assert row.text_output_usd_per_million_tokens == Decimal(text_rate)
    assert row.image_output_usd_per_million_tokens == Decimal(image_rate)
    assert row.batch_factor == Decimal("0.5")
    assert row.effective_from == model.released == date.fromisoformat(first_day)


@pytest.mark.parametrize(("model_id", "size", "tokens", "usd", "batch_usd"), IMAGES)
def test_an_image_costs_what_is_published(
    model_id: str, size: str, tokens: int, usd: str, batch_usd: str
) -> None:
    model = REGISTRY[model_id]
    day = model.prices[0].effective_from

    assert size in model.sizes
    assert model.image_tokens[size] == tokens
    assert model.usd_per_image(size, on=day) == Decimal(usd)
    assert model.usd_per_image(size, batch=True, on=day) == Decimal(batch_usd)


def test_no_model_makes_a_size_that_is_not_in_the_table_above() -> None:
    listed = {(model_id, size) for model_id, size, *_ in IMAGES}

    made = {(model.id, size) for model in REGISTRY.models.values() for size in model.sizes}
    counted = {
        (model.id, size) for model in REGISTRY.models.values() for size in model.image_tokens
    }

    assert made == counted == listed


@pytest.mark.parametrize(("model_id", "retires", "replacement"), LIFETIMES)
def test_the_sheet_knows_until_when_a_model_works(
    model_id: str, retires: date | None, replacement: str
) -> None:
    model = REGISTRY[model_id]

    assert model.retires == retires
    assert model.replacement == replacement


def test_every_known_model_is_there_and_no_other() -> None:
    listed = {model_id for model_id, *_ in (*LIFETIMES, *JUDGES)}

    assert set(REGISTRY.models) == listed


@pytest.mark.parametrize(("model_id", "input_rate", "text_rate", "day"), JUDGES)
def test_a_judge_has_a_price_and_draws_nothing(
    model_id: str, input_rate: str, text_rate: str, day: str
) -> None:
    model = REGISTRY[model_id]
    usage = TokenUsage(prompt_tokens=10**6, image_tokens=0, text_tokens=0)
    words = TokenUsage(prompt_tokens=0, image_tokens=0, text_tokens=10**6)

    assert model.usd(usage, on=date.fromisoformat(day)) == Decimal(input_rate)
    assert model.usd(words, on=date.fromisoformat(day)) == Decimal(text_rate)
    assert "It is not known what" in model.why_not("1K", "1:1")


@pytest.mark.parametrize(
    ("alias", "model_id"),
    [
        ("nano-banana-2-lite", "gemini-3.1-flash-lite-image"),
        ("nano-banana-lite", "gemini-3.1-flash-lite-image"),
        ("nano-banana-2.1", "gemini-nano-banana-2.1"),
        ("nano-banana-pro", "gemini-3-pro-image"),
        ("nano-banana-pro-preview", "gemini-3-pro-image"),
        ("nano-banana-2", "gemini-3.1-flash-image"),
        ("nano-banana", "gemini-2.5-flash-image"),
    ],
)
def test_nicknames_and_the_api_s_own_aliases_are_known(alias: str, model_id: str) -> None:
    assert REGISTRY[alias].id == model_id


def test_the_roles_are_lite_quality_and_judge() -> None:
    assert dict(REGISTRY.roles) == {
        "lite": "gemini-3.1-flash-lite-image",
        "quality": "gemini-nano-banana-2.1",
        "judge": "gemini-3.1-flash-lite",
    }
    assert not REGISTRY.rates


def test_only_lite_has_a_short_deadline_and_an_output_cap() -> None:
    deadlines = {model.id: model.timeout_seconds for model in DRAWING}
    caps = {model.id: model.max_reserved_output_tokens for model in DRAWING}

    lite = "gemini-3.1-flash-lite-image"
    assert deadlines.pop(lite) == 120.0
    assert caps.pop(lite) == 4096
    assert set(deadlines.values()) == {300.0}
    assert set(caps.values()) == {None}


@pytest.mark.parametrize(
    ("model_id", "levels", "default"),
    [
        ("gemini-3.1-flash-lite-image", ("minimal", "high"), "minimal"),
        ("gemini-nano-banana-2.1", ("minimal", "medium", "high"), "medium"),
        ("gemini-3-pro-image", (), None),
        ("gemini-3.1-flash-image", ("minimal", "high"), "minimal"),
        ("gemini-2.5-flash-image", (), None),
    ],
)
def test_the_sheet_knows_the_thinking_levels(
    model_id: str, levels: tuple[str, ...], default: str | None
) -> None:
    model = REGISTRY[model_id]

    assert model.thinking_levels == levels
    assert model.default_thinking_level == default


@pytest.mark.parametrize(
    "model_id", ["gemini-3-pro-image-preview", "imagen-4.0-ultra-generate-001"]
)
def test_models_without_token_prices_have_no_price_rather_than_none(model_id: str) -> None:
    with pytest.raises(PriceUnknownError, match=f"No price of {model_id} is known"):
        REGISTRY[model_id].usd_per_image("1K", on=date(2026, 6, 1))


def test_every_model_names_its_source_and_the_day_it_was_collected() -> None:
    text = resources.files("nanobatch.models").joinpath("sheet.toml").read_text("utf-8")
    paragraphs = [part for part in text.split("\n\n") if '\n[models."' in part]

    assert len(paragraphs) == len(REGISTRY.models)
    for paragraph in paragraphs:
        comment = "".join(line for line in paragraph.splitlines() if line.startswith("#"))
        assert "Source: https://" in comment
        assert "collected 2026-11-2" in comment


def test_the_built_in_sheet_is_read_once() -> None:
    assert ModelRegistry.builtin() is ModelRegistry.builtin()
