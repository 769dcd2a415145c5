"""Answers without an image: some refuse the job, the others are asked for once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nanobatch import Ended, JobStatus
from nanobatch.simulator import answers
from tests.faults.story import Case, Told, reshaped, told_by, usd_of, worst_case_usd

if TYPE_CHECKING:
    from nanobatch.simulator import Answer


def finished(reason: str) -> Answer:
    """An answer without an image and with this finish reason."""
    return answers.unknown_finish_reason(reason)


def no_usage(answer: dict[str, Any]) -> None:
    del answer["usageMetadata"]


def no_candidates(answer: dict[str, Any]) -> None:
    answer["candidates"] = []


REFUSED = [
    *(
        Case(
            fault="N24",
            name=f"blocked: {reason}",
            first=(answers.blocked(reason),),
            says=f"The prompt was blocked ({reason}).",
        )
        for reason in ("OTHER", "SAFETY", "BLOCKLIST", "PROHIBITED_CONTENT", "A_NEW_REASON")
    ),
    Case(
        fault="N24",
        name="blocked, with an empty list",
        first=(reshaped(no_candidates, of=answers.blocked("OTHER")),),
        says="The prompt was blocked (OTHER).",
    ),
    Case(
        fault="N25",
        name="prohibited",
        first=(answers.prohibited(),),
        says="Support code: 42876398.",
    ),
    *(
        Case(
            fault="N25",
            name=f"finished: {reason}",
            first=(finished(reason),),
            says=f"The answer holds no image ({reason}).",
        )
        for reason in ("SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII")
    ),
    Case(
        fault="N25",
        name="unsafe in two slots",
        first=(answers.image_refused(),) * 4,
        kinds=("empty",) * 4,
        says="The answer holds no image (IMAGE_SAFETY).",
    ),
]

ONCE_MORE = [
    *(
        Case(
            fault=fault,
            name=f"finished: {reason}",
            first=(finished(reason),),
            says=f"The answer holds no image ({reason}).",
        )
        for fault, reason in (
            ("N25", "IMAGE_RECITATION"),
            ("N25", "RECITATION"),
            ("N25", "LANGUAGE"),
            ("N26", "NO_IMAGE"),
            ("N26", "IMAGE_OTHER"),
            ("N26", "OTHER"),
            ("N26", "MAX_TOKENS"),
            ("N26", "MALFORMED_RESPONSE"),
            ("N27", "IMAGE_UNDER_CONSIDERATION"),
            ("N27", "\N{SNOWMAN}"),
        )
    ),
    Case(
        fault="N25",
        name="unsafe in one slot",
        first=(answers.image_refused(usage_quirk=True),),
        says="The answer holds no image (IMAGE_SAFETY). Unable to show the generated image.",
    ),
    Case(
        fault="N26",
        name="an excuse",
        first=(answers.no_image("Shall I try again?"),),
        says="The answer holds no image (NO_IMAGE). Shall I try again?",
    ),
    Case(
        fault="N26",
        name="a polite refusal",
        first=(answers.text_only("I'm sorry."),),
        says="The answer holds no image (STOP). I'm sorry.",
    ),
    Case(
        fault="N26",
        name="parts: null",
        first=(answers.parts_null(),),
        says="The answer holds no image (STOP).",
    ),
    Case(
        fault="N26",
        name="content: {}",
        first=(answers.empty_content(),),
        says="The answer holds no image (STOP).",
    ),
    Case(
        fault="N26",
        name="candidates: []",
        first=(reshaped(no_candidates, of=answers.empty_content()),),
        says="The answer holds no image (no reason given).",
    ),
    Case(
        fault="N38",
        name="a text that steers terminals",
        first=(answers.text_only("no\x1b[31m\x00 \ud83d\u202e " + "word " * 2000),),
        says="The answer holds no image (STOP). no [31m \\ud83d ",
    ),
    Case(
        fault="N38",
        name="a finish reason that does",
        first=(finished("STOP\x1b]8;;https://example.org\x07"),),
        says="The answer holds no image (STOP ]8;;https://example.org ).",
    ),
]

NO_USAGE = [
    Case(fault="M3", name="blocked", first=(reshaped(no_usage, of=answers.blocked()),)),
    Case(fault="M3", name="empty", first=(reshaped(no_usage, of=answers.empty_content()),)),
]


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    return told_by(REFUSED, tmp_path_factory.mktemp("refused") / "run")


@pytest.fixture(scope="module")
def once_more(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    return told_by(ONCE_MORE, tmp_path_factory.mktemp("once_more") / "run")


@pytest.mark.parametrize("case", [case.param for case in REFUSED])
def test_a_refusal_ends_its_job_and_costs_what_it_says(
    refused: dict[str, Told], case: Case
) -> None:
    job = refused[case.name]

    assert (job.ended, job.status) == (Ended.COMPLETE, JobStatus.REFUSED)
    assert len(job.bill) == len(case.first)
    assert job.kinds == (case.kinds or ("refused",))
    assert case.says in job.messages[0]
    assert case.says in job.reason
    assert job.images == ()
    assert job.confirmed_usd == usd_of(job.bill)
    assert sum(line.image_tokens for line in job.bill) == 0
    assert job.unknown_usd == 0


@pytest.mark.parametrize("case", [case.param for case in ONCE_MORE])
def test_an_empty_answer_is_asked_for_once_more_in_the_same_slot(
    once_more: dict[str, Told], case: Case
) -> None:
    job = once_more[case.name]

    assert (job.ended, job.status) == (Ended.COMPLETE, JobStatus.DONE)
    assert len(job.bill) == 2
    assert (job.slots, job.calls) == (1, 2)
    assert job.kinds == ("empty",)
    assert case.says in job.messages[0]
    assert len(job.messages[0]) <= 400
    assert "".join(job.messages[0].splitlines()).isprintable()
    assert len(job.images) == 1
    assert job.confirmed_usd == usd_of(job.bill)
    assert job.bill[0].image_tokens == 0
    assert job.unknown_usd == 0


def test_without_usage_even_an_empty_answer_counts_at_its_worst_case(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    told = told_by(NO_USAGE, tmp_path_factory.mktemp("usage") / "run")

    assert told["blocked"].status is JobStatus.REFUSED
    assert told["blocked"].confirmed_usd == 0
    assert told["blocked"].unknown_usd == worst_case_usd("blocked")
    assert told["empty"].status is JobStatus.DONE
    assert told["empty"].confirmed_usd == usd_of(told["empty"].bill[1:])
    assert told["empty"].unknown_usd == worst_case_usd("empty")
