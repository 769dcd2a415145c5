"""Whatever happens to a checkpoint, and in whatever order, its money and its images are right.

A history runs jobs, cancels them, kills them, changes them, changes the budget and settles doubts
by hand; after every step the checkpoint is compared with an oracle that was fed from outside.
`NANOBATCH_LAW_EXAMPLES=2000` runs more histories than the usual sixty.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import replace
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from nanobatch import (
    Budget,
    Checkpoint,
    CheckpointError,
    Ended,
    FilterError,
    Job,
    JobChangedError,
    JobStatus,
    Route,
)
from tests.laws.painter import (
    QUALITY,
    REFUSAL,
    WEATHER,
    PainterSlippedError,
    nano,
)
from tests.laws.world import Conditions, World, found_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanobatch import CheckpointReader, JobResult, RunResult
    from tests.laws.ledger_model import Found

EXAMPLES = int(os.environ.get("NANOBATCH_LAW_EXAMPLES", "60"))
ENOUGH = 300
"""Histories in which everything that can happen does."""
NANO = Decimal("1e-9")
DEAREST = nano(QUALITY.id, prompt=4000, text=2048, image=2000)
"""Above every worst case of these histories."""

ids = st.sampled_from(["fox", "FOX", "föx/1", "owl"])  # two share a file name on some disks
wants = st.integers(1, 4)
choices = st.integers(0, 3)
tags = st.sampled_from(["", "hero"])
routes = st.sampled_from([None, *Route])
rooms = st.sampled_from([None, 0, 1, 200, 600, 2000])
seeds = st.integers(0, 2**16)
conditions = st.builds(
    Conditions,
    weather=st.sampled_from(list(WEATHER)),
    seed=seeds,
    concurrency=st.integers(1, 4),
    tired=st.sampled_from([0.0, 0.0, 0.3, 1.0]),
    keep_rejected=st.sampled_from(["none", "all", "thumbnail"]),
    finish_fallback=st.booleans(),
    is_stream=st.booleans(),
)

KINDS = (
    "killed",
    "cancelled",
    "settled by hand",
    "job changed",
    "refused",
    "complete twice",
    "ended complete",
    "ended budget",
)
happened = Counter[str]()
"""How often each kind of thing did happen: a law that was never put to the test proves nothing."""


class AnyHistory(RuleBasedStateMachine):
    """One checkpoint and what happens to it."""

    HAS_THREADS = False

    def __init__(self) -> None:
        super().__init__()
        self.world = World(has_threads=self.HAS_THREADS)
        self.model = self.world.model
        self.versions = Counter[str]()
        self.removed: dict[str, Job] = {}
        self.delivered: list[str] = []
        self.was_killed = False
        """Whether nobody has opened it since it was killed."""
        self.has_news = False

    @initialize(
        judge=st.sampled_from([Decimal(0), Decimal("0.02")]),
        room=rooms,
        first=st.lists(st.tuples(ids, wants, st.integers(1, 2), routes), min_size=1, max_size=3),
    )
    def begin(
        self, judge: Decimal, room: int | None, first: list[tuple[str, int, int, Route | None]]
    ) -> None:
        self.world.judge_usd = judge
        self.set_budget(room)
        for job_id, want, best_of, route in first:
            self.add(job_id=job_id, want=want, best_of=best_of, route=route)

    # --- the input ---------------------------------------------------------------------------

    @rule(job_id=ids, want=wants, best_of=st.integers(1, 2), route=routes)
    def add(self, job_id: str, want: int, best_of: int, route: Route | None) -> None:
        job = self.world.jobs.get(job_id) or self.removed.pop(job_id, None)
        if job is None:
            job = Job(id=job_id, prompt=f"{job_id} #0", want=want, best_of=best_of, route=route)
        self.world.jobs[job_id] = job

    @precondition(lambda self: self.world.jobs)
    @rule(which=choices)
    def remove(self, which: int) -> None:
        job = self._pick(which)
        self.removed[job.id] = self.world.jobs.pop(job.id)

    @precondition(lambda self: self.world.jobs)
    @rule(which=choices, want=wants)
    def change_want(self, which: int, want: int) -> None:
        self._change(self._pick(which), want=want)

    @precondition(lambda self: self.world.jobs)
    @rule(which=choices, tag=tags, route=routes, best_of=st.integers(1, 2))
    def change_plan(self, which: int, tag: str, route: Route | None, best_of: int) -> None:
        self._change(self._pick(which), tag=tag, route=route, best_of=best_of)

    @precondition(lambda self: self.world.jobs)
    @rule(which=choices, run=conditions)
    def change_prompt(self, which: int, run: Conditions) -> None:
        """Give a job another prompt: refused by the run if images of the old one are accepted."""
        old = self._pick(which)
        self.versions[old.id] += 1
        self._change(old, prompt=f"{old.id} #{self.versions[old.id]}")
        if not self.model.accepted()[old.id]:
            return
        with pytest.raises(JobChangedError, match=repr(old.id)):
            self.world.run(replace(run, is_stream=False))  # it is read before the run can end
        self.was_killed, self.has_news = False, True
        assert not any(entry.get("job") == old.id for entry in self.world.news)
        self.world.jobs[old.id] = old
        happened["job changed"] += 1

    def _pick(self, which: int) -> Job:
        return list(self.world.jobs.values())[which % len(self.world.jobs)]

    def _change(self, job: Job, **fields: Any) -> None:
        self.world.jobs[job.id] = job.model_copy(update=fields)

    # --- the money ---------------------------------------------------------------------------

    @rule(room=rooms)
    def change_budget(self, room: int | None) -> None:
        self.set_budget(room)

    def set_budget(self, room: int | None) -> None:
        """Leave room for so many thousandths of a dollar above what is booked; lower it on 1."""
        booked = self.model.confirmed + self.model.unknown
        if room is None:
            self.world.budget = Budget.unlimited()
        elif room == 1:
            self.world.budget = Budget(booked // 2 * NANO)
        else:
            self.world.budget = Budget((booked + room * 10**6) * NANO)

    @rule(which=st.integers(0, 9))
    def settle_by_hand(self, which: int) -> None:
        doubtful = self.world.doubtful_calls() if self.model.unknown else []
        if doubtful:
            call, on_the_bill, unknown, is_answered = doubtful[which % len(doubtful)]
            charged = self.model.settle(on_the_bill, unknown=unknown, is_answered=is_answered)
            anyio.run(self.world.settle, call, charged * NANO)
            self.was_killed, self.has_news = False, True
            happened["settled by hand"] += 1

    # --- the runs ----------------------------------------------------------------------------

    @rule(run=conditions, again=st.booleans())
    def run(self, run: Conditions, again: bool) -> None:
        result = self._run(run)
        if result is not None and result.ended is Ended.COMPLETE and again:
            self._run_once_more(run, result)

    @rule(run=conditions, events=st.integers(1, 40))
    def run_and_cancel(self, run: Conditions, events: int) -> None:
        if self._run(run, cancel_after=events) is None:
            happened["cancelled"] += 1

    @rule(run=conditions, step=st.integers(1, 60))
    def run_and_die(self, run: Conditions, step: int) -> None:
        before = self._booked()
        self.was_killed = self.world.run_and_die(run, step=step)
        self.has_news = True
        happened["killed"] += self.was_killed
        self._check_cap(before)

    def _run(self, run: Conditions, *, cancel_after: int | None = None) -> RunResult | None:
        before = self._booked()
        result: RunResult | None = None
        slipped = self.was_killed = False
        self.has_news = True
        try:
            result = self.world.run(run, cancel_after=cancel_after)
        except PainterSlippedError:
            slipped = True
        except FilterError:
            assert run.tired
            happened["filter failed"] += 1
        assert slipped == any(entry.get("fate") == "slip" for entry in self.world.news) or (
            result is None
        )
        self._check_cap(before)
        if result is not None:
            self._check_result(result)
        return result

    def _run_once_more(self, run: Conditions, first: RunResult) -> None:
        """Run again what is complete: only a job that the provider failed may cost anything."""
        settled = (JobStatus.DONE, JobStatus.STOPPED)
        closed = {job.id for job in first.jobs.values() if job.status in settled}

        self._run(run)

        assert not [e for e in self.world.news if e["kind"] == "call" and e["job"] in closed]
        happened["complete twice"] += 1

    def _booked(self) -> int:
        return self.model.confirmed + self.model.unknown

    def _check_cap(self, before: int) -> None:
        cap = self.world.budget.nano_usd
        assert cap is None or self._booked() <= max(before, cap)

    def _check_result(self, result: RunResult) -> None:
        happened[f"ended {result.ended}"] += 1
        accepted = self.model.accepted()
        read = {entry["job"]: entry["want"] for entry in self.world.news if "want" in entry}
        assert result.jobs.keys() == read.keys()
        assert result.wanted == sum(read.values())
        assert result.delivered == sum(min(accepted[job], want) for job, want in read.items())
        for job in result.jobs.values():
            is_done = accepted[job.id] >= job.want
            assert (job.status is JobStatus.DONE) == is_done
            assert job.reason or is_done
            self._remember_refusal(job)
        if result.ended is Ended.COMPLETE:
            assert result.all_read
            assert read == {job.id: job.want for job in self.world.jobs.values()}
        if result.ended is Ended.BUDGET:
            cap = self.world.budget.nano_usd
            assert cap is not None
            assert self._booked() + DEAREST > cap

    def _remember_refusal(self, job: JobResult) -> None:
        """Nobody asks again for what was refused, whatever happens, until its prompt changes."""
        is_bad = job.status is JobStatus.FAILED and job.reason == REFUSAL
        prompt = self.world.jobs[job.id].prompt
        if job.status is JobStatus.REFUSED or is_bad:
            self.world.refused.add(prompt)
            happened["refused"] += 1
        else:
            self.world.refused.discard(prompt)

    # --- what holds after every step ---------------------------------------------------------

    @invariant()
    def money_and_images_are_right(self) -> None:
        if not self.has_news:
            return
        self.has_news = False
        try:
            reader = Checkpoint.read(self.world.root)
        except CheckpointError:
            assert not self.model.calls, "what was paid for is gone"
            return
        with reader as checkpoint:
            self._check_books(found_in(checkpoint))
            self._check_cost(checkpoint)
            if not self.was_killed:  # until it is opened again it may be untidy
                self._check_files(checkpoint)

    def _check_books(self, found: Found) -> None:
        model = self.model
        assert (found.confirmed, found.unknown) == (model.confirmed, model.unknown)
        model.count(found.billed, is_recovered=not self.was_killed)
        assert found.images == model.images
        assert list(found.images)[: len(self.delivered)] == self.delivered, "they only grow"
        self.delivered = list(found.images)
        assert found.wants == model.wants
        assert model.confirmed <= model.charged <= model.confirmed + model.unknown
        assert model.cap is None or model.confirmed + model.unknown <= model.cap
        assert all(count <= model.most_wanted[job] for job, count in model.accepted().items())

    def _check_cost(self, checkpoint: CheckpointReader) -> None:
        cost = checkpoint.cost_model()
        accepted = len(self.model.images)
        assert (cost.accepted, cost.wanted) == (accepted, sum(self.model.wants.values()))
        if accepted:
            exact = Context(prec=28).divide(self.model.confirmed * NANO, Decimal(accepted))
            assert cost.usd_per_accepted == exact

    def _check_files(self, checkpoint: CheckpointReader) -> None:
        """Every image lies where its row says; whoever finds one astray has judged it bad."""
        report = checkpoint.verify()
        assert report.is_clean, report
        assert report.images == len(self.model.images)
        names = {image.path.name for image in checkpoint.images()}
        assert {path.name for path in (checkpoint.root / "images").iterdir()} == names
        bad = {c.sha256 for c in checkpoint.candidates() if c.state in ("rejected", "broken")}
        for path in (checkpoint.root / "lost+found").glob("*"):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert digest not in self.model.drawn.keys() - bad, "it was paid for"

    def teardown(self) -> None:
        self.world.close()


class AnyHistoryOnThreads(AnyHistory):
    """The same with real worker threads, whose order nobody decides."""

    HAS_THREADS = True


@pytest.mark.timeout(0)  # the long version takes a while, and so does making a failure small
@pytest.mark.parametrize(
    ("history", "examples"), [(AnyHistory, EXAMPLES), (AnyHistoryOnThreads, EXAMPLES // 8)]
)
def test_whatever_happens_to_a_checkpoint_its_money_and_its_images_are_right(
    history: type[AnyHistory], examples: int
) -> None:
    happened.clear()

    run_state_machine_as_test(
        history,
        settings=settings(
            max_examples=examples,
            stateful_step_count=12,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )

    if examples >= ENOUGH:
        assert not [kind for kind in KINDS if not happened[kind]], happened


def test_a_history_has_what_can_go_wrong() -> None:
    happened.clear()
    history = AnyHistory()
    fine, storm = Conditions(), Conditions(weather="storm", seed=1)
    hostile = Conditions(weather="hostile", seed=3)

    history.begin(judge=Decimal("0.02"), room=0, first=[("fox", 2, 2, Route.FINISH)])
    steps: list[Callable[[], object]] = [
        lambda: history.run(fine, again=False),
        lambda: history.change_budget(None),
        lambda: history.run_and_die(fine, step=30),
        lambda: history.run_and_cancel(fine, events=3),
        lambda: history.run(fine, again=True),
        lambda: history.change_prompt(0, fine),
        lambda: history.add("owl", want=4, best_of=1, route=Route.LITE),
        lambda: history.run(storm, again=False),
        lambda: history.settle_by_hand(0),
        lambda: history.add("FOX", want=4, best_of=1, route=Route.LITE),
        lambda: history.run(hostile, again=False),
    ]
    for step in steps:
        step()
        history.money_and_images_are_right()
    history.teardown()

    assert not [kind for kind in KINDS if not happened[kind]], happened
