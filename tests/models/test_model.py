from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobatch.errors import ConfigError, PriceUnknownError
from nanobatch.models import Model, ModelRegistry, PriceRow, TokenUsage

DAY = date(2026, 11, 23)
REGISTRY = ModelRegistry.builtin()
LITE = REGISTRY["lite"]
QUALITY = REGISTRY["quality"]
PRO = REGISTRY["nano-banana-pro"]


@dataclass(frozen=True, kw_only=True)
class Request:
    prompt: str
    size: str = "1K"
    input_images: tuple[bytes, ...] = ()


def price(effective_from: date, image_rate: str) -> PriceRow:
    return PriceRow(
        effective_from=effective_from,
        input_usd_per_million_tokens=Decimal("0.25"),
        text_output_usd_per_million_tokens=Decimal("1.50"),
        image_output_usd_per_million_tokens=Decimal(image_rate),
    )


# --- prices --------------------------------------------------------------------------------------


def test_an_image_costs_its_tokens_at_the_image_rate() -> None:
    # 1,120 x 30 / 10^6 and 2,000 x 120 / 10^6
    assert LITE.usd_per_image(on=DAY) == Decimal("0.0336")
    assert PRO.usd_per_image("4K", on=DAY) == Decimal("0.24")


def test_a_batch_image_costs_half() -> None:
    assert LITE.usd_per_image("1K", batch=True, on=DAY) == Decimal("0.0168")


def test_a_call_costs_prompt_text_and_image_each_at_its_own_rate() -> None:
    usage = TokenUsage(prompt_tokens=7, image_tokens=1120, text_tokens=110)

    usd = LITE.usd(usage, on=DAY)

    # 7 x 0.25 + 110 x 1.50 + 1,120 x 30 = 1.75 + 165 + 33,600 = 33,766.75 millionths
    assert usd == Decimal("0.03376675")
    assert LITE.usd(usage, batch=True, on=DAY) == Decimal("0.016883375")


def test_thinking_is_already_in_the_text_and_not_billed_twice() -> None:
    usage = TokenUsage(prompt_tokens=0, image_tokens=0, text_tokens=100, thought_tokens=100)

    assert LITE.usd(usage, on=DAY) == Decimal("0.00015")


def test_yesterday_s_run_still_costs_what_it_cost() -> None:
    model = replace(
        LITE, prices=(price(date(2026, 12, 1), "45"), price(date(2026, 6, 30), "30"))
    )  # written newest first on purpose

    assert model.usd_per_image(on=date(2026, 11, 30)) == Decimal("0.0336")
    assert model.usd_per_image(on=date(2026, 12, 1)) == Decimal("0.0504")
    assert model.usd_per_image(on=date(2027, 12, 1)) == Decimal("0.0504")


def test_without_a_day_the_price_of_today_holds() -> None:
    today = datetime.now(UTC).date()
    model = replace(
        LITE,
        prices=(price(today - timedelta(days=1), "30"), price(today + timedelta(days=2), "99")),
    )

    assert model.usd_per_image() == Decimal("0.0336")


def test_before_the_first_row_the_price_is_unknown() -> None:
    with pytest.raises(PriceUnknownError) as caught:
        LITE.usd_per_image(on=date(2026, 6, 29))

    assert caught.value.model_id == "gemini-3.1-flash-lite-image"
    assert str(caught.value) == (
        "No price of gemini-3.1-flash-lite-image is known for 2026-06-29, only from 2026-06-30 on; "
        'add an earlier [[models."gemini-3.1-flash-lite-image".prices]] row to nanobatch.toml.'
    )


@pytest.mark.parametrize("question", ["image", "usage", "worst case"])
def test_a_model_without_prices_never_costs_zero(question: str) -> None:
    model = Model(id="new", image_tokens={"1K": 1000})
    questions = {
        "image": lambda: model.usd_per_image("1K"),
        "usage": lambda: model.usd(TokenUsage(prompt_tokens=0, image_tokens=0, text_tokens=0)),
        "worst case": lambda: model.worst_case_usd(Request(prompt="a fox")),
    }

    with pytest.raises(PriceUnknownError) as caught:
        questions[question]()

    assert str(caught.value) == (
        'No price of new is known; add a [[models."new".prices]] row to nanobatch.toml.'
    )


def test_a_size_without_a_token_count_has_no_price() -> None:
    with pytest.raises(PriceUnknownError) as caught:
        QUALITY.usd_per_image("512", on=DAY)

    assert str(caught.value) == (
        "It is not known how many tokens an image of size '512' takes on gemini-nano-banana-2.1 "
        "(known: 1K, 2K, 4K); if it makes that size, add the count under "
        '[models."gemini-nano-banana-2.1".image_tokens] in nanobatch.toml.'
    )


# --- worst cases ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "request_", "usd"),
    [
        # 5 x 0.25 + 4,096 x 30 = 1.25 + 122,880 millionths
        (LITE, Request(prompt="a fox"), "0.12288125"),
        # two bytes of UTF-8 and two images of 1,120: 2,242 x 0.25 + 122,880 = 560.5 + 122,880
        (LITE, Request(prompt="ä", input_images=(b"1", b"2")), "0.1234405"),
        # 100 x 1.50 + 2,048 x 7.50 + 2 x 1,120 x 30 = 150 + 15,360 + 67,200
        (QUALITY, Request(prompt="x" * 100), "0.08271"),
        # 1,220 x 1.50 + 2,048 x 7.50 + 2 x 3,780 x 30 = 1,830 + 15,360 + 226,800
        (QUALITY, Request(prompt="x" * 100, size="4K", input_images=(b"1",)), "0.24399"),
        # 10 x 2 + 2,048 x 12 + 2 x 2,000 x 120 = 20 + 24,576 + 480,000
        (PRO, Request(prompt="x" * 10, size="4K"), "0.504596"),
    ],
)
def test_the_worst_case_of_a_call_is_reserved(model: Model, request_: Request, usd: str) -> None:
    worst = model.worst_case_usd(request_, on=DAY)

    assert worst == Decimal(usd)
    assert model.worst_case_usd(request_, batch=True, on=DAY) == Decimal(usd) / 2


def test_the_worst_case_of_a_size_nobody_counted_is_unknown() -> None:
    with pytest.raises(PriceUnknownError, match="of size '8K'"):
        QUALITY.worst_case_usd(Request(prompt="a fox", size="8K"), on=DAY)


@given(st.text(max_size=200), st.integers(min_value=0, max_value=14))
def test_an_ordinary_answer_never_costs_more_than_its_worst_case(prompt: str, images: int) -> None:
    request = Request(prompt=prompt, input_images=(b"",) * images)
    usage = TokenUsage(
        prompt_tokens=len(prompt) + 1069 * images, image_tokens=1120, text_tokens=800
    )

    for model in (LITE, QUALITY, PRO):
        assert model.usd(usage, on=DAY) <= model.worst_case_usd(request, on=DAY)


# --- shapes --------------------------------------------------------------------------------------


def test_a_model_makes_only_listed_sizes_at_listed_ratios() -> None:
    assert QUALITY.makes("4K", "1:8")
    assert not QUALITY.makes("512", "1:8")
    assert not PRO.makes("4K", "1:8")
    assert not LITE.makes("2K", "1:1")


def test_what_a_model_makes_is_said_when_it_cannot_make_something() -> None:
    assert QUALITY.why_not("2K", "16:9") == ""
    assert PRO.why_not("8K", "1:8") == (
        "gemini-3-pro-image does not make 8K images at 1:8; it makes the sizes 1K, 2K, 4K at the "
        "aspect ratios 1:1, 2:3, 3:2, 3:4, 4:3, 4:5, 5:4, 9:16, 16:9, 21:9."
    )


def test_a_model_nobody_described_makes_nothing_and_says_what_to_add() -> None:
    model = Model(id="new")

    assert not model.makes("1K", "1:1")
    assert model.why_not("1K", "1:1") == (
        "It is not known what new makes; add sizes and aspect_ratios under "
        '[models."new"] in nanobatch.toml.'
    )
    with pytest.raises(ConfigError, match="It is not known what new makes"):
        model.nearest("1K", "1:1")


@pytest.mark.parametrize(
    ("model", "wanted", "nearest"),
    [
        (LITE, ("4K", "16:9"), ("1K", "16:9")),
        (LITE, ("512", "1:1"), ("1K", "1:1")),
        (QUALITY, ("8K", "1:1"), ("4K", "1:1")),
        # |1536 - 1024| = |1536 - 2048|: the smaller is cheaper
        (QUALITY, ("1536", "1:1"), ("1K", "1:1")),
        (QUALITY, ("1537", "1:1"), ("2K", "1:1")),
        # 9:21 = 0.429: to 9:16 a factor of 1.3125, to 1:4 one of 1.714
        (LITE, ("1K", "9:21"), ("1K", "9:16")),
        # Pro stops at 9:16 = 0.5625 and 21:9 = 2.333
        (PRO, ("2K", "1:8"), ("2K", "9:16")),
        (PRO, ("2K", "8:1"), ("2K", "21:9")),
    ],
)
def test_a_draft_is_drawn_in_the_nearest_shape(
    model: Model, wanted: tuple[str, str], nearest: tuple[str, str]
) -> None:
    assert model.nearest(*wanted) == nearest


def test_of_two_equally_near_ratios_the_first_listed_is_taken() -> None:
    model = Model(id="new", sizes=("1K",), aspect_ratios=("3:2", "2:3"))

    assert model.nearest("1K", "1:1") == ("1K", "3:2")


@given(
    st.sampled_from([LITE, QUALITY, PRO, REGISTRY["nano-banana-2"]]),
    st.sampled_from(["512", "1K", "2K", "4K"]),
    st.integers(min_value=1, max_value=9999),
    st.integers(min_value=1, max_value=9999),
)
def test_the_nearest_shape_is_always_one_the_model_makes(
    model: Model, size: str, width: int, height: int
) -> None:
    shape = model.nearest(size, f"{width}:{height}")

    assert model.makes(*shape)
    assert model.nearest(*shape) == shape


@pytest.mark.parametrize(
    ("size", "ratio", "complaint"),
    [
        ("1k", "1:1", "'1k' is no image size; sizes are written 512, 1K, 2K or 4K."),
        ("", "1:1", "'' is no image size; sizes are written 512, 1K, 2K or 4K."),
        (
            "1K",
            "16x9",
            "'16x9' is no aspect ratio; ratios are written width:height, such as 16:9.",
        ),
        ("1K", "0:1", "'0:1' is no aspect ratio; ratios are written width:height, such as 16:9."),
    ],
)
def test_a_shape_that_cannot_be_read_has_no_nearest(size: str, ratio: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LITE.nearest(size, ratio)

    assert str(caught.value) == complaint


def test_sizes_stand_from_small_to_large_however_they_were_written() -> None:
    model = Model(id="new", sizes=("4K", "512", "2K", "1K"))

    assert model.sizes == ("512", "1K", "2K", "4K")


# --- retirement and values -----------------------------------------------------------------------


def test_a_model_is_off_from_its_retirement_day_on() -> None:
    model = REGISTRY["nano-banana-2"]

    assert not model.is_retired(date(2026, 10, 28))
    assert model.is_retired(date(2026, 10, 29))
    assert model.is_retired(date(2026, 10, 30))


def test_today_decides_when_no_day_is_given() -> None:
    today = datetime.now(UTC).date()

    assert replace(LITE, retires=today).is_retired()
    assert not replace(LITE, retires=today + timedelta(days=2)).is_retired()
    assert not replace(LITE, retires=None).is_retired()


def test_nobody_can_change_a_model() -> None:
    tokens = {"1K": 1000}
    model = Model(id="new", image_tokens=tokens)

    tokens["1K"] = 1

    assert model.image_tokens["1K"] == 1000
    with pytest.raises(FrozenInstanceError):
        model.id = "other"  # type: ignore[misc]  # that it is refused is the point
    with pytest.raises(TypeError):
        cast("Any", model.image_tokens)["1K"] = 1


def test_equal_models_are_one_key() -> None:
    one, other = Model(id="new", image_tokens={"1K": 1}), Model(id="new", image_tokens={"1K": 1})

    assert {one: "kept"}[other] == "kept"
