"""The stand-in for Google: the tag of a prompt's job decides how often it is drawn well."""

from __future__ import annotations

import pytest

from nanobatch import Job
from nanobatch.demo.world import Difficulty
from nanobatch.simulator import Call
from tests.support import LITE, PRO

JOBS = (
    Job(id="easy", prompt="A lake", tag="ocean"),
    Job(id="sign", prompt="A lake with the word CALM", tag="typography"),
    Job(id="never", prompt="A page of prose", tag="impossible"),
)


def call(model: str, prompt: str, *, input_images: int = 0) -> Call:
    return Call(
        model=model,
        prompt=prompt,
        nth=0,
        number=0,
        size="1K",
        aspect_ratio="1:1",
        input_images=input_images,
        thinking_level="",
        api_version="v1beta",
    )


@pytest.mark.parametrize(
    ("model", "prompt", "rate"),
    [
        (LITE, "A lake", 0.75),
        (PRO, "A lake", 0.92),
        (LITE, "A lake with the word CALM", 0.25),
        (PRO, "A lake with the word CALM", 0.75),
        (LITE, "A page of prose", 0),
        (PRO, "A page of prose", 0),
    ],
)
def test_a_hard_prompt_is_hard_for_both_models_and_harder_for_lite(
    model: str, prompt: str, rate: float
) -> None:
    difficulty = Difficulty(JOBS, quality=PRO)

    assert difficulty(call(model, prompt)) == rate


def test_a_finish_is_as_hard_as_the_prompt_it_carries_not_as_one_that_is_part_of_it() -> None:
    difficulty = Difficulty(JOBS, quality=PRO)

    finish = call(PRO, "Finish this image.\n\nA lake with the word CALM", input_images=1)

    assert difficulty(finish) == 0.75
