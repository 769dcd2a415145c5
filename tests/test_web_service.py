"""The web service of the examples: a budget for each user, work in the background, a clean end."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from nanobatch import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

EXAMPLES = Path(__file__).parent.parent / "examples"
ANNA = {"X-Api-Key": "key-of-anna"}
BEN = {"X-Api-Key": "key-of-ben"}
ANNAS_CAP_USD = 0.50


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    spec = spec_from_file_location("web_service", EXAMPLES / "web_service.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    with TestClient(module.service(str(tmp_path)), headers=ANNA) as opened:
        yield opened


def until(holds: Callable[[], Any]) -> Any:
    """Return the first value that is not empty; a run in another thread brings it about."""
    deadline = time.monotonic() + 30
    while not (value := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def files_of(client: TestClient, job_id: str, status: str) -> list[str] | None:
    """Return the files of a job, once it has this status."""
    found, files = client.get("/jobs").json().get(job_id, ("", []))
    return files or ["no file"] if found == status else None


def test_a_job_is_taken_at_once_and_its_images_appear(client: TestClient, tmp_path: Path) -> None:
    taken = client.post("/jobs", json={"id": "fox", "prompt": "a fox", "want": 2})

    files = until(lambda: files_of(client, "fox", "done"))
    assert taken.status_code == 202
    assert sorted(files) == sorted(path.name for path in (tmp_path / "anna" / "images").iterdir())
    assert len(files) == 2


def test_a_user_past_the_budget_gets_a_402_and_others_go_on(
    client: TestClient, tmp_path: Path
) -> None:
    client.post("/jobs", json={"id": "many", "prompt": "foxes", "want": 40})
    until(lambda: files_of(client, "many", "pending"))

    refused = client.post("/jobs", json={"id": "more", "prompt": "a fox"})
    others = client.post("/jobs", json={"id": "one", "prompt": "a fox"}, headers=BEN)

    assert refused.status_code == 402
    assert refused.json() == {"detail": {"error": "budget used up", "limit_usd": 0.5}}
    assert others.status_code == 202
    with Checkpoint.read(tmp_path / "anna") as checkpoint:
        assert 0 < checkpoint.spend.worst_case_usd <= ANNAS_CAP_USD


@pytest.mark.parametrize(
    ("job", "key", "status"),
    [
        ({"id": "a", "prompt": ""}, ANNA, 422),
        ({"id": "a", "prompt": "a fox", "references": ["/etc/passwd"]}, ANNA, 422),
        ({"id": "a", "prompt": "a fox"}, {"X-Api-Key": "key-of-nobody"}, 422),
    ],
)
def test_what_may_not_be_asked_is_refused_before_anything_is_spent(
    client: TestClient, job: dict[str, Any], key: dict[str, str], status: int
) -> None:
    refused = client.post("/jobs", json=job, headers=key)

    assert refused.status_code == status
    assert client.get("/jobs").json() == {}


def test_an_id_with_another_prompt_is_refused(client: TestClient) -> None:
    client.post("/jobs", json={"id": "fox", "prompt": "a fox"})
    until(lambda: files_of(client, "fox", "done"))

    refused = client.post("/jobs", json={"id": "fox", "prompt": "a wolf"})

    assert refused.status_code == 409


def test_a_signal_ends_the_server_and_the_same_job_goes_on_after_it(tmp_path: Path) -> None:
    job = {"id": "many", "prompt": "foxes", "want": 9}

    with serving(tmp_path) as address:
        httpx2.post(f"{address}/jobs", json=job, headers=ANNA).raise_for_status()
        until(lambda: list((tmp_path / "out" / "web" / "anna").glob("staging/*")))
    with Checkpoint.read(tmp_path / "out/web/anna") as checkpoint:
        after_the_signal = checkpoint.spend
        report = checkpoint.verify()
    with serving(tmp_path) as address:
        httpx2.post(f"{address}/jobs", json=job, headers=ANNA).raise_for_status()
        status, files = until(lambda: done(address))

    assert report.is_clean, report
    assert after_the_signal.unknown_usd == 0
    assert status == "done"
    assert len(files) == 9


def done(address: str) -> tuple[str, list[str]] | None:
    """Return status and files of the job, once nothing more is done for it."""
    found: tuple[str, list[str]] = httpx2.get(f"{address}/jobs", headers=ANNA).json()["many"]
    return None if found[0] == "pending" else found


@contextmanager
def serving(folder: Path) -> Generator[str]:
    """Run the service as its docstring says, in a process; end it with SIGTERM."""
    command = ("-m", "uvicorn", "--factory", "--app-dir", str(EXAMPLES), "web_service:service")
    process = subprocess.Popen(
        [sys.executable, *command, "--port", "0", "--no-access-log"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"running on (\S+)", line):
                yield found[1]
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
    assert "Application shutdown complete" in rest, rest
    assert "Traceback" not in rest, rest
