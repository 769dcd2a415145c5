"""The same calls at other prices, worked out by hand from tokens that are known.

Every answer says that it used 10 prompt tokens, 100 text tokens and the image tokens of its size.
"""

from __future__ import annotations

import json
import re
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from nanobatch import (
    Candidate,
    Checkpoint,
    Job,
    Model,
    ModelRegistry,
    PriceRow,
    PriceUnknownError,
    Route,
    Tier,
    UnknownModelError,
    Verdict,
)
from nanobatch.report import reprice
from nanobatch.simulator import answers
from tests.report.batches import batch, contents
from tests.support import LITE, PRO

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.simulator import Answer, Call

TODAY = date(2026, 12, 1)
BEFORE = date(2026, 1, 1)


def row(*, since: date = BEFORE, input_usd: str, text: str, image: str) -> PriceRow:
    return PriceRow(
        effective_from=since,
        input_usd_per_million_tokens=Decimal(input_usd),
        text_output_usd_per_million_tokens=Decimal(text),
        image_output_usd_per_million_tokens=Decimal(image),
        batch_factor=Decimal("0.4"),
    )


def sheet(*further: Model) -> ModelRegistry:
    """Return prices of no month: one US cent for what a Lite image call uses, or nearly."""
    models = [
        Model(
            id=LITE,
            sizes=("1K",),
            aspect_ratios=("1:1", "16:9"),
            image_tokens={"1K": 1120},
            prices=(
                row(input_usd="1", text="2", image="10"),
                row(since=TODAY, input_usd="1", text="2", image="5.0000001"),
            ),
        ),
        Model(
            id=PRO,
            sizes=("1K", "2K"),
            aspect_ratios=("1:1", "16:9"),
            image_tokens={"1K": 1120, "2K": 1120},
            prices=(row(input_usd="2", text="12", image="120"),),
        ),
        *further,
    ]
    return ModelRegistry(models={model.id: model for model in models}, roles={"lite": LITE})


OTHER = Model(
    id="other",
    aliases=("o",),
    sizes=("512", "1K", "2K"),
    aspect_ratios=("1:1", "16:9"),
    image_tokens={"512": 500, "1K": 1000, "2K": 3000},
    prices=(row(input_usd="1", text="2", image="10"),),
)


def known_usage(call: Call) -> Answer:
    return _with_usage(answers.image(), images=1)


def two_images(call: Call) -> Answer:
    return _with_usage(answers.several_images(2), images=2)


def _with_usage(answer: Answer, *, images: int) -> Answer:
    def change(body: bytes) -> bytes:
        message: dict[str, Any] = json.loads(body)
        image_tokens = 1120 * images
        message["usageMetadata"] = {
            "promptTokenCount": 10,
            "candidatesTokenCount": image_tokens + 100,
            "totalTokenCount": 10 + image_tokens + 100,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": image_tokens}],
        }
        return json.dumps(message).encode()

    return answers.altered(change, answer)


async def two_lite(folder: Path, **options: Any) -> None:
    jobs = [Job(id=f"{n}", prompt=f"a fox {n}", route=Route.LITE) for n in range(2)]
    settings = {"answer": options.pop("answer", known_usage)}
    await batch(folder, jobs, **{"filters": [], "settings": settings, **options})


async def test_another_price_sheet_is_applied_to_the_nano_dollar(tmp_path: Path) -> None:
    await two_lite(tmp_path)

    outcome = reprice(tmp_path, sheet(), on=date(2026, 11, 30))

    # 10 x 1 + 100 x 2 + 1,120 x 10 = 11,410 USD per million calls; two calls, two images.
    # Paid was, at 0.25, 1.50 and 30: 10 x 0.25 + 100 x 1.50 + 1,120 x 30 = 33,752.5.
    assert outcome.before.spend_usd == Decimal("0.067505")
    assert outcome.after.spend_usd == Decimal("0.022820")
    assert outcome.after.usd_per_accepted == Decimal("0.011410")
    assert outcome.after.usd_per_call == Decimal("0.011410")
    assert (outcome.repriced_calls, outcome.kept_calls) == (2, 0)


async def test_the_price_of_a_day_counts_and_a_call_is_rounded_up_as_a_run_books_it(
    tmp_path: Path,
) -> None:
    await two_lite(tmp_path)

    outcome = reprice(tmp_path, sheet(), on=TODAY)

    # 10 + 200 + 1,120 x 5.0000001 = 5,810.000112 per million: 5,810,001 nano-dollars a call.
    assert outcome.after.spend_usd == Decimal("0.011620002")
    assert outcome.on == TODAY


async def test_batch_mode_costs_its_factor(tmp_path: Path) -> None:
    await two_lite(tmp_path)

    outcome = reprice(tmp_path, sheet(), on=date(2026, 11, 30), batch=True)
    today = reprice(tmp_path, batch=True)

    assert outcome.after.spend_usd == Decimal("0.009128")  # 0.4 x 0.022820
    assert today.after.spend_usd == Decimal("0.0337525")  # half of what was paid


async def test_the_prices_that_were_paid_give_what_was_paid(tmp_path: Path) -> None:
    jobs = [
        Job(id="lite", prompt="a fox", route=Route.LITE, tag="a"),
        Job(id="finish", prompt="an owl", route=Route.FINISH),
        Job(id="quality", prompt="a map", route=Route.QUALITY, want=2),
    ]
    await batch(tmp_path, jobs, filters=[])

    outcome = reprice(tmp_path)

    assert outcome.before == outcome.after
    with Checkpoint.read(tmp_path) as checkpoint:
        assert outcome.before == checkpoint.cost_model()
        for tier in Tier:
            assert outcome.by_tier[tier].before == checkpoint.cost_model(tier=tier)
            assert outcome.by_tier[tier].after == checkpoint.cost_model(tier=tier)


async def test_another_model_uses_its_own_image_tokens(tmp_path: Path) -> None:
    await two_lite(tmp_path)

    outcome = reprice(tmp_path, sheet(OTHER), lite="o", on=TODAY)

    # 10 x 1 + 100 x 2 + 1,000 x 10 = 10,210 per million, instead of 1,120 image tokens.
    assert outcome.after.spend_usd == Decimal("0.020420")
    assert outcome.models == {Tier.LITE: "other"}
    assert "Tier lite as other: image tokens are what it uses for the size" in str(outcome)


async def test_every_image_of_an_answer_is_priced(tmp_path: Path) -> None:
    await two_lite(tmp_path, answer=two_images)

    outcome = reprice(tmp_path, sheet(), lite=OTHER, on=TODAY)

    # 10 x 1 + 100 x 2 + 2 x 1,000 x 10 = 20,210 per million, for each of the two calls.
    assert outcome.after.spend_usd == Decimal("0.040420")


async def test_a_draft_and_its_finish_have_their_own_sizes(tmp_path: Path) -> None:
    """Lite draws the draft of a 2K image at 1K; another model would draw it at 2K."""
    job = Job(id="a", prompt="a map", route=Route.FINISH, size="2K", aspect_ratio="16:9")
    await batch(tmp_path, [job], filters=[], settings={"answer": known_usage})
    small = Model(
        id="small",
        sizes=("512", "1K"),
        aspect_ratios=("16:9",),
        image_tokens={"512": 500, "1K": 1000},
        prices=OTHER.prices,
    )

    as_small = reprice(tmp_path, sheet(), lite=small, on=BEFORE)
    as_other = reprice(tmp_path, sheet(), lite=OTHER, quality=OTHER, on=BEFORE)

    lite, quality = as_small.by_tier[Tier.LITE], as_small.by_tier[Tier.QUALITY]
    assert lite.after.spend_usd == Decimal("0.010210")  # 1K: 1,000 tokens
    # 10 x 2 + 100 x 12 + 1,120 x 120 = 135,620 per million, as Pro was paid.
    assert quality.after.spend_usd == quality.before.spend_usd == Decimal("0.135620")
    assert as_other.by_tier[Tier.LITE].after.spend_usd == Decimal("0.030210")  # 2K: 3,000
    assert as_other.by_tier[Tier.QUALITY].after.spend_usd == Decimal("0.030210")
    assert as_other.after.spend_usd == Decimal("0.060420")


async def test_text_without_an_image_has_no_image_tokens_on_any_model(tmp_path: Path) -> None:
    await two_lite(tmp_path, answer=lambda _: answers.text_only())
    with Checkpoint.read(tmp_path) as checkpoint:
        usages = [line.usage for line in checkpoint.ledger() if line.usage is not None]
    per_million = sum(usage.prompt_tokens + 2 * usage.text_tokens for usage in usages)

    outcome = reprice(tmp_path, sheet(OTHER), lite="other", on=TODAY)

    assert len(usages) == 4
    assert outcome.after.accepted == 0
    assert outcome.after.spend_usd == Decimal(per_million).scaleb(-6)
    assert outcome.after.usd_per_accepted is None


async def test_calls_without_usage_keep_their_amount_and_are_counted(tmp_path: Path) -> None:
    def first_says_nothing(call: Call) -> Answer:
        return answers.without_usage() if call.number == 0 else known_usage(call)

    await two_lite(tmp_path, answer=first_says_nothing)

    outcome = reprice(tmp_path, sheet(), on=date(2026, 11, 30))

    # The worst case of a Lite call: 4,096 tokens at USD 30, and 7 bytes of prompt at 0.25.
    assert outcome.before.unknown_usd == outcome.after.unknown_usd == Decimal("0.12288175")
    assert outcome.after.spend_usd == Decimal("0.011410")
    assert (outcome.repriced_calls, outcome.kept_calls) == (1, 1)
    assert (outcome.after.slots, outcome.after.accepted) == (2, 2)
    assert "Calls without usage, whose amounts stay: 1." in str(outcome)


async def test_a_call_settled_by_hand_stays_as_it_was_settled(tmp_path: Path) -> None:
    await two_lite(tmp_path, answer=lambda _: answers.without_usage())
    async with Checkpoint.open(tmp_path) as checkpoint:
        calls = [line.call for line in checkpoint.ledger() if line.unknown_usd]
        for call in calls:
            assert call is not None
            checkpoint.settle(call, "0.05", "on the bill")

    outcome = reprice(tmp_path, sheet(), on=TODAY)

    assert outcome.before == outcome.after
    assert outcome.after.spend_usd == Decimal("0.10")
    assert (outcome.repriced_calls, outcome.kept_calls) == (0, 2)


async def test_judgements_stay_at_what_they_cost(tmp_path: Path) -> None:
    class Judge:
        name = "judge"
        worst_case_usd = Decimal("0.003")

        def __call__(self, candidate: Candidate) -> Verdict:
            return Verdict(accepted=True, usd=Decimal("0.002"))

    await two_lite(tmp_path, filters=[Judge()])

    outcome = reprice(tmp_path, sheet(), on=date(2026, 11, 30))

    assert outcome.after.usd_other_per_slot == Decimal("0.002")
    assert outcome.after.usd_per_accepted == Decimal("0.013410")


async def test_unbilled_tries_stay_free(tmp_path: Path) -> None:
    def refused_once(call: Call) -> Answer:
        return answers.rate_limited() if call.number == 0 else known_usage(call)

    await two_lite(tmp_path, answer=refused_once)

    outcome = reprice(tmp_path, sheet(), on=date(2026, 11, 30))

    assert outcome.after.spend_usd == Decimal("0.022820")
    assert (outcome.repriced_calls, outcome.kept_calls) == (2, 0)


async def test_an_unknown_model_price_or_size_is_a_clear_error(tmp_path: Path) -> None:
    await two_lite(tmp_path)
    only_4k = Model(id="huge", image_tokens={"4K": 4000}, prices=OTHER.prices)
    unpriced = Model(id="unpriced", image_tokens={"1K": 1000})

    with pytest.raises(UnknownModelError, match="nowhere"):
        reprice(tmp_path, sheet(), lite="nowhere")
    with pytest.raises(UnknownModelError, match="flash-lite-image"):
        reprice(tmp_path, ModelRegistry(models={}, roles={}))
    with pytest.raises(PriceUnknownError, match=r"known for 2025-12-31, only from 2026-01-01 on"):
        reprice(tmp_path, sheet(), on=date(2025, 12, 31))
    with pytest.raises(PriceUnknownError, match=r"size '1K' takes on huge"):
        reprice(tmp_path, sheet(), lite=only_4k, on=TODAY)
    with pytest.raises(PriceUnknownError, match="No price of unpriced is known"):
        reprice(tmp_path, sheet(), lite=unpriced, on=TODAY)


async def test_cost_times_accepted_is_the_new_spend_exactly(tmp_path: Path) -> None:
    await two_lite(tmp_path)

    outcome = reprice(tmp_path, sheet(), on=TODAY)

    assert outcome.after.total_usd(2) == outcome.after.spend_usd


async def test_repricing_changes_nothing_and_needs_no_checkpoint_to_be_closed(
    tmp_path: Path,
) -> None:
    await two_lite(tmp_path)
    before = contents(tmp_path)

    with Checkpoint.read(tmp_path) as checkpoint:
        outcome = reprice(checkpoint, sheet(), on=TODAY)

    assert outcome.after.accepted == 2
    assert contents(tmp_path) == before


async def test_both_prices_stand_side_by_side(tmp_path: Path) -> None:
    job = Job(id="a", prompt="a map", route=Route.FINISH)
    await batch(tmp_path, [job], filters=[], settings={"answer": known_usage})

    outcome = reprice(tmp_path, sheet(), on=date(2026, 11, 30), batch=True)

    cells = [re.split(r"  +", line.strip()) for line in str(outcome).splitlines()]
    # Lite 0.0337525 to 0.4 x 0.011410; Pro 0.135620 to 0.4 x 0.135620; one image of both.
    assert ["before", "after"] in cells
    assert ["USD per accepted image", "0.1694", "0.0588"] in cells
    assert ["lite", "0", "0.0338", "0.00456", "-", "-"] in cells
    assert ["quality", "1", "0.1356", "0.0542", "0.1356", "0.0542"] in cells
    assert ["Calls priced again: 2, at the prices of the Batch API of 2026-11-30."] in cells
    html = outcome._repr_html_()
    assert html.count("<table>") == 2
    assert "<td>quality</td>" in html
