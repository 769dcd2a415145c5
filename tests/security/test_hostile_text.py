"""Ids, prompts and what a model says are data: no terminal obeys them, no path follows them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import unicodedata
from typing import TYPE_CHECKING

import pytest

from nanobatch import Checkpoint, ConfigError, Ended, FilterError, Job, JobStatus, StopRule, Verdict
from nanobatch.simulator import Answer, Call, answers
from tests.security.test_canaries import files_in
from tests.support import pipeline_on, simulator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nanobatch import Candidate

HOSTILE_TEXTS = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31mred",
    "\x1b]8;;https://example.org\x1b\\click\x1b]8;;\x1b\\",
    "\x9b31m\x9d0;c1\x9c",
    "ends\r\n100 %  all accepted, USD 0.0000",
    "\u202etxt.exe\u2066\u2069",
    "\u2028\u2029\x85\x0b\x0c",
    "nul\0bell\x07del\x7f",
    "half \ud83d emoji",
    '=HYPERLINK("https://example.org")',
)
HOSTILE_IDS = (
    "../../etc/passwd", "..", ".", "../images", "/etc/passwd", "//etc//passwd", "~root", "C:\\x",
    "\\\\server\\share", "a/b", "a%2Fb", "a%252Fb", "CON", "con", "NUL.png", "aux", "A", "a", "ﬁ",
    "fi", "Straße", "STRASSE", "strasse", "\u212a", "K", "k", ".hidden", "-rf", "*", "?", "|", " ",
    "  ", "x.", "x ", "x", "\r\n", "\t", "\x1b[2J", "\u202egnp", "\u200b", "\ufeff", "🦊" * 3_000,
    "x" * 10_000, "x" * 9_999 + "y", "$(reboot)", "`reboot`", "%00", "%s%n", "{0}", "ledger.sqlite",
    unicodedata.normalize("NFC", "né"), unicodedata.normalize("NFD", "né"), "images/x", "lock",
)  # fmt: skip


def is_one_plain_line(text: str) -> bool:
    return bool(text) and text.isprintable()


async def test_hostile_ids_end_up_inside_the_folder_each_with_a_name_of_its_own(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "outer" / "run"
    jobs = [Job(id=job_id, prompt=f"a fox {n}") for n, job_id in enumerate(HOSTILE_IDS)]

    async with simulator(pixels=0.05) as server:
        result = await pipeline_on(server, folder, route="lite", filters=[]).run(jobs)

    images = list(result.images)
    assert result.ended is Ended.COMPLETE
    assert {image.job_id for image in images} == set(HOSTILE_IDS)
    names = [image.path.name for image in images]
    assert len({unicodedata.normalize("NFKC", name).casefold() for name in names}) == len(jobs)
    for image in images:
        assert image.path.parent.resolve() == (folder / "images").resolve()
        assert image.path.is_file()
        assert not image.path.is_symlink()
        assert is_one_plain_line(image.path.name)
        assert len(os.fsencode(image.path.name)) <= 255
    assert [path for path in files_in(tmp_path) if folder not in path.parents] == []
    assert len(list((folder / "images").iterdir())) == len(jobs)


@pytest.mark.parametrize("job_id", ["a\0b", "", "\ud800"])
def test_ids_that_no_file_and_no_database_can_hold_are_refused(job_id: str) -> None:
    with pytest.raises(ValueError, match="id"):
        Job(id=job_id, prompt="x")


KINDS: dict[str, Callable[[str], Answer]] = {
    "no image": answers.no_image,
    "text only": answers.text_only,
    "blocked": answers.blocked,
    "refused": answers.image_refused,
    "finish reason": answers.unknown_finish_reason,
    "bad request": lambda text: answers.error(400, text),
    "overloaded": lambda text: answers.error(503, text),
}


async def test_what_a_model_says_is_one_plain_line_wherever_it_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cases = [
        (kind, text)
        for kind in KINDS
        for text in HOSTILE_TEXTS
        if "\ud83d" not in text or kind not in ("no image", "text only")  # it bills their bytes
    ]

    def answer(call: Call) -> Answer | None:
        kind, text = cases[int(call.prompt)]
        return None if kind == "overloaded" and call.nth else KINDS[kind](text)

    async with simulator(answer=answer) as server:
        rule = StopRule(slots_per_accepted=2, hopeless_slots=1_000)
        pipeline = pipeline_on(server, tmp_path, route="lite", stop=rule)
        jobs = [Job(id=f"j{n}", prompt=str(n)) for n in range(len(cases))]
        told: list[str] = []
        result = await pipeline.run(jobs, progress=lambda event: told.append(repr(event)))
        failures = list(result.failures)

    assert {failure.job_id for failure in failures} == {job.id for job in jobs}
    assert [f.message for f in failures if not is_one_plain_line(f.message)] == []
    reasons = [job.reason for job in result.jobs.values() if job.status is not JobStatus.DONE]
    assert [reason for reason in reasons if not is_one_plain_line(reason)] == []
    assert [line for line in told if not is_one_plain_line(line)] == []
    assert [line for line in caplog.messages if not is_one_plain_line(line)] == []
    assert {job.status for job in result.jobs.values()} == {
        JobStatus.DONE,
        JobStatus.FAILED,
        JobStatus.REFUSED,
        JobStatus.STOPPED,
    }


@pytest.mark.parametrize("text", HOSTILE_TEXTS[:7])
async def test_the_error_of_a_broken_filter_is_one_plain_line(tmp_path: Path, text: str) -> None:
    def broken(candidate: Candidate) -> bool:
        raise RuntimeError(text)

    async with simulator(pixels=0.05) as server:
        pipeline = pipeline_on(server, tmp_path, route="lite", filters=[broken])
        with pytest.raises(FilterError) as caught:
            await pipeline.run([Job(id=f"{n}", prompt=f"fox {n}") for n in range(12)])

    assert is_one_plain_line(str(caught.value))


@pytest.mark.parametrize("text", HOSTILE_TEXTS[:7])
async def test_an_error_about_a_job_shows_its_id_escaped(tmp_path: Path, text: str) -> None:
    job_id = text.replace("\0", "\x01")

    async with simulator() as server:
        with pytest.raises(ConfigError) as caught:
            await pipeline_on(server, tmp_path).run([Job(id=job_id, prompt="x", size="9K")])

    assert is_one_plain_line(str(caught.value))


async def test_a_reason_of_a_filter_is_kept_as_it_was_given(tmp_path: Path) -> None:
    def judge(candidate: Candidate) -> Verdict:
        return Verdict.reject("two\nlines")

    async with simulator(pixels=0.05) as server:
        pipeline = pipeline_on(server, tmp_path, route="lite", filters=[judge])
        await pipeline.run([Job(id="a", prompt="x")])

    with Checkpoint.read(tmp_path) as checkpoint:
        assert {one.reason for one in checkpoint.candidates()} == {"two\nlines"}


def test_the_demo_prints_hostile_ids_and_prompts_as_plain_text(tmp_path: Path) -> None:
    texts = [text for text in HOSTILE_TEXTS if "\0" not in text and "\ud83d" not in text]
    hostile = "".join(texts)
    jobs = tmp_path / "jobs.jsonl"
    line = {"id": hostile, "prompt": f"{hostile} works", "tag": "impossible"}
    jobs.write_text(json.dumps(line) + "\n", encoding="utf-8")

    finished = subprocess.run(
        [sys.executable, "-m", "nanobatch", "demo", "--quick", "--jobs", str(jobs),
         "--out", str(tmp_path / "out")],
        capture_output=True,
        check=False,
        timeout=100,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip

    shown = finished.stdout.decode() + finished.stderr.decode()
    assert "HYPERLINK" in shown  # the id is shown
    assert [line for line in shown.split("\n") if line and not line.isprintable()] == []
    assert not any(line.startswith("100 %  all accepted") for line in shown.split("\n"))


async def test_an_export_gives_back_exactly_what_was_put_in(tmp_path: Path) -> None:
    texts = [text for text in HOSTILE_TEXTS if "\0" not in text and "\ud83d" not in text]
    jobs = [Job(id=f"job {text}", prompt=f"{text} fox") for text in texts]

    async with simulator(pixels=0.05) as server:
        await pipeline_on(server, tmp_path / "run", route="lite", filters=[]).run(jobs)
    with Checkpoint.read(tmp_path / "run") as checkpoint:
        checkpoint.export(tmp_path / "images.jsonl")
        checkpoint.export(tmp_path / "images.csv")

    lines = (tmp_path / "images.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    with (tmp_path / "images.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {json.loads(line)["prompt"] for line in lines} == {f"{text} fox" for text in texts}
    assert len(lines) == len(rows) == len(texts)
    assert {row["job_id"].removeprefix("job ") for row in rows} == set(texts)


FORMULAS = (
    '=HYPERLINK("http://127.0.0.1/?"&A1, "open")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1:A9)",
    "\t=1+1",
    "\r=1+1",
    "\uff1d1+1",
)


async def test_no_cell_of_an_export_is_a_formula_unless_that_is_asked_for(tmp_path: Path) -> None:
    jobs = [Job(id=text, prompt=text) for text in (*FORMULAS, "a - b", "'quoted'")]

    async with simulator(pixels=0.05) as server:
        await pipeline_on(server, tmp_path / "run", route="lite", filters=[]).run(jobs)
    with Checkpoint.read(tmp_path / "run") as checkpoint:
        checkpoint.export(tmp_path / "safe.csv")
        checkpoint.export(tmp_path / "exact.csv", spreadsheet_safe=False)
        checkpoint.export(tmp_path / "images.jsonl")

    def rows(name: str) -> list[dict[str, str]]:
        with (tmp_path / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    safe = {row["prompt"] for row in rows("safe.csv")}
    lines = (tmp_path / "images.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert safe == {f"'{text}" for text in FORMULAS} | {"a - b", "'quoted'"}
    assert safe == {row["job_id"] for row in rows("safe.csv")}
    assert {row["usd"][:4] for row in rows("safe.csv")} == {"0.03"}
    assert {row["prompt"] for row in rows("exact.csv")} == {job.prompt for job in jobs}
    assert {json.loads(line)["prompt"] for line in lines} == {job.prompt for job in jobs}
