"""What the simulator charges, in numbers worked out by hand."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import anyio
import httpx2
import pytest

from nanobatch.simulator import Answer, Call, Simulator, answers
from nanobatch.simulator.catalogue import MODELS
from nanobatch.simulator.prices import PRICES
from nanobatch.simulator.usage import count_prompt, image_usage
from tests.simulator.wire import BANANA, LITE, PRO, SMALL, answering, body, png, send

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("model", "size", "usd"),
    [
        (LITE, "1K", "0.0336"),
        (BANANA, "1K", "0.0336"),
        (BANANA, "2K", "0.0504"),
        (BANANA, "4K", "0.1134"),
        (PRO, "1K", "0.1344"),
        (PRO, "4K", "0.24"),
        ("gemini-3.1-flash-image", "512", "0.04482"),
        ("gemini-2.5-flash-image", "1K", "0.0387"),
    ],
)
def test_one_image_costs_its_list_price(model: str, size: str, usd: str) -> None:
    tokens = MODELS[model].image_tokens[size]

    nano_usd = PRICES[model].nano_usd(prompt_tokens=0, text_tokens=0, image_tokens=tokens)

    assert Decimal(nano_usd) / 10**9 == Decimal(usd)


def test_input_and_text_have_their_own_rates() -> None:
    nano_usd = PRICES[LITE].nano_usd(prompt_tokens=10, text_tokens=100, image_tokens=1120)

    assert nano_usd == 33_752_500  # 10 x 250 + 100 x 1,500 + 1,120 x 30,000


async def test_the_bill_is_what_the_usage_says() -> None:
    async with Simulator(pixels=SMALL) as simulator:
        lite = (await send(simulator, body("a fox"))).json()["usageMetadata"]
        pro = (await send(simulator, body("a fox"), model=PRO)).json()["usageMetadata"]

    first, second = simulator.bill.lines
    lite_text = lite["totalTokenCount"] - 2 - 1120
    pro_text = pro["totalTokenCount"] - 2 - 1120
    assert first.nano_usd == 2 * 250 + 1120 * 30_000 + lite_text * 1_500
    assert second.nano_usd == 2 * 2_000 + 1120 * 120_000 + pro_text * 12_000
    assert (first.prompt_tokens, first.image_tokens, first.images) == (2, 1120, 1)
    assert simulator.bill.nano_usd == first.nano_usd + second.nano_usd
    assert simulator.bill.usd == Decimal(simulator.bill.nano_usd).scaleb(-9)
    assert simulator.bill.by_model()[LITE] == Decimal(first.nano_usd).scaleb(-9)
    assert simulator.bill.images == 2


@pytest.mark.parametrize(
    ("answer", "nano_usd"),
    [
        (answers.blocked(), 500),  # 2 prompt tokens x 250
        (answers.image_refused(), 500),
        (answers.prohibited(), 500),
        (answers.empty_content(), 500),
        (answers.text_only("eight by"), 3_500),  # and 2 text tokens x 1,500
        (answers.no_image("eight by"), 3_500),
        (answers.rate_limited(5), 0),
        (answers.internal(), 0),
        (answers.deadline(), 0),
        (answers.redirect("http://127.0.0.1:9/"), 0),
    ],
)
async def test_answers_without_an_image_cost_no_image(answer: Answer, nano_usd: int) -> None:
    async with Simulator(answer=answering(answer)) as simulator:
        await send(simulator, body("a fox"))

    assert simulator.bill.nano_usd == nano_usd
    assert simulator.bill.images == 0
    assert simulator.bill.requests == 1


async def test_a_refusal_of_pro_is_billed_once_although_it_is_counted_twice() -> None:
    async with Simulator(answer=answering(answers.image_refused())) as simulator:
        usage = (await send(simulator, body("a fox"), model=PRO)).json()["usageMetadata"]

    thoughts = usage["thoughtsTokenCount"]
    assert usage["candidatesTokenCount"] == thoughts
    assert usage["totalTokenCount"] == 2 + thoughts
    assert simulator.bill.nano_usd == 2 * 2_000 + thoughts * 12_000


async def test_every_image_of_an_answer_is_billed() -> None:
    async with Simulator(pixels=SMALL, answer=answering(answers.several_images(3))) as simulator:
        usage = (await send(simulator, body("a fox"))).json()["usageMetadata"]

    text = usage["totalTokenCount"] - 2 - 3 * 1120
    assert simulator.bill.images == 3
    assert simulator.bill.nano_usd == 500 + 3 * 33_600_000 + text * 1_500


@pytest.mark.parametrize(
    "answer",
    [
        answers.cut(0.5),
        answers.without_usage(),
        answers.bad_base64(),
        answers.empty_body(),
        answers.truncated_json(),
        answers.reset(billed=True),
    ],
)
async def test_what_was_drawn_is_billed_whatever_became_of_it(answer: Answer) -> None:
    async with Simulator(pixels=SMALL, answer=answering(answer)) as simulator:
        with suppress(httpx2.TransportError):
            await send(simulator, body("a fox"))

    assert simulator.bill.images == 1
    assert simulator.bill.nano_usd >= 33_600_500


async def test_a_line_says_whether_the_answer_was_written() -> None:
    given = (None, answers.cut(0.5), answers.reset(), answers.internal())

    async with Simulator(pixels=SMALL, answer=answering(*given)) as simulator:
        for _ in given:
            with suppress(httpx2.TransportError):
                await send(simulator, body("a fox"))
        await send(simulator, {"contents": []})

    lines = simulator.bill.lines
    assert [line.answered for line in lines] == [True, False, False, True, True]
    assert [line.status for line in lines] == [200, 200, None, 500, 400]
    assert [line.prompt for line in lines] == ["a fox"] * 4 + [""]
    assert [line.number for line in lines] == [0, 1, 2, 3, 4]


async def test_a_client_that_leaves_early_pays_all_the_same() -> None:
    asked = anyio.Event()

    def answer(call: Call) -> Answer:
        asked.set()
        return answers.image().after(0.05)

    async with Simulator(pixels=SMALL, answer=answer) as simulator:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, simulator)
            await asked.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            while simulator.bill.in_flight:
                await anyio.lowlevel.checkpoint()

    assert simulator.bill.images == 1


async def test_requests_in_flight_are_counted() -> None:
    third = anyio.Event()

    def answer(call: Call) -> Answer:
        if call.number == 2:
            third.set()
        return answers.stall()

    simulator = Simulator(answer=answer)
    in_flight: list[int] = []
    async with anyio.create_task_group() as tasks, simulator:
        for n in range(3):
            tasks.start_soon(_send_and_forget, simulator, n)
        await third.wait()
        in_flight.append(simulator.bill.in_flight)

    assert in_flight == [3]
    assert simulator.bill.in_flight == 0
    assert simulator.bill.peak_in_flight == 3


async def test_requests_one_after_another_are_never_two_in_flight() -> None:
    async with Simulator(pixels=0.02) as simulator:
        for n in range(40):
            await send(simulator, body(f"a {n}"))

    assert simulator.bill.peak_in_flight == 1


@pytest.mark.parametrize("model", sorted(m for m in MODELS if MODELS[m].image_tokens))
def test_no_ordinary_call_exceeds_the_worst_case(model: str) -> None:
    # Prompt bytes and 1,120 an input image at the input rate; then, for Lite, its cap of 4,096
    # output tokens at the image rate, for the others two images and 2,048 tokens of text.
    drawer, price = MODELS[model], PRICES[model]
    prompt, image = "ein Füchslein, 狐", png()
    tokens = count_prompt([prompt], [image])
    at_input = (len(prompt.encode()) + 1120) * price.input
    checked = 0

    for size, image_tokens in drawer.image_tokens.items():
        at_output = (
            4096 * price.image
            if model == LITE
            else 2 * image_tokens * price.image + 2048 * price.text
        )
        for level in drawer.thoughts or {"": (0, 0)}:
            for nth in range(150):
                call = Call(
                    model=model, prompt=prompt, nth=nth, number=nth, size=size,
                    aspect_ratio="1:1", input_images=1, thinking_level=level,
                    api_version="v1beta",
                )  # fmt: skip
                usage = image_usage(0, call, drawer, tokens)
                cost = price.nano_usd(
                    prompt_tokens=usage.prompt_tokens,
                    text_tokens=usage.text_tokens,
                    image_tokens=usage.image_tokens,
                )
                assert usage.prompt_tokens >= 1
                assert cost <= at_input + at_output
                checked += 1

    assert checked >= 150


async def _send_and_forget(simulator: Simulator, n: int) -> None:
    with suppress(httpx2.TransportError):
        await send(simulator, body(f"a {n}"))
