"""A finished batch under another threshold: what changes sides, and what an image then costs."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from nanobatch import Checkpoint, ConfigError, Job, Route, Tier, filters
from nanobatch.checkpoint import CandidateState
from nanobatch.report import replay, replay_sync
from tests.report.batches import AtLeast, batch, contents, grades, is_clean, slots

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_looser_threshold_accepts_two_more_of_ten_for_the_same_money(
    tmp_path: Path,
) -> None:
    server = await grades(tmp_path)  # grades 5 to 9 pass

    outcome = await replay(tmp_path, filters=[AtLeast(3)])

    assert (outcome.before.slots, outcome.before.accepted) == (10, 5)
    assert (outcome.after.slots, outcome.after.accepted) == (10, 7)
    assert outcome.before.accept_rate == Decimal("0.5")
    assert outcome.after.accept_rate == Decimal("0.7")
    assert outcome.after.spend_usd == server.bill.usd
    assert outcome.before.usd_per_accepted == server.bill.usd / 5
    assert outcome.after.usd_per_accepted == pytest.approx(server.bill.usd / 7)
    assert [one.job_id for one in outcome.newly_passing] == ["g3", "g4"]
    assert outcome.newly_rejected == ()
    assert outcome.rejections_before == {"at_least": 5}
    assert outcome.rejections_after == {"at_least": 3}
    assert (outcome.after.wanted, outcome.after.delivered) == (10, 7)


async def test_a_stricter_threshold_rejects_three_that_had_passed(tmp_path: Path) -> None:
    await grades(tmp_path)

    outcome = await replay(tmp_path, filters=[AtLeast(8)])

    assert outcome.after.accepted == 2
    assert outcome.after.fill_rate == 0.2
    assert [one.job_id for one in outcome.newly_rejected] == ["g5", "g6", "g7"]
    rejected = outcome.newly_rejected[0]
    assert (rejected.passed_before, rejected.passes_after) == (True, False)
    assert (rejected.filter_before, rejected.filter_after) == ("", "at_least")
    assert rejected.reason == "grade 5"


async def test_the_same_filters_change_nothing(tmp_path: Path) -> None:
    await grades(tmp_path)
    with Checkpoint.read(tmp_path) as checkpoint:
        measured = checkpoint.cost_model()
        of_odd = checkpoint.cost_model(tag="odd")
        of_lite = checkpoint.cost_model(tier="lite")

        outcome = await replay(checkpoint, filters=[AtLeast(5)])

    assert outcome.before == outcome.after == measured
    assert outcome.by_tag["odd"].before == outcome.by_tag["odd"].after == of_odd
    assert outcome.by_tier[Tier.LITE].before == outcome.by_tier[Tier.LITE].after == of_lite
    assert outcome.newly_passing == outcome.newly_rejected == ()
    assert outcome.rejections_before == outcome.rejections_after == {"at_least": 5}
    assert outcome.whole.is_exact
    assert (outcome.whole.judged, outcome.whole.unjudged) == (10, 0)


async def test_tags_have_figures_of_their_own(tmp_path: Path) -> None:
    await grades(tmp_path)

    outcome = await replay(tmp_path, filters=[AtLeast(2)])

    even, odd = outcome.by_tag["even"], outcome.by_tag["odd"]
    assert (even.before.accepted, even.after.accepted) == (2, 4)  # 6, 8; then 2 and 4 as well
    assert (odd.before.accepted, odd.after.accepted) == (3, 4)  # 5, 7, 9; then 3 as well
    assert (even.newly_passing, odd.newly_passing) == (2, 1)
    assert (even.after.wanted, even.after.delivered) == (5, 4)
    assert even.after.spend_usd is not None
    assert odd.after.spend_usd is not None
    assert even.after.spend_usd + odd.after.spend_usd == outcome.after.spend_usd


async def test_file_sizes_decide_as_the_files_themselves_say(tmp_path: Path) -> None:
    jobs = [Job(id=f"{n}", prompt=f"a fox {n}", route=Route.LITE) for n in range(10)]
    await batch(tmp_path, jobs, filters=[filters.MinBytes(0)])
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "images").iterdir()}
    threshold = sorted(sizes.values())[4] + 1
    too_small = {name for name, size in sizes.items() if size < threshold}

    outcome = await replay(tmp_path, filters=[filters.MinBytes(threshold)])

    assert len(sizes) == 10
    assert 5 <= len(too_small) < 10
    assert {one.path.name for one in outcome.newly_rejected if one.path} == too_small
    assert outcome.after.accepted == 10 - len(too_small)
    assert outcome.rejections_after == {"min_bytes": len(too_small)}


async def test_surplus_images_are_yield_and_never_delivered(tmp_path: Path) -> None:
    job = Job(id="a", prompt="a fox", want=2, route=Route.LITE)
    server = await batch(tmp_path, [job], stop=None, filters=[slots(3, 6)])

    outcome = await replay(tmp_path, filters=[])

    assert (outcome.before.slots, outcome.before.accepted) == (6, 2)
    assert outcome.after.accepted == 6
    assert outcome.after.delivered == 2
    assert outcome.after.fill_rate == 1.0
    assert outcome.after.usd_per_accepted == server.bill.usd / 6
    assert "Accepted beyond what their jobs want: 4." in str(outcome)


async def test_cost_times_accepted_is_the_spend_exactly(tmp_path: Path) -> None:
    await grades(tmp_path)

    for threshold, accepted in ((0, 10), (3, 7), (9, 1)):
        outcome = await replay(tmp_path, filters=[AtLeast(threshold)])

        for model in (outcome.after, outcome.fewest, outcome.most):
            assert model.accepted == accepted
            assert model.spend_usd == outcome.before.spend_usd
            assert model.total_usd(accepted) == model.spend_usd


async def test_nothing_accepted_has_no_cost_per_image(tmp_path: Path) -> None:
    await grades(tmp_path)

    outcome = await replay(tmp_path, filters=[AtLeast(10)])

    assert outcome.after.accepted == 0
    assert outcome.after.usd_per_accepted is None


async def test_the_checkpoint_is_exactly_as_before(tmp_path: Path) -> None:
    await grades(tmp_path)
    before = contents(tmp_path)

    await replay(tmp_path, filters=[AtLeast(3)])

    assert contents(tmp_path) == before
    assert is_clean(tmp_path)


async def test_an_open_checkpoint_can_be_replayed_and_stays_open(tmp_path: Path) -> None:
    await grades(tmp_path)

    async with Checkpoint.open(tmp_path) as checkpoint:
        outcome = await replay(checkpoint, filters=[AtLeast(3)])

        assert outcome.after.accepted == 7
        assert len(list(checkpoint.images())) == 5


async def test_a_batch_that_paused_can_be_replayed(tmp_path: Path) -> None:
    """A filter that fails leaves its image staged: nobody judged it then, the replay does."""

    def fails_on_a_fox(candidate: object) -> bool:
        raise RuntimeError("no")

    job = Job(id="g7", prompt="a fox", route=Route.LITE, metadata={"grade": 7})
    server = await batch(tmp_path, [job], filters=[fails_on_a_fox])

    outcome = await replay(tmp_path, filters=[AtLeast(5)])

    assert (outcome.before.accepted, outcome.after.accepted) == (0, 1)
    assert outcome.after.usd_per_accepted == server.bill.usd
    (image,) = outcome.candidates
    assert (image.passed_before, image.passes_after) == (None, True)
    assert outcome.newly_passing == ()  # it changed no side, it had none


async def test_an_empty_checkpoint_replays_to_nothing(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path):
        pass

    outcome = await replay(tmp_path, filters=[AtLeast(5)])

    assert outcome.candidates == ()
    assert (outcome.after.slots, outcome.after.accepted) == (0, 0)


def test_without_an_event_loop_it_is_the_same(tmp_path: Path) -> None:
    anyio.run(grades, tmp_path)

    outcome = replay_sync(tmp_path, filters=[AtLeast(3)])

    assert outcome.after.accepted == 7


async def test_in_an_event_loop_the_sync_twin_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"replay_sync\(\) was called .* `await replay\(\.\.\.\)`"
    ):
        replay_sync(tmp_path, filters=[])


async def test_async_filters_judge_too(tmp_path: Path) -> None:
    await grades(tmp_path)

    async def at_least_three(candidate: object) -> bool:
        await anyio.lowlevel.checkpoint()
        return AtLeast(3)(candidate).accepted  # type: ignore[arg-type]  # any candidate will do

    outcome = await replay(tmp_path, filters=[at_least_three])

    assert outcome.after.accepted == 7
    assert outcome.rejections_after == {"at_least_three": 3}


async def test_a_replay_works_on_trio_as_well(tmp_path: Path) -> None:
    await grades(tmp_path)

    code = (
        "import sys, trio\n"
        "from nanobatch import filters\n"
        "from nanobatch.report import replay\n"
        "async def main():\n"
        "    print((await replay(sys.argv[1], filters=[])).after.accepted)\n"
        "trio.run(main)\n"
    )
    finished = await anyio.run_process([sys.executable, "-c", code, str(tmp_path)])

    assert finished.stdout.strip() == b"10"


RUN = """
import sys, anyio
from nanobatch import Budget, Gemini, Job, TwoTierPipeline
from nanobatch.simulator import Simulator

async def main():
    async with Simulator(pixels=0.0625, latency_seconds=0.05) as server:
        pipeline = TwoTierPipeline(
            Gemini(api_key="k", base_url=server.base_url),
            checkpoint=sys.argv[1], budget=Budget.unlimited(), concurrency=4, filters=[],
        )
        async with pipeline.stream(Job(id=f"{n}", prompt=f"fox {n}") for n in range(60)) as events:
            async for event in events:
                print(type(event).__name__, flush=True)

anyio.run(main)
"""


async def test_a_run_that_goes_on_in_another_process_does_not_disturb_a_replay(
    tmp_path: Path,
) -> None:
    """The ledger of one moment: what the run adds meanwhile is not counted by halves."""
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    outcomes = []

    async with await anyio.open_process(command) as run:
        assert run.stdout is not None
        heard = b""
        while b"ImageAccepted" not in heard:
            heard += await run.stdout.receive()
        while b"RunEnded" not in heard:
            outcomes.append(await replay(tmp_path, filters=[]))
            heard += await run.stdout.receive()
        await run.wait()

    outcomes.append(await replay(tmp_path, filters=[]))
    for outcome in outcomes:
        assert outcome.after.accepted == outcome.after.slots  # all pass, whenever they came
        assert 1 <= (outcome.before.accepted or 0) <= (outcome.after.slots or 0)
        assert outcome.whole.unjudged == 0
        states = [one.state for one in outcome.candidates]
        assert states.count(CandidateState.ACCEPTED) == outcome.before.accepted
    assert run.returncode == 0
    assert len({outcome.after.slots for outcome in outcomes}) > 2
    assert outcomes[-1].after.accepted == outcomes[-1].before.accepted == 60
    assert is_clean(tmp_path)
