"""What cannot be judged again keeps its verdict, is counted, and the answer says how much it is."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from decimal import Decimal
from threading import Event
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import anyio
import pytest

from nanobatch import (
    BrokenImageError,
    Candidate,
    CheckpointError,
    ConfigError,
    FilterError,
    Job,
    Route,
    UnknownModelError,
    Verdict,
    filters,
)
from nanobatch.models import ModelRegistry
from nanobatch.pipeline.panel import FILTER_THREADS
from nanobatch.report import Unjudged, replay
from nanobatch.simulator import answers
from tests.report.batches import AtLeast, OnePerPrompt, batch, contents, grades, is_clean
from tests.support import states

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


@pytest.mark.parametrize("keep_rejected", ["thumbnail", "none"])
async def test_rejected_images_that_were_not_kept_are_counted_and_bound_the_answer(
    tmp_path: Path, keep_rejected: str
) -> None:
    await grades(tmp_path, keep_rejected=keep_rejected)  # grades 0 to 4 are rejected and gone

    outcome = await replay(tmp_path, filters=[AtLeast(3)])

    assert outcome.unjudged == {Unjudged.NOT_KEPT: 5}
    assert (outcome.whole.judged, outcome.whole.unjudged) == (5, 5)
    assert (outcome.fewest.accepted, outcome.after.accepted, outcome.most.accepted) == (5, 5, 10)
    assert outcome.rejections_after == {"at_least": 5}
    assert not outcome.whole.is_exact
    assert "Not judged, so the verdict stays: 5 (not kept 5)." in str(outcome)
    assert "If all of them failed, 5 would be accepted; if all passed, 10." in str(outcome)
    assert "keep_rejected='all'" in str(outcome)


async def test_a_stricter_threshold_is_exact_for_what_was_kept(tmp_path: Path) -> None:
    await grades(tmp_path, keep_rejected="thumbnail")

    outcome = await replay(tmp_path, filters=[AtLeast(8)])

    assert outcome.after.accepted == outcome.fewest.accepted == 2
    assert outcome.most.accepted == 7  # nobody can say that a rejected image would stay rejected


async def test_a_missing_or_changed_file_keeps_its_verdict(tmp_path: Path) -> None:
    await grades(tmp_path)
    (tmp_path / "images" / "g5-1.png").unlink()
    with (tmp_path / "images" / "g6-1.png").open("ab") as file:
        file.write(b"!")
    rejected = sorted((tmp_path / "rejected").iterdir())
    rejected[0].unlink()
    rejected[0].mkdir()
    before = contents(tmp_path)

    outcome = await replay(tmp_path, filters=[AtLeast(7)])

    assert outcome.unjudged == {Unjudged.MISSING: 2, Unjudged.CHANGED: 1}
    assert [one.job_id for one in outcome.candidates if one.unjudged] == ["g0", "g5", "g6"]
    assert outcome.newly_rejected == ()
    assert outcome.after.accepted == 5  # 7, 8 and 9, and the two that keep their verdict
    assert (outcome.fewest.accepted, outcome.most.accepted) == (3, 6)
    assert contents(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_that_may_not_be_read_keeps_its_verdict(tmp_path: Path) -> None:
    await grades(tmp_path)
    (tmp_path / "images" / "g5-1.png").chmod(0)

    outcome = await replay(tmp_path, filters=[AtLeast(7)])

    assert outcome.unjudged == {Unjudged.UNREADABLE: 1}


async def test_a_broken_file_is_broken_whatever_the_filters(tmp_path: Path) -> None:
    settings = {"answer": lambda _: answers.truncated_image()}
    job = Job(id="a", prompt="a fox", route=Route.LITE)
    await batch(tmp_path, [job], filters=[], settings=settings)
    assert states(tmp_path) == {"broken": 2}

    kept = await replay(tmp_path, filters=[])
    for path in (tmp_path / "rejected").iterdir():
        path.unlink()
    gone = await replay(tmp_path, filters=[])

    assert kept.rejections_before == kept.rejections_after == {"(broken)": 2}
    assert kept.after.accepted == 0
    assert gone.unjudged == {Unjudged.MISSING: 2}
    assert (gone.after.accepted, gone.most.accepted) == (0, 0)
    assert gone.whole.is_exact
    assert "Whatever they are, the outcome is the same." in str(gone)


async def test_an_image_a_filter_cannot_decode_is_broken_not_a_failure(tmp_path: Path) -> None:
    await grades(tmp_path)

    def cannot_decode(candidate: Candidate) -> bool:
        raise BrokenImageError("no pixels")

    outcome = await replay(tmp_path, filters=[cannot_decode])

    assert outcome.rejections_after == {"(broken)": 10}
    assert outcome.whole.unjudged == 0
    assert {one.reason for one in outcome.newly_rejected} == {"no pixels"}


async def test_an_image_whose_filter_raises_keeps_its_verdict(tmp_path: Path) -> None:
    await grades(tmp_path)

    def fails_on_four_and_six(candidate: Candidate) -> Verdict:
        if candidate.job.id in ("g4", "g6"):
            raise ValueError("what is this?")
        return AtLeast(8)(candidate)

    outcome = await replay(tmp_path, filters=[fails_on_four_and_six])

    assert outcome.unjudged == {Unjudged.FILTER_FAILED: 2}
    assert outcome.after.accepted == 3  # 8 and 9, and 6 as before
    assert (outcome.fewest.accepted, outcome.most.accepted) == (2, 4)
    reasons = {one.reason for one in outcome.candidates if one.unjudged}
    assert reasons == {"Filter fails_on_four_and_six raised ValueError: what is this?"}
    assert "Filter fails_on_four_and_six raised ValueError: what is this?" in str(outcome)


async def test_a_filter_that_hangs_is_given_up_at_its_deadline(tmp_path: Path) -> None:
    await grades(tmp_path)
    never = Event()

    def hangs_on_seven(candidate: Candidate) -> bool:
        if candidate.job.id == "g7":
            never.wait()
        return True

    outcome = await replay(tmp_path, filters=[hangs_on_seven], filter_timeout_seconds=0.3)
    never.set()

    assert outcome.unjudged == {Unjudged.FILTER_FAILED: 1}
    assert outcome.after.accepted == 10
    assert outcome.fewest.accepted == 9
    assert "did not answer within 0.3 s" in str(outcome)


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
async def test_ten_failures_in_a_row_end_the_replay(
    tmp_path: Path, error: type[BaseException]
) -> None:
    await grades(tmp_path)
    before = contents(tmp_path)

    def fails(candidate: Candidate) -> bool:
        raise error("no")

    with pytest.raises(FilterError, match=r"failure 10 in a row; nothing was changed") as caught:
        await replay(tmp_path, filters=[fails])

    assert caught.value.filter_name == "fails"
    assert contents(tmp_path) == before


async def test_a_filter_that_cannot_be_told_ends_the_replay(tmp_path: Path) -> None:
    await grades(tmp_path)

    class Forgetful(OnePerPrompt):
        def seen(self, image: object, memo: bytes) -> None:
            raise KeyError("nothing")

    with pytest.raises(FilterError, match=r"It was told of the image g5-1\.png"):
        await replay(tmp_path, filters=[Forgetful()])


class Paid:
    """A judge that would cost money, if it were asked."""

    name = "paid"
    worst_case_usd = Decimal("0.002")

    def __call__(self, candidate: Candidate) -> Verdict:
        raise AssertionError("it was asked")


async def test_a_paid_filter_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    await grades(tmp_path)

    with pytest.raises(ConfigError, match=r"Filter paid costs up to 0\.002 USD an image"):
        await replay(tmp_path, filters=[Paid()])
    with pytest.raises(ConfigError, match=r"Filter paid costs up to 0\.002 USD an image"):
        await replay(tmp_path, filters=[], finish_filters=[Paid()])


async def test_a_filter_that_charges_unannounced_ends_the_replay(tmp_path: Path) -> None:
    await grades(tmp_path)
    asked: list[str] = []

    def charges(candidate: Candidate) -> Verdict:
        asked.append(candidate.job.id)
        return Verdict(accepted=True, usd=Decimal("0.01"))

    with pytest.raises(ConfigError, match=r"its judgement cost 0\.01 USD: a replay is free"):
        await replay(tmp_path, filters=[charges])

    assert len(asked) < 10


@pytest.mark.parametrize("wrong", [filters.NotBlank, "not_blank"])
async def test_what_is_no_filter_is_refused(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(ConfigError):
        await replay(tmp_path, filters=[wrong])


async def test_a_deadline_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it must be above 0"):
        await replay(tmp_path, filters=[], filter_timeout_seconds=0)


async def test_a_folder_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No checkpoint in"):
        await replay(tmp_path, filters=[])

    assert contents(tmp_path) == {}


async def test_a_row_that_makes_no_sense_is_an_error_of_the_checkpoint(tmp_path: Path) -> None:
    await grades(tmp_path)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db, db:
        db.execute("UPDATE jobs SET body = '{}' WHERE id = 'g3'")

    with pytest.raises(CheckpointError, match="cannot be understood"):
        await replay(tmp_path, filters=[])


async def test_drafts_of_an_unknown_model_need_a_registry_that_knows_it(tmp_path: Path) -> None:
    job = Job(id="owl", prompt="an owl", route=Route.FINISH)
    await batch(tmp_path, [job], filters=[])

    with pytest.raises(UnknownModelError, match=r"gemini-3\.1-flash-lite-image"):
        await replay(tmp_path, filters=[], registry=ModelRegistry(models={}, roles={}))


async def test_a_cancelled_replay_waits_for_no_filter(tmp_path: Path) -> None:
    await grades(tmp_path)
    never = Event()

    def hangs(candidate: Candidate) -> bool:
        never.wait()
        return True

    began = time.monotonic()
    with anyio.move_on_after(0.5) as scope:
        await replay(tmp_path, filters=[hangs])
    never.set()

    assert scope.cancelled_caught
    assert time.monotonic() - began < 5
    assert is_clean(tmp_path)


@pytest.mark.skipif(FILTER_THREADS > 16, reason="forty images would not show a bound")
async def test_as_many_images_are_in_memory_as_there_are_threads(tmp_path: Path) -> None:
    jobs = [Job(id=f"{n}", prompt=f"a fox {n}", route=Route.LITE) for n in range(40)]
    await batch(tmp_path, jobs, filters=[])
    alive: WeakValueDictionary[int, Candidate] = WeakValueDictionary()
    most = 0

    def count(candidate: Candidate) -> bool:
        nonlocal most
        alive[candidate.slot] = candidate
        most = max(most, len(alive))
        return True

    outcome = await replay(tmp_path, filters=[count])

    assert outcome.whole.judged == 40
    assert 1 <= most <= 2 * FILTER_THREADS  # a thread that has answered lets go a little later
