"""The demo as people start it: a program of its own, with prompts, pictures and a bill."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from anyio.from_thread import start_blocking_portal

from nanobatch.demo import main
from tests.report.pages import read_page
from tests.support import simulator

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from nanobatch.simulator import Simulator

EASY = "A calm lake under morning mist, number"
IMPOSSIBLE = {"id": "qr-code", "prompt": "A QR code that works", "tag": "impossible"}


def jobs_file(folder: Path, *jobs: Mapping[str, object]) -> Path:
    path = folder / "jobs.jsonl"
    path.write_text("".join(json.dumps(job) + "\n" for job in jobs), encoding="utf-8")
    return path


def easy_jobs(count: int, *, want: int = 1) -> list[dict[str, object]]:
    return [{"id": f"lake-{n}", "prompt": f"{EASY} {n}", "want": want} for n in range(count)]


def command(out: Path, jobs: Path, *options: str) -> list[str]:
    start = [sys.executable, "-m", "nanobatch", "demo"]
    return [*start, "--out", str(out), "--jobs", str(jobs), *options]


def run(out: Path, jobs: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(out, jobs, *options),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **env},
    )


def digests(out: Path) -> dict[str, str]:
    images = (out / "images").iterdir()
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in images}


@contextmanager
def google() -> Generator[Simulator]:
    """Stand in for the real API; it accepts every image."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(simulator()) as server,
    ):
        yield server


def test_a_disk_that_is_full_in_the_middle_is_an_early_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*names: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    jobs = jobs_file(tmp_path, *easy_jobs(3))
    monkeypatch.setattr(os, "link", full)

    code = main(["--out", str(tmp_path / "out"), "--jobs", str(jobs), "--quick"])

    assert code == 3
    assert "make room on the disk and run again" in capsys.readouterr().err


def test_a_batch_ends_with_its_images_and_a_bill_and_a_second_run_asks_for_nothing(
    tmp_path: Path,
) -> None:
    hero = {"id": "hero", "prompt": "A lighthouse", "tag": "hero", "route": "quality"}
    jobs = jobs_file(tmp_path, *easy_jobs(3), hero, IMPOSSIBLE)

    first = run(tmp_path / "out", jobs, "--quick")
    images = digests(tmp_path / "out")
    second = run(tmp_path / "out", jobs, "--quick")

    assert (first.returncode, first.stderr) == (0, "")
    assert [name.rsplit(".", 1)[0] for name in sorted(images)] == [
        "hero-1",
        "lake-0-1",
        "lake-1-1",
        "lake-2-1",
    ]
    assert re.search(r"^delivered +4  fill rate 80\.0 %$", first.stdout, re.MULTILINE)
    assert re.search(r"^qr-code +stopped +6 +0\.\d{4}  0 of 6", first.stdout, re.MULTILINE)
    assert "the ledger says the same, to the last nano-dollar" in " ".join(first.stdout.split())
    assert all(len(line) < 80 or str(tmp_path) in line for line in first.stdout.splitlines())
    assert (second.returncode, second.stderr) == (0, "")
    assert "nothing was missing, so no request was sent" in second.stdout
    assert "The simulator's own bill for this run is USD 0.0000" in second.stdout
    assert digests(tmp_path / "out") == images


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
def test_ctrl_c_keeps_what_was_accepted_and_the_same_command_makes_the_rest(
    tmp_path: Path,
) -> None:
    out, jobs = tmp_path / "out", jobs_file(tmp_path, *easy_jobs(5, want=4))
    started = command(out, jobs, "--quick", "--concurrency", "2")
    with subprocess.Popen(started, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if re.match(r" +\d0 %  ", line):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    accepted = digests(out)

    again = run(out, jobs, "--quick")

    assert process.returncode == 130
    assert "Ended: cancelled." in rest
    assert "Go on with python -m nanobatch demo" in rest
    assert 2 <= len(accepted) < 20
    assert again.returncode == 0
    assert f"has {len(accepted)} of 20 images already" in " ".join(again.stdout.split())
    assert "fill rate 100.0 %" in again.stdout
    assert digests(out).items() >= accepted.items()
    assert len(digests(out)) == 20


def test_with_a_key_and_nobody_to_ask_it_refuses_and_sends_nothing(tmp_path: Path) -> None:
    jobs = jobs_file(tmp_path, *easy_jobs(1))

    with google() as server:
        refused = run(
            tmp_path / "out",
            jobs,
            GEMINI_API_KEY="secret-key",
            GOOGLE_GEMINI_BASE_URL=server.base_url,
        )

    assert refused.returncode == 2
    assert "add --yes to spend up to USD 25.00" in refused.stderr
    assert "secret-key" not in refused.stdout + refused.stderr
    assert server.bill.requests == 0
    assert not (tmp_path / "out").exists()


def test_with_a_key_and_a_yes_the_account_of_the_key_pays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = jobs_file(tmp_path, *easy_jobs(2))
    arguments = ["--out", str(tmp_path / "out"), "--jobs", str(jobs), "--budget", "1.50"]
    monkeypatch.setenv("GEMINI_API_KEY", "secret-key")

    with google() as server:
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.base_url)
        code = main([*arguments, "--yes"])
        requests = server.bill.requests
        shown = capsys.readouterr().out
        # Nothing is missing: nobody has to be asked, and nothing is sent.
        second_code = main(arguments)

    assert (code, second_code) == (0, 0)
    assert requests == server.bill.requests == 2
    assert re.search(rf"^spend, USD +{server.bill.usd:.4f}  confirmed", shown, re.MULTILINE)
    assert "simulat" not in shown.lower()
    assert "no request was sent" in capsys.readouterr().out


def test_real_and_simulated_images_are_never_mixed_in_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--out", str(tmp_path / "out"), "--quick"]
    jobs = str(jobs_file(tmp_path, *easy_jobs(1)))
    assert main([*arguments, "--jobs", jobs]) == 0
    monkeypatch.setenv("GEMINI_API_KEY", "secret-key")

    code = main(["--out", str(tmp_path / "out"), "--jobs", jobs, "--yes"])

    assert code == 2
    assert "are the work of the simulator: choose another folder" in capsys.readouterr().err


def test_a_budget_too_small_for_one_call_ends_the_run_before_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = str(jobs_file(tmp_path, *easy_jobs(1)))

    # The worst case of a Lite call is 4,096 output tokens at USD 30 a million: USD 0.1229.
    code = main(["--out", str(tmp_path / "out"), "--jobs", jobs, "--quick", "--budget", "0.12"])

    shown = " ".join(capsys.readouterr().out.split())
    assert code == 3
    assert "Ended: budget." in shown
    assert "Not done yet: 1 image of 1 prompt." in shown
    assert "Go on with a higher --budget: python -m nanobatch demo" in shown
    assert "own bill for this run is USD 0.0000" in shown


@pytest.mark.parametrize(
    ("content", "options", "complaint"),
    [
        ('{"id": "a", "promt": "x"}\n', [], "line 1: 'prompt' is missing"),
        ("no JSON\n", [], "line 1: is not valid JSON"),
        ('{"id": "a", "prompt": "x"}\n', ["--budget", "much"], "a budget is an amount of USD"),
        ('{"id": "a", "prompt": "x"}\n', ["--concurrency", "0"], "at least 1"),
        ('{"id": "a", "prompt": "x", "size": "9K"}\n', [], "9K"),
    ],
)
def test_a_mistake_is_one_sentence_and_no_traceback(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str,
    options: list[str],
    complaint: str,
) -> None:
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text(content, encoding="utf-8")

    code = main(["--jobs", str(jobs), "--out", str(tmp_path / "out"), *options])

    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("nanobatch demo: ")
    assert complaint in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out" / "images").exists()


def test_a_file_in_the_place_of_the_folder_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.write_text("mine")

    code = main(["--out", str(out), "--jobs", str(jobs_file(tmp_path, *easy_jobs(1)))])

    assert code == 2
    assert "cannot be used as a folder for images" in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_the_page_to_look_at_has_every_image_and_its_address_is_printed(tmp_path: Path) -> None:
    out = tmp_path / "out"

    finished = run(out, jobs_file(tmp_path, *easy_jobs(3)), "--quick")

    assert finished.returncode == 0
    assert (out / "report.html").as_uri() in finished.stdout
    items = read_page(out / "report.html").items
    assert sum(item["verdict"] == "accepted" for item in items) == 3


def test_without_jinja2_the_demo_says_what_is_missing_for_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    jobs = jobs_file(tmp_path, *easy_jobs(1))

    code = main(["--out", str(tmp_path / "out"), "--jobs", str(jobs), "--quick"])

    assert code == 0
    assert "pip install 'nanobatch[report]'" in " ".join(capsys.readouterr().out.split())
    assert not (tmp_path / "out" / "report.html").exists()
