"""The simulated models that look at images and answer in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nanobatch.simulator import Answer, Call, Simulator, answers
from tests.simulator.wire import answering, body, png, send

pytestmark = pytest.mark.anyio

JUDGE = "gemini-3.1-flash-lite"
SCHEMA = {
    "type": "OBJECT",
    "properties": {
        "score": {"type": "INTEGER", "minimum": 0, "maximum": 10},
        "verdict": {"type": "STRING", "enum": ["pass", "fail"]},
        "is_hostile": {"type": "BOOLEAN"},
        "why": {"type": "STRING"},
        "faults": {"type": "ARRAY", "items": {"type": "NUMBER"}},
    },
}


def question(**config: Any) -> dict[str, Any]:
    as_json = {"responseMimeType": "application/json", "responseSchema": SCHEMA}
    return body("Is it good?", images=(png(),), **{**as_json, **config})


def text_of(response: Any) -> str:
    return str(response.json()["candidates"][0]["content"]["parts"][0]["text"])


async def test_the_answer_fits_the_schema_and_carries_the_score() -> None:
    async with Simulator(scores=3) as simulator:
        response = await send(simulator, question(), model=JUDGE)

    assert json.loads(text_of(response)) == {
        "score": 3,
        "verdict": "fail",
        "is_hostile": False,
        "why": "Simulated.",
        "faults": [3],
    }


async def test_scores_can_be_scripted_by_call() -> None:
    async with Simulator(scores=lambda call: 4 + 5 * call.nth) as simulator:
        found = [
            json.loads(text_of(await send(simulator, question(), model=JUDGE))) for _ in range(2)
        ]

    assert [(one["score"], one["verdict"]) for one in found] == [(4, "fail"), (9, "pass")]


async def test_words_are_billed_at_the_judge_s_own_price() -> None:
    async with Simulator() as simulator:
        usage = (await send(simulator, question(), model=JUDGE)).json()["usageMetadata"]

    [line] = simulator.bill.lines
    # 0.25 USD per million input tokens, 1.50 per million of output.
    assert line.nano_usd == 250 * usage["promptTokenCount"] + 1500 * usage["candidatesTokenCount"]
    assert line.images == 0


async def test_a_judge_can_be_made_to_say_anything() -> None:
    given: list[Answer] = [answers.says("ACCEPT"), answers.judgement(2)]

    async with Simulator(answer=answering(*given)) as simulator:
        said = [text_of(await send(simulator, question(), model=JUDGE)) for _ in given]
        plain = text_of(await send(simulator, body("Is it good?", images=(png(),)), model=JUDGE))

    assert said[0] == "ACCEPT"
    assert json.loads(said[1])["score"] == 2
    assert plain == "I would give it 8 of 10."


async def test_an_answer_that_is_too_long_is_cut_and_says_so() -> None:
    async with Simulator(answer=lambda call: answers.says("word " * 100)) as simulator:
        response = await send(simulator, question(maxOutputTokens=10), model=JUDGE)

    assert response.json()["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert response.json()["usageMetadata"]["candidatesTokenCount"] == 10
    assert text_of(response) == ("word " * 100)[:40]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"responseMimeType": "text/plain"}, "only supported with response mime type"),
        ({"responseSchema": {"type": "PICTURE"}}, "response_schema.type"),
        ({"responseModalities": ["IMAGE"]}, "response modalities (IMAGE) is not supported"),
        ({"imageConfig": {"imageSize": "1K"}}, "Image config is not supported"),
        ({"maxOutputTokens": 0}, "max_output_tokens"),
    ],
)
async def test_what_a_judge_cannot_do_is_refused(config: dict[str, Any], words: str) -> None:
    async with Simulator() as simulator:
        response = await send(simulator, question(**config), model=JUDGE)

    assert response.status_code == 400
    assert words in response.json()["error"]["message"]
    assert simulator.bill.usd == 0


async def test_a_call_to_a_judge_is_seen_by_whoever_steers_the_simulator() -> None:
    seen: list[Call] = []

    def look(call: Call) -> None:
        seen.append(call)

    async with Simulator(answer=look) as simulator:
        await send(simulator, question(), model=JUDGE)

    assert [(call.model, call.input_images) for call in seen] == [(JUDGE, 1)]
