from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import pytest

from nanobatch import BrokenImageError, Candidate, ConfigError, Gemini, Verdict, filters
from nanobatch.filters.container import fault_in
from nanobatch.simulator import Simulator
from nanobatch.testing import check_filter, gallery

if TYPE_CHECKING:
    from nanobatch import AcceptedImage

FEW = [one for one in gallery() if one.kind in ("good", "broken")][:4]


@pytest.mark.parametrize(
    "judge",
    [
        *filters.default(),
        filters.NearDuplicate(),
        filters.Isolated(filters.MinSize()),
        filters.AllOf(filters.MinBytes(5), filters.Not(filters.NotBlank())),
    ],
    ids=lambda judge: judge.name,
)
def test_our_own_filters_are_sound(judge: Any) -> None:
    check = check_filter(judge)

    assert check.is_sound, check
    assert check.count("failed") == 0
    assert check.usd == 0


def test_it_tells_how_the_default_filters_judge_good_and_poor_pictures() -> None:
    check = check_filter(filters.NotBlank())

    assert check.count("rejected", "good") == 0
    rejected = [one.image.name for one in check.images if one.outcome == "rejected"]
    assert "poor: blank" in rejected
    assert "poor: noise" not in rejected


def test_what_is_broken_is_not_shown_to_a_filter_as_in_a_run() -> None:
    asked: set[str] = set()

    def is_asked(candidate: Candidate) -> bool:
        asked.add(candidate.job.id)
        return True

    check = check_filter(is_asked)

    sound = {one.name for one in gallery() if fault_in(one.image_bytes) is None}
    assert asked <= sound
    assert {one.image.name for one in check.images if one.outcome == "not shown"} == {
        one.name for one in gallery()
    } - sound
    assert check.count("not shown") >= 5


def raises(candidate: Candidate) -> bool:
    raise ValueError("no idea")


def returns_nothing(candidate: Candidate) -> Any:
    return None


def shrinks(candidate: Candidate) -> bool:
    candidate.image.thumbnail((8, 8))
    return True


def hangs(candidate: Candidate) -> bool:
    time.sleep(5)
    return True


def finds_it_broken(candidate: Candidate) -> bool:
    raise BrokenImageError("no eyes")


async def takes_its_time(candidate: Candidate) -> bool:
    return True


class Fickle:
    name = "fickle"

    def __init__(self) -> None:
        self.turns = itertools.count()

    def __call__(self, candidate: Candidate) -> bool:
        return next(self.turns) % 3 == 0


@dataclass
class Paid:
    name: str = field(default="paid", init=False)
    charges: str = "0.02"
    worst_case_usd: Decimal = Decimal("0.03")
    asked: int = field(default=0, init=False, compare=False)

    def __call__(self, candidate: Candidate) -> Verdict:
        self.asked += 1
        return Verdict(accepted=True, usd=Decimal(self.charges))


class Forgetful:
    name = "forgetful"

    def __call__(self, candidate: Candidate) -> Verdict:
        return Verdict(accepted=True, memo=b"12")

    def seen(self, image: AcceptedImage, memo: bytes) -> None:
        int(memo)


@pytest.mark.parametrize(
    ("judge", "what"),
    [
        (raises, "Filter raises raised ValueError: no idea"),
        (returns_nothing, "Filter returns_nothing returned None"),
        (shrinks, "shrinks changes the shared picture"),
        (hangs, "Filter hangs did not answer within 0.2 s"),
        (Fickle(), "asked again, it gave another answer"),
        (Paid(charges="0.04"), "charged 0.04 USD, more than the 0.03 USD"),
        (Forgetful(), "seen without a memo: Filter forgetful raised ValueError"),
        (lambda candidate: True, "It has no name of its own"),
    ],
)
def test_what_bites_in_a_run_is_a_problem(judge: Any, what: str) -> None:
    check = check_filter(judge, images=FEW, timeout_seconds=0.2)

    assert not check.is_sound
    assert what in str(check)


def test_a_slow_filter_is_a_problem_that_names_the_file() -> None:
    def slow(candidate: Candidate) -> bool:
        time.sleep(1.1)
        return True

    check = check_filter(slow, images=FEW[:1])

    assert [FEW[0].name in problem for problem in check.problems] == [True]


def test_an_async_filter_is_checked_from_inside_a_running_loop() -> None:
    assert check_filter(takes_its_time, images=FEW).is_sound


async def test_it_works_where_an_event_loop_is_running() -> None:
    assert check_filter(filters.MinSize(), images=FEW).is_sound


def test_a_paid_filter_is_asked_once_about_each_file_and_the_price_is_shown() -> None:
    judge = Paid()

    check = check_filter(judge, images=FEW)

    assert judge.asked == len(FEW)
    assert check.usd == Decimal("0.02") * len(FEW)
    assert f"{check.usd} USD in all" in str(check)


def test_what_a_filter_calls_broken_is_no_failure() -> None:
    check = check_filter(finds_it_broken, images=FEW)

    assert check.is_sound
    assert check.count("broken") == len(FEW)


def test_parameters_that_a_checkpoint_cannot_see_are_noted() -> None:
    class Sharp:
        name = "sharp"

        def __init__(self, least: float) -> None:
            self.least = least

        def __call__(self, candidate: Candidate) -> bool:
            return True

    notes = check_filter(Sharp(3), images=FEW).notes

    assert any("checkpoints do not notice when a parameter changes" in note for note in notes)
    assert any("does not pickle" in note for note in notes)


async def test_a_judge_is_checked_on_the_backend_it_is_given() -> None:
    judge = filters.GeminiJudge("Is it a fox?")

    async with Simulator(scores=8) as simulator:
        backend = Gemini(api_key="simulated", base_url=simulator.base_url)
        check = await anyio.to_thread.run_sync(
            lambda: check_filter(judge, images=FEW, backend=backend)
        )

    assert check.is_sound, check
    assert check.count("accepted") == simulator.bill.requests == len(FEW)
    assert check.usd == simulator.bill.usd > 0


def test_a_judge_without_a_backend_is_refused() -> None:
    with pytest.raises(ConfigError, match="asks a model"):
        check_filter(filters.AllOf(filters.GeminiJudge("Is it a fox?")))


def test_what_is_no_filter_is_refused() -> None:
    no_filter: Any = 7

    with pytest.raises(ConfigError, match="takes a candidate"):
        check_filter(no_filter)


def test_the_gallery_is_the_same_every_time_and_names_are_unique() -> None:
    first = {one.name: one.candidate().sha256 for one in gallery()}
    gallery.cache_clear()

    assert {one.name: one.candidate().sha256 for one in gallery()} == first
    assert len(first) == len(gallery())
    assert {one.kind for one in gallery()} == {"good", "poor", "odd", "hostile", "broken"}
