"""A grid of thresholds over a finished batch: one judgement an image, and figures for each."""

from __future__ import annotations

import io
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from PIL import Image

from nanobatch import (
    Budget,
    Checkpoint,
    ConfigError,
    FilterError,
    Job,
    Route,
    TwoTierPipeline,
    Verdict,
    filters,
)
from nanobatch.report import Unjudged, replay, tune, tune_sync
from nanobatch.simulator import answers
from nanobatch.testing import ScriptedBackend
from tests.filters.files import saved
from tests.report.batches import AtLeast, OnePerPrompt, batch, contents, grades, slots

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch import Candidate


async def test_each_threshold_has_its_accept_rate_cost_and_changes(tmp_path: Path) -> None:
    server = await grades(tmp_path)  # grades 0 to 9, 5 to 9 pass

    tuning = await tune(tmp_path, AtLeast, [3, 5, 8])

    loose, same, strict = tuning.points
    assert [point.threshold for point in tuning.points] == [3, 5, 8]
    assert [point.outcome.after.accepted for point in tuning.points] == [7, 5, 2]
    assert loose.usd_per_accepted == pytest.approx(server.bill.usd / 7)
    assert same.usd_per_accepted == server.bill.usd / 5
    assert strict.usd_per_accepted == server.bill.usd / 2
    assert [one.job_id for one in loose.newly_passing] == ["g3", "g4"]
    assert loose.newly_rejected == same.newly_passing == same.newly_rejected == ()
    assert [one.job_id for one in strict.newly_rejected] == ["g5", "g6", "g7"]
    assert strict.newly_rejected[0].reason == "grade 5"
    assert strict.newly_rejected[0].filter_after == "at_least"
    assert all(point.is_exact for point in tuning.points)


async def test_the_accept_rate_has_wilsons_interval(tmp_path: Path) -> None:
    await grades(tmp_path)

    accept = (await tune(tmp_path, AtLeast, [3]))[3].accept

    # 7 of 10: centre (0.7 + z2/20) / (1 + z2/10) = 0.6445, half width 0.2477, with z2 = 3.8415.
    assert accept is not None
    assert (accept.value, accept.n) == (Decimal("0.7"), 10)
    assert (float(accept.low), float(accept.high)) == pytest.approx((0.3968, 0.8922), abs=5e-5)


async def test_it_agrees_with_a_replay_at_each_threshold(tmp_path: Path) -> None:
    await grades(tmp_path, threshold=4)
    few = slots(1, 2, 3, 4, 6, 8, 9)

    tuning = await tune(tmp_path, AtLeast, range(10), filters=[few])

    for point in tuning.points:
        alone = await replay(tmp_path, filters=[few, AtLeast(int(point.threshold))])
        assert point.outcome.candidates == alone.candidates
        assert point.outcome.whole == alone.whole
        assert point.outcome.by_tag == alone.by_tag
        assert point.outcome.rejections_after == alone.rejections_after


async def test_further_images_of_an_answer_count_only_where_those_before_are_rejected(
    tmp_path: Path,
) -> None:
    numbers: dict[str, int] = {}

    class From:
        """Accepts the images of an answer from some number on."""

        name = "from"

        def __init__(self, first: int) -> None:
            self.first = first

        def __call__(self, candidate: Candidate) -> bool:
            return numbers[candidate.sha256] >= self.first

    job = Job(id="owl", prompt="an owl", route=Route.LITE)
    three = {"answer": lambda _: answers.several_images(3), "drawings": 8}
    await batch(tmp_path, [job], filters=[], settings=three)
    with Checkpoint.read(tmp_path) as checkpoint:
        numbers |= {one.sha256: one.number for one in checkpoint.candidates()}
    assert sorted(numbers.values()) == [1, 2, 3]

    tuning = await tune(tmp_path, From, [1, 2, 3, 4])

    assert [[one.passes_after for one in point.outcome.candidates] for point in tuning.points] == [
        [True, None, None],
        [False, True, None],
        [False, False, True],
        [False, False, False],
    ]
    assert [point.outcome.after.accepted for point in tuning.points] == [1, 1, 1, 0]


async def test_each_filter_is_asked_once_an_image_and_sees_one_decoded_picture(
    tmp_path: Path,
) -> None:
    await grades(tmp_path)
    asked: Counter[tuple[str, int]] = Counter()
    pictures: dict[int, set[int]] = {}

    def counted(name: str) -> filters.AnyFilter:
        def one(candidate: Candidate) -> bool:
            asked[name, candidate.slot] += 1
            pictures.setdefault(candidate.slot, set()).add(id(candidate.image))
            return True

        return one

    await tune(tmp_path, lambda threshold: counted(str(threshold)), [1, 2], filters=[counted("f")])

    assert len(asked) == 30
    assert set(asked.values()) == {1}
    assert all(len(seen) == 1 for seen in pictures.values())


async def test_what_another_filter_rejects_is_not_shown_to_the_one_that_is_tuned(
    tmp_path: Path,
) -> None:
    await grades(tmp_path)
    seen: set[int] = set()

    def never(candidate: Candidate) -> bool:
        seen.add(candidate.slot)
        return True

    tuning = await tune(tmp_path, lambda _: never, [1], filters=[slots(2, 3)])

    assert seen == {2, 3}
    assert tuning[1].outcome.rejections_after == {"slots": 8}


async def test_finished_images_can_have_other_filters_before(tmp_path: Path) -> None:
    jobs = [Job(id="a", prompt="a fox", route=Route.FINISH, metadata={"grade": 5})]
    await batch(tmp_path, jobs, filters=[])

    both = await tune(tmp_path, AtLeast, [1, 9], finish_filters=[])
    none = await tune(tmp_path, AtLeast, [1], finish_filters=[slots()])

    assert [point.outcome.after.accepted for point in both.points] == [1, 0]
    assert none[1].outcome.after.accepted == 0


async def test_without_the_rejected_images_it_says_how_far_the_answer_goes(tmp_path: Path) -> None:
    await grades(tmp_path, keep_rejected="none")

    tuning = await tune(tmp_path, AtLeast, [3, 8])

    loose, strict = tuning.points
    assert loose.outcome.unjudged == {Unjudged.NOT_KEPT: 5}
    assert not loose.is_exact
    assert (loose.outcome.fewest.accepted, loose.outcome.most.accepted) == (5, 10)
    shown = str(tuning)
    assert "accepted, at fewest" in shown
    assert "Not judged, so the verdict stays: 5 (not kept 5)." in shown
    assert "keep_rejected='all'" in shown
    assert strict.outcome.after.accepted == 2


async def test_a_stricter_grid_on_kept_images_shows_no_limits(tmp_path: Path) -> None:
    await grades(tmp_path)

    shown = str(await tune(tmp_path, AtLeast, [3, 8]))

    lines = shown.splitlines()
    assert lines[0].split("  ")[0] == "at_least"
    assert lines[1].split()[:4] == ["3", "7", "70.0", "%"]
    assert lines[2].split()[:4] == ["8", "2", "20.0", "%"]
    assert lines[3].startswith("In the run: 5 accepted of 10 slots, 50.0 %, USD ")
    assert len(lines) == 4


async def test_a_notebook_gets_the_same_as_a_table(tmp_path: Path) -> None:
    await grades(tmp_path)

    tuning = await tune(tmp_path, AtLeast, [3])

    assert "<td" in tuning._repr_html_()
    assert "In the run: 5 accepted of 10 slots" in tuning._repr_html_()
    assert repr(tuning) == "<Tuning of at_least at 1 thresholds>"
    assert repr(tuning[3]) == "<TuningPoint 3: 7 accepted>"
    with pytest.raises(KeyError):
        tuning[4]


def _frames(sheet: Image.Image, colour: tuple[int, int, int]) -> int:
    """Count the upper left corners of frames of a colour, 2 px wide."""
    wide, high = sheet.size
    return sum(
        sheet.getpixel((x, y)) == colour
        and sheet.getpixel((x - 1, y)) != colour
        and sheet.getpixel((x, y - 1)) != colour
        and sheet.getpixel((x + 9, y)) == sheet.getpixel((x, y + 9)) == colour
        for x in range(1, wide - 9)
        for y in range(1, high - 9)
    )


async def test_a_contact_sheet_has_a_framed_thumbnail_for_every_image_that_changes_sides(
    tmp_path: Path,
) -> None:
    await grades(tmp_path)
    tuning = await tune(tmp_path, AtLeast, [3, 8])
    green, red = (0x20, 0x80, 0x20), (0xC0, 0x20, 0x20)

    loose, strict = (tuning.contact_sheet(threshold, side_px=64) for threshold in (3, 8))
    both = tuning.contact_sheet(8, instead_of=3, side_px=64)
    few = tuning.contact_sheet(8, instead_of=3, side_px=64, max_images=2)

    assert (_frames(loose, green), _frames(loose, red)) == (2, 0)
    assert (_frames(strict, green), _frames(strict, red)) == (0, 3)
    assert (_frames(both, green), _frames(both, red)) == (0, 5)  # grades 3 to 7
    assert (_frames(few, green), _frames(few, red)) == (0, 2)


@pytest.mark.parametrize("keep_rejected", ["all", "thumbnail"])
async def test_a_picture_of_16_bits_is_shown_with_its_tones(
    keep_rejected: Any, tmp_path: Path
) -> None:
    tones = Image.linear_gradient("L").convert("I").point(lambda tone: tone * 257)
    await TwoTierPipeline(
        ScriptedBackend(*[saved(tones.convert("I;16"), "PNG")] * 6),
        filters=[filters.MinSize(width_px=300, height_px=1)],
        checkpoint=tmp_path,
        budget=Budget.unlimited(),
        keep_rejected=keep_rejected,
    ).run([Job(id="a", prompt="a fox")])

    if keep_rejected == "all":
        tuning = await tune(tmp_path, lambda px: filters.MinSize(width_px=px, height_px=1), [200])
        shown = tuning.contact_sheet(200).crop((20, 60, 140, 160))  # inside the first picture
    else:
        with Checkpoint.read(tmp_path) as checkpoint:
            thumbnail = next(checkpoint.candidates()).thumbnail
        assert thumbnail is not None
        shown = Image.open(io.BytesIO(thumbnail))
    middle = shown.convert("L").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert middle == pytest.approx(127, abs=25)


async def test_a_contact_sheet_is_drawn_although_files_have_gone(tmp_path: Path) -> None:
    await grades(tmp_path)
    tuning = await tune(tmp_path, AtLeast, [8])
    for image in tuning[8].newly_rejected:
        assert image.path is not None
        image.path.unlink()

    sheet = tuning.contact_sheet(8, side_px=64)

    assert (0xB0, 0xB0, 0xB0) in {colour for _, colour in sheet.getcolors(10**6) or []}
    with pytest.raises(ConfigError, match="columns=0"):
        tuning.contact_sheet(8, columns=0)
    with pytest.raises(KeyError):
        tuning.contact_sheet(7)


async def test_a_built_in_filter_is_tuned_on_the_pictures_themselves(tmp_path: Path) -> None:
    jobs = [Job(id=f"{n}", prompt=f"a fox {n}", route=Route.LITE) for n in range(6)]
    await batch(tmp_path, jobs, filters=[])

    tuning = await tune(tmp_path, lambda share: filters.Sharpness(min_sharpness=share), [0.0, 1.0])

    kept, none = tuning.points
    assert kept.outcome.after.accepted == 6
    scores = [one.score_after for one in kept.outcome.candidates]
    assert all(score is not None and 0 < score <= 1 for score in scores)
    assert none.outcome.after.accepted == scores.count(1.0)


async def test_the_checkpoint_is_exactly_as_before(tmp_path: Path) -> None:
    await grades(tmp_path)
    before = contents(tmp_path)

    await tune(tmp_path, AtLeast, [3, 8])

    assert contents(tmp_path) == before


def test_without_an_event_loop_it_is_the_same(tmp_path: Path) -> None:
    anyio.run(grades, tmp_path)

    assert tune_sync(tmp_path, AtLeast, [3])[3].outcome.after.accepted == 7


async def test_in_an_event_loop_the_sync_twin_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tune_sync\(\) was called .* `await tune\(\.\.\.\)`"):
        tune_sync(tmp_path, AtLeast, [3])


@pytest.mark.parametrize("grid", [[], [3, 3]])
async def test_a_grid_without_thresholds_or_with_one_twice_is_refused(
    tmp_path: Path, grid: list[int]
) -> None:
    await grades(tmp_path)

    with pytest.raises(ConfigError, match="the grid must hold thresholds, each once"):
        await tune(tmp_path, AtLeast, grid)


async def test_filters_that_remember_or_cost_money_are_refused(tmp_path: Path) -> None:
    await grades(tmp_path)

    class Paid:
        name = "paid"
        worst_case_usd = Decimal("0.01")

        def __call__(self, candidate: Candidate) -> bool:
            return True

    def charges(candidate: Candidate) -> Verdict:
        return Verdict(accepted=True, usd=Decimal("0.01"))

    with pytest.raises(ConfigError, match="one_per_prompt remembers"):
        await tune(tmp_path, lambda _: OnePerPrompt(), [1])
    with pytest.raises(ConfigError, match=r"paid costs up to 0\.01 USD"):
        await tune(tmp_path, AtLeast, [1], filters=[Paid()])
    with pytest.raises(ConfigError, match=r"charges says that it cost 0\.01 USD"):
        await tune(tmp_path, lambda _: charges, [1])


async def test_a_filter_that_raises_leaves_its_image_unjudged_at_every_threshold(
    tmp_path: Path,
) -> None:
    await grades(tmp_path)

    def fails_on_slot_7(candidate: Candidate) -> bool:
        if candidate.slot == 7:
            raise RuntimeError("no")
        return True

    tuning = await tune(tmp_path, AtLeast, [1, 9], filters=[fails_on_slot_7])

    for point in tuning.points:
        assert point.outcome.unjudged == {Unjudged.FILTER_FAILED: 1}
    with pytest.raises(FilterError, match="failure 10 in a row"):
        await tune(tmp_path, lambda _: _always_fails, [1])


def _always_fails(candidate: Candidate) -> bool:
    raise RuntimeError("no")


async def test_a_filter_that_hangs_is_given_up(tmp_path: Path) -> None:
    await grades(tmp_path)

    async def hangs_on_slot_2(candidate: Candidate) -> bool:
        if candidate.slot == 2:
            await anyio.sleep_forever()
        return True

    tuning = await tune(
        tmp_path, AtLeast, [1], filters=[hangs_on_slot_2], filter_timeout_seconds=0.05
    )

    assert tuning[1].outcome.unjudged == {Unjudged.FILTER_FAILED: 1}
    with pytest.raises(ConfigError, match="filter_timeout_seconds=0"):
        await tune(tmp_path, AtLeast, [1], filter_timeout_seconds=0)
