"""What a reader of the pages has: a Gemini that answers, and a batch in `runs/wallpapers`."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from anyio.from_thread import start_blocking_portal

from nanobatch import Budget, Gemini, Job, TwoTierPipeline
from nanobatch.simulator import Simulator, answers
from tests.docs.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanobatch.simulator import Answer, Call

CONFIG = """
[rates.lite]
accept = 0.70
regenerate = 0.08
slots = 50
measured_on = 2026-11-23

[rates.quality]
accept = 0.90
regenerate = 0.02
slots = 25
measured_on = 2026-11-23
"""
"""The reader's config; a page that shows one replaces it."""


@pytest.fixture(scope="session")
def gemini() -> Iterator[Simulator]:
    """Answer from a thread of its own, whatever runs in the others."""
    simulator = Simulator(seed=5, accept_rate=0.8, pixels=0.25, answer=_cut_once)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(simulator) as open_:
        yield open_


def _cut_once(call: Call) -> Answer | None:
    """Cut one answer of the batch off: unknown money, as pages speak of it."""
    return answers.cut() if call.prompt.endswith("lost once") and call.nth == 0 else None


@pytest.fixture(scope="session")
def batch(gemini: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished batch of 24 prompts; each page gets a copy."""
    folder = tmp_path_factory.mktemp("batch") / "wallpapers"
    jobs = [
        Job(id=f"{tag}-{200 + n}", prompt=f"{tag}, view {n}", want=2, tag=tag)
        for tag in ("aurora", "dunes")
        for n in range(12)
    ]
    jobs.append(Job(id="lost", prompt="a fjord, lost once", tag="aurora"))
    TwoTierPipeline(
        Gemini(api_key="simulated", base_url=gemini.base_url),
        keep_rejected="all",
        checkpoint=folder,
        budget=Budget.unlimited(),
    ).run_sync(jobs)
    return folder


@pytest.fixture
def desk(gemini: Simulator, batch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder in which what the pages say can be done: a checkout with a batch in it."""
    shutil.copytree(batch, tmp_path / "runs" / "wallpapers")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "nanobatch.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEMINI_API_KEY", "simulated")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", gemini.base_url)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path
