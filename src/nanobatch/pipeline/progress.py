"""One job while a run works on it: what it still needs, and when it has had enough."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nanobatch.checkpoint import InHand, JobStatus, Leftover, TakenJob
from nanobatch.cost import Stage
from nanobatch.job import Route
from nanobatch.models import Tier
from nanobatch.pipeline.closing import Closing
from nanobatch.pipeline.quota import SlotQuota
from nanobatch.pipeline.steps import DrawStep, FinishStep, JudgeStep, LandStep, PickStep
from nanobatch.policy import Lesson, SlotsBill, Tally, chance_of

if TYPE_CHECKING:
    from nanobatch.job import Job
    from nanobatch.pipeline.batch.orders import JobOrders
    from nanobatch.pipeline.outcome import Arrival
    from nanobatch.pipeline.plan import Plan
    from nanobatch.pipeline.steps import Step
    from nanobatch.policy import Router, StopRule

__all__ = ["JobProgress"]

MAX_VOID_SLOTS = 3
"""Void slots in a row after which the provider has failed a job."""

MAX_UNSAFE_SLOTS = 2
"""Slots in a row that end with IMAGE_SAFETY after which a prompt counts as refused."""


@dataclass(slots=True, kw_only=True, eq=False)
class JobProgress:
    """A taken job with what is in flight; every change of it happens on the event loop.

    Counters by stage follow the checkpoint: `slots_used` slots with a billed call, `passed`
    candidates that passed. In flight is a slot from its start until its verdict is durable.
    """

    taken: TakenJob
    plan: Plan
    stop: StopRule
    router: Router
    """Chooses the tier of its candidates, and learns from them."""
    quota: SlotQuota = field(default_factory=SlotQuota)
    """How many slots all jobs of the run may still begin."""
    orders: JobOrders | None = None
    """What it orders from batch jobs; `None`: everything is drawn at once."""
    references: tuple[bytes, ...] = ()
    order: int = 0
    """Place in the input."""
    is_queued: bool = False
    """Whether the board is going to look at it anyway."""
    in_flight: Counter[Stage] = field(default_factory=Counter[Stage])
    drawing: Counter[Tier] = field(default_factory=Counter[Tier])
    """Candidates in flight by tier."""
    held: Counter[Stage] = field(default_factory=Counter[Stage])
    """Images no filter could judge: they count as needed, so nothing is bought in their place."""
    groups: list[InHand] = field(default_factory=list[InHand])
    """Passed candidates that wait for their group to be complete."""
    picks: list[InHand] = field(default_factory=list[InHand])
    """Drafts that wait for their finish."""
    leftovers: list[tuple[Leftover, ...]] = field(default_factory=list[tuple[Leftover, ...]])
    arrivals: list[Arrival] = field(default_factory=list["Arrival"])
    """What batch jobs brought and nobody has judged yet."""
    picking: int = 0
    """Images that are being accepted at this moment."""
    delivered: int = 0
    next_number: int = 1
    is_written_as_done: bool = False
    """Whether its row says so already, since its last image was accepted."""
    void_streak: int = 0
    unsafe_streak: int = 0
    closing: Closing | None = None
    held_reason: str = ""
    lacks_slots: bool = False
    """Whether it waits for a slot that the run may not begin."""
    lacks_room: bool = False
    """Whether it waits until another slot may be ordered."""
    finishes: tuple[str, int] | None = None
    """Job id and number of the accepted image that a person chose to have finished."""

    def __post_init__(self) -> None:
        """Sort what earlier runs left."""
        taken = self.taken
        self.delivered, self.next_number = taken.delivered, taken.next_number
        by_slot: dict[int, list[Leftover]] = {}
        for leftover in taken.leftovers:
            by_slot.setdefault(leftover.slot, []).append(leftover)
        self.leftovers = [tuple(images) for images in by_slot.values()]
        finishing = {images[0].parent for images in self.leftovers}
        finishing.update(one.row.parent for one in taken.awaited)
        for images in self.leftovers:
            self._take_off(images[0].stage, images[0].tier)
        for one in taken.awaited:
            self._take_off(one.row.stage, one.row.tier)
            if self.orders is not None:
                self.orders.resume(one.row.stage)
        waiting = [candidate for candidate in taken.in_hand if candidate.slot not in finishing]
        self.picks = [candidate for candidate in waiting if candidate.is_picked]
        for candidate in waiting:
            if not candidate.is_picked:
                self.keep(candidate)

    @property
    def job(self) -> Job:
        """The job as the caller wrote it."""
        return self.taken.job

    @property
    def is_finish(self) -> bool:
        """Whether its drafts are finished on the quality tier."""
        return self.plan.route(self.job) is Route.FINISH

    @property
    def has_one_finish(self) -> bool:
        """Whether a rejected finish ends it: a person chose the draft, so no other is drawn."""
        return self.finishes is not None

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it is in flight."""
        return self.in_flight.total() == 0 and self.picking == 0

    @property
    def is_done(self) -> bool:
        """Whether it has all the images it wants."""
        return self.delivered >= self.job.want

    @property
    def takes_more(self) -> bool:
        """Whether a candidate that passes now is accepted; a surplus one waits in hand."""
        return self.delivered + self.picking < self.job.want

    @property
    def is_settled(self) -> bool:
        """Whether it is known how it ends, whatever the run could still do."""
        return self.is_done or self.closing is not None

    def next_step(self, gone: frozenset[Tier]) -> Step | None:
        """Return what to do next for this job and count it as in flight; `None`: wait, or over."""
        self.lacks_room = False
        if self.arrivals:
            return LandStep(job=self, arrival=self.arrivals.pop(0))
        if self.leftovers:
            return JudgeStep(job=self, leftovers=self.leftovers.pop())
        if self.delivered + self.picking + self.in_flight[self._other_stage] >= self.job.want:
            return None
        if not self.is_finish and len(self.groups) >= self.job.best_of:
            best, unpicked = self._pop_group()  # all paid for: delivered even if the job is closing
            self.picking += 1
            return PickStep(job=self, best=best, unpicked=unpicked)
        if self.closing is not None:
            return None
        if self.is_finish:
            if self._is_at_cap(Stage.FINISH):
                return None  # a further draft could not be finished
            return self._finish_step(gone) or self._draw_step(Stage.DRAFT, gone)
        return self._draw_step(Stage.CANDIDATE, gone)

    def surplus_chance(self, gone: frozenset[Tier]) -> float:
        """Return how likely a candidate beyond what the job needs would be one too many, 0 to 1.

        It is if as many of those in flight pass as the job still needs. Their rates are the
        router's, so optimistic ones: the chance is rather too high than too low. It is 1 for a
        job that cannot have one.
        """
        stage = Stage.CANDIDATE
        missing = self._needed(stage) + self.in_flight[stage]
        if (
            self.is_finish
            or self.is_settled
            or self.void_streak
            or missing <= 0
            or self._is_at_cap(stage)
            or self.plan.next_draw(self.job, router=self.router, gone=gone) is None
        ):
            return 1.0
        rates = [
            self.router.rate(self.job.tag, tier, self.taken.tallies.get(tier))
            for tier in self.drawing.elements()
        ]
        return chance_of(missing, rates)

    def extra_step(self, gone: frozenset[Tier]) -> DrawStep | None:
        """Return a candidate beyond what the job needs and count it as in flight."""
        return self._draw(Stage.CANDIDATE, gone) if self.quota.has_room() else None

    def keep(self, candidate: InHand) -> None:
        """Put a passed candidate in hand; one of another route waits in the checkpoint only."""
        if candidate.stage is (Stage.DRAFT if self.is_finish else Stage.CANDIDATE):
            self.groups.append(candidate)

    def land(
        self,
        stage: Stage,
        tier: Tier,
        *,
        is_billed: bool,
        is_passed: bool = False,
        is_held: bool = False,
        usd_nano: int | None = None,
        teaches: bool = True,
    ) -> None:
        """Count a slot as over; one that was billed counts for the stop rule and the router.

        Args:
            stage: What it was for.
            tier: Where it was drawn.
            is_billed: Whether at least one call of it was.
            is_passed: Whether its candidate passed.
            is_held: Whether its image waits for the next run: it counts for nothing yet.
            usd_nano: What it cost, nano-dollars; `None` if that is not known at today's prices.
            teaches: Whether today's filters judged it and today's model drew it.
        """
        self.in_flight[stage] -= 1
        if stage is Stage.CANDIDATE:
            self.drawing[tier] -= 1
            if is_billed:
                self._learn(tier, is_passed=is_passed, usd_nano=usd_nano, teaches=teaches)
        if is_billed:
            self.taken.slots_used[stage] = self.taken.slots_used.get(stage, 0) + 1
            self.void_streak = 0
        elif not is_held:
            self.quota.give_back()
        if is_passed:
            self.taken.passed[stage] = self.taken.passed.get(stage, 0) + 1

    def judged_as(self, stage: Stage) -> Job:
        """Return the job as filters see it: a draft is judged by the shape that Lite can draw."""
        job = self.job
        if stage is not Stage.DRAFT:
            return job
        size, aspect_ratio = self.plan.draft_shape(job)
        return job.model_copy(update={"size": size, "aspect_ratio": aspect_ratio})

    def take_number(self) -> int:
        """Return the number of the job's next accepted image."""
        self.next_number += 1
        return self.next_number - 1

    def close(self, status: JobStatus, reason: str, *, is_final: bool = False) -> None:
        """Start nothing more for this job; it ends so once nothing of it is in flight."""
        self.closing = self.closing or Closing(status=status, reason=reason, is_final=is_final)

    def _finish_step(self, gone: frozenset[Tier]) -> FinishStep | None:
        coming = self.in_flight[Stage.FINISH] + self.held[Stage.FINISH] + self._coming_otherwise
        has_draft = self.picks or len(self.groups) >= self.job.best_of
        if Tier.QUALITY in gone or self.delivered + coming >= self.job.want or not has_draft:
            return None
        if not self._may_begin():
            return None
        order = None
        if self.orders is not None:
            if self.orders.take_part(Stage.FINISH):
                if not self._has_room(self.orders):
                    return None
                order = self.orders.begin(Stage.FINISH)
            elif not self.orders.tops_up:
                return None
        unpicked: tuple[InHand, ...] = ()
        if self.picks:
            draft = self.picks.pop(0)
        else:
            draft, unpicked = self._pop_group()
        self.in_flight[Stage.FINISH] += 1
        self.quota.take()
        draw = self.plan.finish_draw(self.job)
        return FinishStep(job=self, draw=draw, draft=draft, unpicked=unpicked, round=order)

    def _draw_step(self, stage: Stage, gone: frozenset[Tier]) -> DrawStep | None:
        if self.has_one_finish:
            return None
        if self.orders is not None:
            if self.orders.take_part(stage):
                return self._order_step(stage, gone, self.orders)
            if not self.orders.tops_up:
                return None
        if self._needed(stage) <= 0 or self._is_at_cap(stage):
            return None
        return self._draw(stage, gone) if self._may_begin() else None

    def _order_step(
        self, stage: Stage, gone: frozenset[Tier], orders: JobOrders
    ) -> DrawStep | None:
        """Return a slot of the current order; the stop rule looks when an order is placed."""
        if not orders.is_open(stage):
            needed = self._needed(stage)
            draw = self.plan.next_draw(
                self.job, router=self.router, own=self.taken.tallies, gone=gone
            )
            if needed <= 0 or draw is None or self._is_at_cap(stage):
                return None
            passed, failed = self.router.belief(
                self.job.tag, draw.tier, self.taken.tallies.get(draw.tier)
            )
            allowed = self._cap(stage) - self.taken.slots_used.get(stage, 0)
            orders.place(
                stage, needed=needed, passed=passed, failed=failed, at_most=max(needed, allowed)
            )
        if not orders.slots_to_begin(stage) or not self._has_room(orders):
            return None
        step = self._draw(stage, gone) if self._may_begin() else None
        return None if step is None else replace(step, round=orders.begin(stage))

    def _has_room(self, orders: JobOrders) -> bool:
        """Return whether another slot may be ordered."""
        self.lacks_room = not orders.room.has_room()
        return not self.lacks_room

    def _may_begin(self) -> bool:
        """Return whether the run may begin a slot that the job needs."""
        self.lacks_slots = not self.quota.has_room()
        return not self.lacks_slots

    def _draw(self, stage: Stage, gone: frozenset[Tier]) -> DrawStep | None:
        slots = self.taken.slots_used.get(stage, 0) + self.in_flight[stage]
        draw = self.plan.next_draw(
            self.job,
            router=self.router,
            own=self.taken.tallies,
            gone=gone,
            is_last=slots + 1 >= self._cap(stage),
        )
        if draw is None:
            return None
        self._take_off(stage, draw.tier)
        self.quota.take()
        return DrawStep(job=self, draw=draw)

    def _take_off(self, stage: Stage, tier: Tier) -> None:
        """Count a slot as in flight."""
        self.in_flight[stage] += 1
        if stage is Stage.CANDIDATE:
            self.drawing[tier] += 1

    def _learn(self, tier: Tier, *, is_passed: bool, usd_nano: int | None, teaches: bool) -> None:
        own = self.taken.tallies.setdefault(tier, Tally())
        own.slots += 1
        own.passed += is_passed
        if not teaches:
            return
        passed = int(is_passed)
        self.router.learn(Lesson(tag=self.job.tag, tier=tier, slots=1, passed=passed))
        if usd_nano is not None:
            listed_nano = self.plan.listed_nano(tier, self.job.size)
            self.router.learn(
                SlotsBill(tier=tier, slots=1, usd_nano=usd_nano, listed_nano=listed_nano)
            )

    @property
    def _other_stage(self) -> Stage:
        """The stage whose images another route would accept; earlier runs may have left some."""
        return Stage.CANDIDATE if self.is_finish else Stage.FINISH

    @property
    def _coming_otherwise(self) -> int:
        """How many images that the job's earlier route paid for may still be accepted."""
        return self.in_flight[self._other_stage] + self.held[self._other_stage]

    def _needed(self, stage: Stage) -> int:
        """Return how many more slots of a stage the job needs, beside those in flight."""
        open_wants = self.job.want - self.delivered - self.picking - self._coming_otherwise
        if stage is Stage.DRAFT:
            open_wants -= len(self.picks) + self.in_flight[Stage.FINISH] + self.held[Stage.FINISH]
        waiting = len(self.groups) + self.in_flight[stage] + self.held[stage]
        return open_wants * self.job.best_of - waiting

    def _is_at_cap(self, stage: Stage) -> bool:
        slots = self.taken.slots_used.get(stage, 0) + self.in_flight[stage]
        return slots >= self._cap(stage)

    def _cap(self, stage: Stage) -> int:
        wanted = self.job.want * (1 if stage is Stage.FINISH else self.job.best_of)
        return self.stop.cap(passing=self.taken.passed.get(stage, 0), wanted=wanted)

    def exhausted_stage(self) -> Stage | None:
        """Return the stage in which the stop rule allows no further slot; `None` if none."""
        stages = (Stage.FINISH, Stage.DRAFT) if self.is_finish else (Stage.CANDIDATE,)
        return next((stage for stage in stages if self._is_at_cap(stage)), None)

    def _pop_group(self) -> tuple[InHand, tuple[InHand, ...]]:
        """Take a complete group; the best score wins, no score is the lowest, ties: the first."""
        size = self.job.best_of
        group, self.groups = self.groups[:size], self.groups[size:]
        best = max(group, key=lambda one: float("-inf") if one.score is None else one.score)
        return best, tuple(one for one in group if one is not best)
