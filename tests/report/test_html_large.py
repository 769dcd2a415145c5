"""The page of two thousand images opens at once, holds few nodes, and shows all on the way down."""

from __future__ import annotations

import os
import resource
import time
from typing import TYPE_CHECKING, Literal

import anyio
import pytest

from nanobatch import Checkpoint, Job, Route
from nanobatch.filters import NotBlank
from nanobatch.report import write_html
from tests.report.chromium import chromium, opened
from tests.support import pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = int(os.environ.get("NANOBATCH_PAGE_IMAGES", "2000"))
PIXELS = float(os.environ.get("NANOBATCH_PAGE_PIXELS", "0.0625"))
MAX_SECONDS = float(os.environ.get("NANOBATCH_PAGE_SECONDS", "inf"))
"""Only `nox -s page` sets a limit: a machine that does other work meanwhile measures nothing."""

MAX_NODES = 4_000


@pytest.fixture(scope="module")
def large_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work on one job for each image; nearly all of them get theirs."""

    async def run() -> None:
        jobs = (
            Job(
                id=f"wallpaper-{n:05}",
                prompt=f"wallpaper, view {n}",
                tag=f"set {n % 12}",
                route=Route.LITE if n % 5 else Route.QUALITY,
            )
            for n in range(IMAGES)
        )
        async with simulator(accept_rate=0.7, pixels=PIXELS, drawings=24) as server:
            await pipeline_on(server, folder, filters=[NotBlank()], concurrency=32).run(jobs)

    folder = tmp_path_factory.mktemp("large") / "run"
    anyio.run(run)
    return folder


@pytest.mark.timeout(900)
@pytest.mark.parametrize("thumbnails", ["embed", "beside"])
def test_a_large_page_opens_at_once_and_can_be_seen_to_its_end(
    tmp_path: Path,
    large_run: Path,
    thumbnails: Literal["embed", "beside"],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Checkpoint.read(large_run) as checkpoint:
        accepted = checkpoint.cost_model().accepted or 0
    began = time.perf_counter()
    file = write_html(large_run, tmp_path / "run.html", thumbnails=thumbnails)
    written_seconds = time.perf_counter() - began

    with chromium() as browser, opened(browser, file) as watched:
        page = watched.page
        page.wait_for_function("document.querySelector('.thumb img').naturalWidth")
        seconds = page.evaluate("performance.getEntriesByType('navigation')[0].duration") / 1000
        nodes = page.evaluate("document.querySelectorAll('*').length")
        page.select_option("[name=order]", "usd")
        page.select_option("[name=order]", "")
        while page.is_visible("#more"):
            before = page.locator(".tile").count()
            page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
            page.wait_for_function(
                "(before) => document.querySelectorAll('.tile').length > before", arg=before
            )
        tiles = page.locator(".tile").count()

    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = (
        f"{accepted:,} accepted images, {thumbnails}: page of {file.stat().st_size / 1e6:.1f} MB "
        f"written in {written_seconds:.1f} s (peak of the process {peak_mb:.0f} MB), "
        f"opened in {seconds:.2f} s with {nodes:,} elements"
    )
    with capsys.disabled():
        print(f"\n{figures}")  # noqa: T201 - for whoever reads the log of the tests
    assert tiles == accepted > 0.9 * IMAGES
    assert nodes < MAX_NODES
    assert seconds < MAX_SECONDS
    assert watched.complaints == []
