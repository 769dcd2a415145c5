"""What the router knows when a run begins, and when a job comes back under another tag."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanobatch.checkpoint import take
from nanobatch.checkpoint.judged import note_filters
from nanobatch.checkpoint.lessons import begin_era, changed_jobs, experience
from nanobatch.errors import PriceUnknownError
from nanobatch.models import Tier
from nanobatch.policy import Lesson, SlotsBill

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from nanobatch.checkpoint import CheckpointReader, JobEntry, Store, TakenJob
    from nanobatch.checkpoint.lessons import Era, Experience
    from nanobatch.pipeline.plan import Plan
    from nanobatch.policy import Router

__all__ = ["Learning", "era_of", "evidence_of", "learn_from_earlier_runs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """The router of one run, and which slots of its checkpoint say something about today."""

    router: Router
    plan: Plan
    store: Store
    era: Era

    async def take(self, entries: list[JobEntry], *, run: int) -> list[TakenJob]:
        """Write jobs down as this run's; slots of a job count under the tag it has now.

        Raises:
            NanobatchError: As `checkpoint.take`.
        """

        def change(
            db: sqlite3.Connection,
        ) -> tuple[list[Experience], list[TakenJob], list[Experience]]:
            changed = changed_jobs(db, entries)
            before = [experience(db, self.era, job=job) for job in changed]
            taken = take(db, entries, run=run)
            return before, taken, [experience(db, self.era, job=job) for job in changed]

        before, taken, after = await self.store.commit(change)
        for one in before:
            for piece in evidence_of(one, self.plan):
                self.router.unlearn(piece)
        for one in after:
            for piece in evidence_of(one, self.plan):
                self.router.learn(piece)
        return taken


async def learn_from_earlier_runs(router: Router, plan: Plan, store: Store) -> Learning:
    """Teach a router what a checkpoint's slots came to under today's filters, models and prices.

    What other filters judged or other models drew says nothing about today, and what was billed
    at other prices nothing about the money. So the same is known after a crash as before it.
    """

    def change(db: sqlite3.Connection) -> tuple[Era, Experience]:
        era = begin_era(
            db,
            filters=plan.filters_key(),
            finish_filters=plan.filters_key(of_finishes=True),
            prices=plan.prices_key(),
            model_ids=plan.model_ids,
        )
        note_filters(
            db,
            candidates=plan.filter_names(),
            finishes=plan.filter_names(of_finishes=True),
        )
        return era, experience(db, era)

    era, earlier = await store.commit(change)
    for piece in evidence_of(earlier, plan):
        router.learn(piece)
    return Learning(router=router, plan=plan, store=store, era=era)


def era_of(plan: Plan, checkpoint: CheckpointReader) -> Era:
    """Return which slots of a checkpoint would say something in a run that begins now."""
    return checkpoint.era(
        filters=plan.filters_key(),
        finish_filters=plan.filters_key(of_finishes=True),
        prices=plan.prices_key(),
        model_ids=plan.model_ids,
    )


def evidence_of(known: Experience, plan: Plan) -> Iterator[Lesson | SlotsBill]:
    """Yield what a router learns from the slots of a checkpoint, or of one job."""
    for sums in known.sums:
        yield Lesson(tag=sums.tag, tier=sums.tier, slots=sums.slots, passed=sums.passed)
    for tier in Tier:
        priced = [sums for sums in known.sums if sums.tier is tier and sums.priced_slots]
        with suppress(PriceUnknownError):  # a size that has no price any more
            listed = [sums.priced_slots * plan.listed_nano(tier, sums.size) for sums in priced]
            if priced:
                yield SlotsBill(
                    tier=tier,
                    slots=sum(sums.priced_slots for sums in priced),
                    usd_nano=known.usd_nano.get(tier, 0),
                    listed_nano=sum(listed),
                )
