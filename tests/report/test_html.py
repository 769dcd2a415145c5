"""The page about a run: every image and figure is in it, and no word of it is anything but text."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import anyio
import pytest
from PIL import Image

from nanobatch import (
    Candidate,
    Checkpoint,
    CheckpointError,
    ConfigError,
    Job,
    Route,
    StopRule,
    Verdict,
)
from nanobatch.filters import Decodes, NotBlank
from nanobatch.report import write_html
from nanobatch.simulator import answers
from tests.report import hostile
from tests.report.batches import AtLeast, batch, grades, slots
from tests.report.pages import read_page
from tests.support import PRO, pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch.simulator import Answer, Call


async def test_the_page_has_every_image_with_its_verdict_reason_and_cost(tmp_path: Path) -> None:
    server = await grades(tmp_path / "run", threshold=5)

    page = read_page(write_html(tmp_path / "run", tmp_path / "run.html"))

    assert [job["id"] for job in page.jobs] == [f"g{grade}" for grade in range(10)]
    assert [job["tag"] for job in page.jobs] == ["even", "odd"] * 5
    assert [page.verdicts(f"g{n}") for n in range(10)] == [["rejected"]] * 5 + [["accepted"]] * 5
    rejected = [item for item in page.items if item["verdict"] == "rejected"]
    assert [(one["filter"], one["reason"]) for one in rejected] == [
        ("at_least", f"grade {grade}") for grade in range(5)
    ]
    assert sum(round(float(item["usd"]) * 10**4) for item in page.items) == pytest.approx(
        float(server.bill.usd) * 10**4, abs=5
    )


async def test_the_headline_is_spend_over_accepted_with_the_fill_rate_beside_it(
    tmp_path: Path,
) -> None:
    server = await grades(tmp_path / "run", threshold=5)

    text = read_page(write_html(tmp_path / "run", tmp_path / "run.html")).text

    assert f"USD per accepted image {server.bill.usd / 5:.4f} " in text
    assert "fill rate 50.0 %" in text
    assert "Delivered 5 of 10 fill rate 50.0 %" in text
    assert "Accept rate 50.0 % 23.7 to 76.3 %, 10 slots" in text  # Wilson's interval by hand
    assert "even " in text
    assert "at_least 10 5 50.0 %" in text  # asked, rejected, their share


async def test_thumbnails_are_small_pictures_of_accepted_and_of_rejected_images(
    tmp_path: Path,
) -> None:
    await grades(tmp_path / "run", keep_rejected="thumbnail", settings={"pixels": 0.5})

    page = read_page(write_html(tmp_path / "run", tmp_path / "run.html"))

    assert sorted(page.thumbnails) == sorted(item["key"] for item in page.items)
    for small in page.thumbnails.values():
        with Image.open(io.BytesIO(base64.b64decode(small))) as picture:
            assert (picture.format, max(picture.size)) == ("WEBP", 256)


async def test_thumbnails_beside_the_page_are_made_once(tmp_path: Path) -> None:
    await grades(tmp_path / "run")
    target = tmp_path / "pages" / "wall papers.html"
    write_html(tmp_path / "run", target, thumbnails="beside")
    folder = target.parent / "wall papers-thumbnails"
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}

    page = read_page(write_html(tmp_path / "run", target, thumbnails="beside"))

    assert page.thumbnails == {}
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    named = {unquote(item["thumbnail"]) for item in page.items}
    assert {target.parent / name for name in named} == set(folder.iterdir())


@pytest.mark.parametrize("place", ["run.html", "run/run.html", "far/away/page.html"])
async def test_full_images_are_found_from_where_the_page_lies(tmp_path: Path, place: str) -> None:
    names = ["a b", "50%#1?x=y", "über", "javascript:x", "a/../../b", "..", "CON"]
    folder = tmp_path / "run"
    jobs = [Job(id=name, prompt="a fox", route=Route.LITE) for name in names]
    await batch(folder, jobs, filters=[Decodes()])

    page = read_page(write_html(folder, tmp_path / place))

    with Checkpoint.read(folder) as checkpoint:
        files = [image.path for image in checkpoint.images()]
    links = [item["file"] for item in page.items]
    assert len(links) == len(names)
    assert [((tmp_path / place).parent / unquote(link)).resolve() for link in links] == files
    assert not [link for link in links if re.match(r"[a-z]+:|/", link)]


async def test_drafts_are_tied_to_their_finishes_and_cost_is_that_of_both(tmp_path: Path) -> None:
    job = Job(id="poster", prompt="a map", route=Route.FINISH)
    server = await batch(tmp_path / "run", [job], filters=[Decodes()], stop=StopRule())

    draft, finish = read_page(write_html(tmp_path / "run", tmp_path / "run.html")).items

    assert (draft["verdict"], draft["stage"]) == ("aside", "draft")
    assert (finish["verdict"], finish["stage"], finish["tier"]) == ("accepted", "finish", "quality")
    assert finish["parent"] == draft["slot"]
    assert finish["usd"] == f"{server.bill.usd:.4f}"


async def test_losers_of_a_group_and_unjudged_images_have_tabs_of_their_own(
    tmp_path: Path,
) -> None:
    def fails_on_b(candidate: Candidate) -> Verdict:
        if candidate.job.id == "b":
            raise OSError("the disk of the filter")
        return Verdict.accept()

    jobs = [
        Job(id="a", prompt="a fox", best_of=2, route=Route.LITE),
        Job(id="b", prompt="b", route=Route.LITE),
    ]
    await batch(tmp_path / "run", jobs, filters=[fails_on_b], stop=StopRule())

    page = read_page(write_html(tmp_path / "run", tmp_path / "run.html"))

    assert sorted(page.verdicts("a")) == ["accepted", "aside"]
    held, failed = (item for item in page.items if item["verdict"] in {"held", "failed"})
    assert (held["verdict"], held["note"]) == ("held", "not judged yet")
    assert "the disk of the filter" in failed["reason"]
    assert "Prompts that are not done" in page.text
    assert "b b pending" in page.text  # its id, its prompt


async def test_what_failed_is_counted_by_kind_and_what_stopped_says_why(tmp_path: Path) -> None:
    def answer(call: Call) -> Answer | None:
        return answers.overloaded() if call.prompt == "easy" and call.nth < 2 else None

    def accept_rate(call: Call) -> float:
        return 0.0 if call.prompt == "hard" else 1.0

    jobs = [Job(id=word, prompt=word, route=Route.LITE) for word in ("hard", "easy")]
    async with simulator(pixels=0.0625, answer=answer, accept_rate=accept_rate) as server:
        await pipeline_on(
            server, tmp_path / "run", filters=[NotBlank()], stop=StopRule(3), concurrency=1
        ).run(jobs)

    page = read_page(write_html(tmp_path / "run", tmp_path / "run.html"))

    assert "1 done 1 stopped" in page.text
    assert "hard hard stopped 0 of 3 candidates passed" in page.text  # its id, its prompt
    assert page.verdicts("hard") == ["rejected"] * 3
    assert page.verdicts("easy") == ["accepted", "failed", "failed"]  # failures come last
    assert "overloaded 2 0 0.00" in page.text  # times, ended a job, USD


@pytest.mark.parametrize("thumbnails", ["embed", "beside"])
async def test_hostile_words_are_nothing_but_text(tmp_path: Path, thumbnails: Any) -> None:
    folder = tmp_path / "run"
    judge = hostile.RepeatsPrompt()
    await batch(folder, hostile.jobs(), filters=[judge], route="lite", stop=StopRule(2))
    harmless = write_html(await _plain(tmp_path / "plain"), tmp_path / "plain.html")

    page = read_page(write_html(folder, tmp_path / "run.html", thumbnails=thumbnails))

    known = {tag for tag, _ in read_page(harmless).elements}
    assert {tag for tag, _ in page.elements} <= known | {"small"}
    assert not [name for _, head in page.elements for name in head if name.startswith("on")]
    assert [head.get("class") or head.get("id") or "" for head, _ in page.scripts] == [
        "run", *["items", "thumbnails"] * len(page.portions), "",
    ]  # fmt: skip
    prompts = [job["prompt"] for job in page.jobs]
    assert prompts == [*hostile.WORDS, hostile.LONG[:20_000]]
    assert page.jobs[-1]["characters"] == len(hostile.LONG) == 105_000
    assert all(text.isascii() for head, text in page.scripts if head.get("class"))


async def _plain(folder: Path) -> Path:
    await batch(folder, [Job(id="a", prompt="a", tag="a")], filters=[slots(2)], stop=StopRule(2))
    return folder


async def test_the_policy_allows_exactly_the_script_and_the_style_of_the_page(
    tmp_path: Path,
) -> None:
    await grades(tmp_path / "run")

    page = read_page(write_html(tmp_path / "run", tmp_path / "run.html"))

    (policy,) = [
        head["content"]
        for tag, head in page.elements
        if head.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{_hash(page.scripts[-1][1])}'"
    assert rules["style-src"] == f"'sha256-{_hash(page.styles[0])}'"
    assert rules["img-src"] == "'self' data: file:"


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


async def test_open_checkpoints_are_taken_too_and_stay_open(tmp_path: Path) -> None:
    await grades(tmp_path / "run")

    with Checkpoint.read(tmp_path / "run") as reader:
        write_html(reader, tmp_path / "reader.html")
        assert len(list(reader.images())) == 5
    async with Checkpoint.open(tmp_path / "run") as checkpoint:
        write_html(checkpoint, tmp_path / "writer.html")
        assert len(list(checkpoint.images())) == 5

    assert len(read_page(tmp_path / "reader.html").items) == 10
    assert len(read_page(tmp_path / "writer.html").items) == 10


async def test_a_checkpoint_without_a_call_has_a_page(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path / "run"):
        pass

    text = read_page(write_html(tmp_path / "run", tmp_path / "run.html", title="Nothing")).text

    assert "Nothing" in text
    assert "none accepted yet; fill rate 100.0 %" in text
    assert "Nothing failed." in text


async def test_a_run_that_accepts_nothing_says_what_an_image_costs_at_least(tmp_path: Path) -> None:
    await grades(tmp_path / "run", threshold=99)

    text = read_page(write_html(tmp_path / "run", tmp_path / "run.html")).text

    assert "none accepted yet; fill rate 0.0 %" in text
    assert re.search(r"none accepted 0\.\d+ or more", text)


async def test_images_whose_files_are_gone_or_broken_have_no_thumbnail(tmp_path: Path) -> None:
    await grades(tmp_path / "run", threshold=8)
    first, second = sorted((tmp_path / "run" / "images").iterdir())
    first.unlink()
    second.write_bytes(b"no picture")

    page = read_page(write_html(tmp_path / "run", tmp_path / "run.html"))

    accepted = [item for item in page.items if item["verdict"] == "accepted"]
    assert [item["key"] in page.thumbnails for item in accepted] == [False, False]
    assert ["thumbnail" in item for item in accepted] == [False, False]


async def test_the_page_does_without_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [
        Job(id=f"{n}", prompt=f"{n}", route=(Route.LITE, Route.QUALITY)[n % 2]) for n in range(8)
    ]
    await batch(tmp_path / "run", jobs, filters=[slots(1, 2, 3, 4)], quality=PRO)
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    page = read_page(write_html(tmp_path / "run", tmp_path / "run.html"))

    curves = [head for tag, head in page.elements if head.get("class") == "curve"]
    assert len(curves) == 2
    assert "Lite costs less per accepted image than quality" in page.text


async def test_without_jinja2_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await grades(tmp_path / "run")
    monkeypatch.setitem(sys.modules, "jinja2", None)

    with pytest.raises(ConfigError, match=r"pip install 'nanobatch\[report\]'"):
        write_html(tmp_path / "run", tmp_path / "run.html")


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    anyio.run(grades, tmp_path / "run")
    target = tmp_path / "run.html"
    target.mkdir()
    (target / "kept").touch()

    with pytest.raises(CheckpointError, match="Cannot write the page"):
        write_html(tmp_path / "run", target)

    assert [path.name for path in target.iterdir()] == ["kept"]
    assert not list(tmp_path.glob("*.part"))


def test_thumbnails_lie_in_the_page_or_beside_it(tmp_path: Path) -> None:
    wrong: Any = "inside"

    with pytest.raises(ConfigError, match="choose 'embed' or 'beside'"):
        write_html(tmp_path, tmp_path / "run.html", thumbnails=wrong)


async def test_an_image_of_an_earlier_prompt_is_told_from_the_others(tmp_path: Path) -> None:
    for prompt, threshold in (("first", 99), ("second", 0)):
        job = Job(id="a", prompt=prompt, route=Route.LITE, metadata={"grade": 1})
        await batch(tmp_path / "run", [job], filters=[AtLeast(threshold)])

    page = read_page(write_html(tmp_path / "run", tmp_path / "run.html"))

    assert [job["prompt"] for job in page.jobs] == ["second"]
    assert [item["attempt"] for item in page.items] == [1, 2]


async def test_a_row_that_names_a_file_elsewhere_brings_no_picture_of_it(tmp_path: Path) -> None:
    await grades(tmp_path / "run", threshold=99)
    Image.new("RGB", (64, 64)).save(tmp_path / "private.png")
    with closing(sqlite3.connect(tmp_path / "run" / "ledger.sqlite")) as db:
        db.execute("UPDATE candidates SET file = '../../private.png' WHERE number = 1")
        db.commit()

    with pytest.raises(CheckpointError, match=r"'\.\./\.\./private\.png' is no name of a file"):
        write_html(tmp_path / "run", tmp_path / "run.html")

    assert not (tmp_path / "run.html").exists()
