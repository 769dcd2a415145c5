"""On any ledger the formula is spend over accepted, exactly: not an estimate, an identity.

The oracle is the story a ledger was written from. It counts slots, calls and nano-dollars there,
in plain integers, and never reads a ledger line.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from nanobatch.cost import CostModel, LedgerLine, LedgerTotals, LineKind, Outcome, Stage
from nanobatch.cost.formula import Formula
from nanobatch.models import Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

AT = datetime(2026, 11, 24, tzinfo=UTC)
NANO = Decimal("1e-9")
WORST_CASE_NANO = 122_900_000
TAGS = ("", "hands", "fox & <owl>")  # the tag of job n is TAGS[n]; two jobs share none

THOUSANDS = settings(max_examples=2000, deadline=None, database=None)
HUNDREDS = settings(max_examples=300, deadline=None, database=None)


# --- the story -------------------------------------------------------------------------------


class Fate(Enum):
    """What became of one call, in the end."""

    IMAGE = "billed, with an image"
    EMPTY = "billed, without a usable image: a safety block, text only, a broken file"
    NO_USAGE = "answered with an image, without saying what it used"
    NO_USAGE_SETTLED = "the same, its price entered by hand later"
    NO_USAGE_FREE = "the same, settled by hand as not billed: the provider took it back"
    FAULT = "429 or 5xx: not billed"
    LOST = "timeout or crash: unknown for good"
    LOST_BILLED = "timeout, settled by hand as billed later"
    LOST_FREE = "timeout, settled by hand as not billed later"


BILLED = {Fate.IMAGE, Fate.EMPTY, Fate.NO_USAGE, Fate.NO_USAGE_SETTLED, Fate.LOST_BILLED}
PRICED = {Fate.IMAGE, Fate.EMPTY, Fate.NO_USAGE_SETTLED, Fate.LOST_BILLED}
UNKNOWN = {Fate.NO_USAGE, Fate.LOST}


@dataclass(frozen=True)
class Call:
    fate: Fate
    nano: int
    """Its price if it has one, nano-dollars."""

    @property
    def is_billed(self) -> bool:
        return self.fate in BILLED

    @property
    def spend_nano(self) -> int:
        return self.nano if self.fate in PRICED else 0

    @property
    def unknown_nano(self) -> int:
        return WORST_CASE_NANO if self.fate in UNKNOWN else 0


@dataclass(frozen=True)
class Slot:
    job: int
    stage: Stage
    tier: Tier
    calls: tuple[Call, ...]
    judge_nano: tuple[int, ...]
    wish: bool
    """Whether the filters would accept it; for a draft: whether it is delivered by fallback."""

    @property
    def is_void(self) -> bool:
        return not any(call.is_billed for call in self.calls)

    @property
    def is_accepted(self) -> bool:
        return self.wish and not self.is_void


@dataclass(frozen=True)
class Story:
    slots: tuple[Slot, ...]
    wants: tuple[tuple[int, ...], ...]
    """By job: what it wanted, at first and after each change."""


# --- the oracle: integers, straight from the story -------------------------------------------


@dataclass(frozen=True)
class Truth:
    slots: int
    calls: int
    accepted: int
    spend_nano: int
    unknown_nano: int

    @property
    def usd_per_accepted(self) -> Fraction | None:
        if not self.accepted:
            return None
        return Fraction(self.spend_nano, 10**9) / self.accepted


def truth_of(slots: Iterable[Slot]) -> Truth:
    told = list(slots)
    calls = [call for slot in told for call in slot.calls]
    return Truth(
        slots=sum(not slot.is_void for slot in told),
        calls=sum(call.is_billed for call in calls),
        accepted=sum(slot.is_accepted for slot in told),
        spend_nano=sum(call.spend_nano for call in calls)
        + sum(nano for slot in told for nano in slot.judge_nano),
        unknown_nano=sum(call.unknown_nano for call in calls),
    )


# --- the ledger written from a story -----------------------------------------------------------


def lines_of_call(call: Call, line: Callable[..., LedgerLine]) -> list[LedgerLine]:
    """Return what a ledger says of one call: its outcome, then its settlement by hand if any."""
    price = call.nano * NANO
    worst = WORST_CASE_NANO * NANO
    match call.fate:
        case Fate.IMAGE | Fate.EMPTY:
            return [line(outcome=Outcome.BILLED, usd=price)]
        case Fate.FAULT:
            return [line(outcome=Outcome.UNBILLED)]
        case Fate.NO_USAGE:
            return [line(outcome=Outcome.BILLED, unknown_usd=worst)]
        case Fate.NO_USAGE_SETTLED:
            return [
                line(outcome=Outcome.BILLED, unknown_usd=worst),
                line(outcome=Outcome.BILLED, usd=price, unknown_usd=-worst),
            ]
        case Fate.NO_USAGE_FREE:
            return [
                line(outcome=Outcome.BILLED, unknown_usd=worst),
                line(outcome=Outcome.UNBILLED, unknown_usd=-worst),
            ]
        case Fate.LOST:
            return [line(outcome=Outcome.UNKNOWN, unknown_usd=worst)]
        case Fate.LOST_BILLED:
            return [
                line(outcome=Outcome.UNKNOWN, unknown_usd=worst),
                line(outcome=Outcome.BILLED, usd=price, unknown_usd=-worst),
            ]
        case Fate.LOST_FREE:
            return [
                line(outcome=Outcome.UNKNOWN, unknown_usd=worst),
                line(outcome=Outcome.UNBILLED, unknown_usd=-worst),
            ]


def threads_of(story: Story) -> list[list[LedgerLine]]:
    """Return the ledger as threads: order matters inside a thread, and only there."""
    threads: list[list[LedgerLine]] = []
    for job, wants in enumerate(story.wants):
        before = (0, *wants)
        threads.extend(
            [
                LedgerLine(
                    number=0, at=AT, kind=LineKind.WANT, job_id=str(job), tag=TAGS[job], want=change
                )
            ]
            for change in (now - then for then, now in zip(before, wants, strict=False))
        )
    call_number = 0
    for slot_number, slot in enumerate(story.slots):

        def line(
            kind: LineKind = LineKind.CALL,
            *,
            slot: Slot = slot,
            slot_number: int = slot_number,
            call: int | None = None,
            outcome: Outcome | None = None,
            usd: Decimal = Decimal(0),
            unknown_usd: Decimal = Decimal(0),
        ) -> LedgerLine:
            return LedgerLine(
                number=0,
                at=AT,
                kind=kind,
                job_id=str(slot.job),
                tag=TAGS[slot.job],
                slot=slot_number,
                stage=slot.stage,
                tier=slot.tier,
                call=call,
                outcome=outcome,
                usd=usd,
                unknown_usd=unknown_usd,
            )

        for call in slot.calls:
            call_number += 1
            threads.append(lines_of_call(call, partial(line, call=call_number)))
        threads.extend([line(LineKind.JUDGE, usd=nano * NANO)] for nano in slot.judge_nano)
        if slot.is_accepted:
            threads.append([line(LineKind.ACCEPTED)])
    return threads


def woven(threads: list[list[LedgerLine]], random: Random) -> list[LedgerLine]:
    """Return the lines of all threads in a random order that keeps the order of each thread."""
    turns = [number for number, thread in enumerate(threads) for _ in thread]
    random.shuffle(turns)
    rest = [iter(thread) for thread in threads]
    return [next(rest[turn]) for turn in turns]


# --- stories -----------------------------------------------------------------------------------

# Every slot is told by one seed: thousands of stories a second, and a failing one still shrinks
# to its few guilty slots.

STAGES = (
    (Stage.CANDIDATE, Tier.LITE),
    (Stage.CANDIDATE, Tier.QUALITY),
    (Stage.DRAFT, Tier.LITE),
    (Stage.FINISH, Tier.QUALITY),
)
FATES = tuple(Fate)


def told_slot(seed: int) -> Slot:
    """Return a slot with one to three calls and up to two paid judgements."""
    random = Random(seed)
    stage, tier = random.choice(STAGES)
    return Slot(
        job=random.randrange(len(TAGS)),
        stage=stage,
        tier=tier,
        calls=tuple(
            Call(random.choice(FATES), random.randrange(500_000_000))
            for _ in range(random.randint(1, 3))
        ),
        judge_nano=tuple(random.randrange(5_000_000) for _ in range(random.randint(0, 2))),
        wish=random.random() < 0.6,  # more than half, so that surplus occurs
    )


seeds = st.integers(min_value=0, max_value=2**32)
wants = st.lists(st.integers(min_value=0, max_value=4), max_size=3).map(tuple)
stories = st.builds(
    Story,
    slots=st.lists(seeds.map(told_slot), max_size=10).map(tuple),
    wants=st.tuples(*[wants] * len(TAGS)),
)
randoms = seeds.map(Random)


# --- the laws ----------------------------------------------------------------------------------


def assert_identity(lines: Iterable[LedgerLine], truth: Truth) -> None:
    """Assert that the lines add up to the truth and that the formula is spend over accepted."""
    totals = LedgerTotals.of(lines)
    formula = Formula.of(totals)
    model = CostModel.from_totals(totals)

    assert (totals.slots, totals.calls, totals.accepted) == (
        truth.slots,
        truth.calls,
        truth.accepted,
    )
    assert totals.spend_usd == truth.spend_nano * NANO
    assert totals.unknown_usd == truth.unknown_nano * NANO
    assert formula.usd_per_accepted == truth.usd_per_accepted
    if truth.slots:
        assert formula.regeneration_rate == Fraction(truth.calls, truth.slots) - 1
        assert formula.regeneration_rate >= 0
        assert formula.accept_rate == Fraction(truth.accepted, truth.slots)
        assert formula.usd_per_slot == Fraction(truth.spend_nano, 10**9) / truth.slots
    if truth.accepted:
        assert model.usd_per_accepted == truth.spend_nano * NANO / truth.accepted
        assert model.total_usd(truth.accepted) == truth.spend_nano * NANO
    else:
        assert model.usd_per_accepted is None


@THOUSANDS
@given(story=stories, random=randoms)
def test_cost_per_accepted_is_spend_over_accepted_on_any_ledger(
    story: Story, random: Random
) -> None:
    lines = woven(threads_of(story), random)

    assert_identity(lines, truth_of(story.slots))
    for tier in Tier:
        assert_identity(
            (line for line in lines if line.tier == tier),
            truth_of(slot for slot in story.slots if slot.tier is tier),
        )
    for job, tag in enumerate(TAGS):
        assert_identity(
            (line for line in lines if line.tag == tag),
            truth_of(slot for slot in story.slots if slot.job == job),
        )


@HUNDREDS
@given(story=stories, random=randoms)
def test_the_fill_rate_is_what_each_job_got_of_what_it_wants_now(
    story: Story, random: Random
) -> None:
    wanted = delivered = 0
    for job, wants in enumerate(story.wants):
        now = wants[-1] if wants else 0
        wanted += now
        delivered += min(now, sum(slot.is_accepted for slot in story.slots if slot.job == job))

    model = CostModel.from_ledger(woven(threads_of(story), random))

    assert (model.delivered, model.wanted) == (delivered, wanted)
    assert model.fill_rate == (delivered / wanted if wanted else 1.0)


@HUNDREDS
@given(story=stories, random=randoms)
def test_the_order_of_unrelated_lines_changes_no_figure(story: Story, random: Random) -> None:
    threads = threads_of(story)

    in_order = CostModel.from_ledger(line for thread in threads for line in thread)
    shuffled = CostModel.from_ledger(woven(threads, random))

    assert shuffled == in_order


@HUNDREDS
@given(story=stories)
def test_the_cost_of_a_mix_is_its_parts_weighted_by_what_they_accepted(story: Story) -> None:
    lines = [line for thread in threads_of(story) for line in thread]
    whole = LedgerTotals.of(lines)
    parts = [LedgerTotals.of(line for line in lines if line.tier == tier) for tier in Tier]

    # C = sum over tiers of (A_t / A) C_t + (spend of tiers that accepted nothing) / A
    weighted = sum(
        part.accepted * (Formula.of(part).usd_per_accepted or 0)
        if part.accepted
        else Fraction(part.spend_usd)
        for part in parts
    )
    cost = Formula.of(whole).usd_per_accepted
    assert cost == (Fraction(weighted) / whole.accepted if whole.accepted else None)
