from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from nanobatch.candidate import Verdict
from nanobatch.errors import BrokenImageError, ConfigError, FilterError
from nanobatch.filters import AllOf, AnyOf, MinBytes, MinSize, NearDuplicate, Not, OnlyFor, Score
from nanobatch.filters.protocol import fingerprint, name_of, remembers, worst_case_usd
from tests.filters.files import candidate, noise, saved

if TYPE_CHECKING:
    from nanobatch.candidate import Candidate
    from nanobatch.filters import AnyFilter

PICTURE = candidate(saved(noise(), "PNG"))


@dataclass
class Says:
    """Gives the same answer every time and counts how often it was asked."""

    name: str
    answer: Any
    worst_case_usd: Decimal = Decimal(0)
    asked: int = field(default=0, compare=False, repr=False)

    def __call__(self, candidate: Candidate) -> Any:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


A_CLASS: Any = MinBytes
A_NUMBER: Any = 7
YES, NO = Says("yes", True), Says("no", Verdict.reject("too plain (3 of 9)"))


async def says_yes_later(candidate: Candidate) -> bool:
    return True


async def test_all_of_ends_at_the_first_rejection_and_gives_its_reason() -> None:
    last = Says("last", True)

    verdict = await AllOf(Says("first", Verdict.accept(score=4)), NO, last)(PICTURE)

    assert verdict == Verdict(accepted=False, reason="too plain (3 of 9)", score=4)
    assert last.asked == 0


async def test_any_of_ends_at_the_first_acceptance() -> None:
    last = Says("last", True)

    verdict = await AnyOf(NO, Says("second", Verdict.accept(score=0.25)), last)(PICTURE)

    assert verdict == Verdict.accept(score=0.25)
    assert last.asked == 0


async def test_any_of_names_every_reason_in_brackets_so_that_rejections_count_together() -> None:
    verdict = await AnyOf(NO, Says("other", False))(PICTURE)

    assert verdict.reason == "no alternative passes (too plain (3 of 9); rejected by other)"


async def test_not_turns_a_verdict_round() -> None:
    assert await Not(NO)(PICTURE) == Verdict.accept()
    assert (await Not(YES)(PICTURE)).reason == "passes yes, which is not wanted"
    assert (await Not(YES, reason="shows a logo")(PICTURE)).reason == "shows a logo"


@pytest.mark.parametrize("wrapped", [Not, AllOf, AnyOf])
async def test_what_fails_or_is_broken_inside_decides_nothing(wrapped: Any) -> None:
    with pytest.raises(BrokenImageError):
        await wrapped(Says("x", BrokenImageError("no end")))(PICTURE)
    with pytest.raises(FilterError, match="Filter x returned None"):
        await wrapped(Says("x", None))(PICTURE)


async def test_only_for_leaves_other_tags_alone() -> None:
    judge = OnlyFor("hero", NO)
    hero = PICTURE.job.model_copy(update={"tag": "hero"})
    same = candidate(PICTURE.image_bytes)
    object.__setattr__(same, "job", hero)

    assert await judge(PICTURE) == Verdict.accept()
    assert (await judge(same)).reason == "too plain (3 of 9)"


async def test_a_score_is_the_weighted_mean_and_verdicts_count_one_or_nothing() -> None:
    # (3 x 0.5 + 1 x 1 + 1 x 0) / 5 = 0.5
    parts = [(Says("sharp", Verdict.reject("dull", score=0.5)), 3), (YES, 1), (NO, 1)]

    assert await Score(parts, threshold=0.5)(PICTURE) == Verdict.accept(score=0.5)
    rejected = await Score(parts, threshold=0.51)(PICTURE)
    assert rejected.score == 0.5
    assert rejected.reason == "score too low (0.5, at least 0.51: sharp 0.5, yes 1, no 0)"


async def test_a_score_takes_a_mapping_too() -> None:
    weights: dict[AnyFilter, float] = {MinBytes(0): 1, MinSize(width_px=9999): 3}

    assert await Score(weights, threshold=0.25)(PICTURE) == Verdict.accept(score=0.25)


async def test_combinations_nest_and_their_parts_may_be_async() -> None:
    judge = AllOf(AnyOf(NO, says_yes_later), Not(AllOf(YES, NO)))

    assert (await judge(PICTURE)).accepted
    assert name_of(judge) == "all_of(any_of(no, says_yes_later), not(all_of(yes, no)))"


async def test_the_price_adds_up_over_parts_that_were_asked() -> None:
    def paid(name: str, *, accepted: bool) -> Says:
        verdict = Verdict(accepted=accepted, reason="no", usd=Decimal("0.02"))
        return Says(name, verdict, worst_case_usd=Decimal("0.05"))

    judge = AllOf(paid("a", accepted=True), AnyOf(paid("b", accepted=False), YES), NO)

    assert worst_case_usd(judge) == Decimal("0.10")
    assert (await judge(PICTURE)).usd == Decimal("0.04")


def test_a_combination_remembers_if_a_part_of_it_does() -> None:
    assert remembers(OnlyFor("hero", AnyOf(YES, NearDuplicate())))
    assert not remembers(AllOf(YES, Not(NO)))


def test_a_fingerprint_tells_the_parts_and_their_parameters() -> None:
    def judge(least: int, tag: str) -> AnyFilter:
        return AllOf(OnlyFor(tag, MinBytes(least)), Score([(MinSize(), 2)], threshold=0.5))

    assert fingerprint(judge(5, "a")) == (
        "all_of(only_for a(min_bytes), score(min_size))(filters=["
        "only_for a(min_bytes)(tag='a', filter=min_bytes(min_bytes=5)), "
        "score(min_size)(filters=[min_size(width_px=512, height_px=512)], weights=[2.0], "
        "threshold=0.5)])"
    )
    assert fingerprint(judge(5, "a")) != fingerprint(judge(6, "a"))
    assert fingerprint(judge(5, "a")) != fingerprint(judge(5, "b"))


def test_a_combination_travels_by_pickle() -> None:
    judge = AllOf(AnyOf(MinBytes(5), MinSize()), Not(MinBytes(9), reason="large"))

    assert pickle.loads(pickle.dumps(judge)) == judge  # noqa: S301 - our own bytes


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (AllOf, "AllOf needs at least one filter"),
        (AnyOf, "AnyOf needs at least one filter"),
        (lambda: Score([], threshold=1), "Score needs at least one filter"),
        (lambda: AllOf(A_CLASS), "MinBytes is a class"),
        (lambda: Not(A_NUMBER), "takes a candidate; got int"),
        (lambda: Score([(YES, 0)], threshold=1), "the weight of yes must be a finite number"),
        (lambda: Score([(YES, float("nan"))], threshold=1), "the weight of yes must be"),
        (lambda: Score([(YES, 1)], threshold=float("inf")), "threshold must be a finite number"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        make()
