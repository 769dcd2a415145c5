"""Every example runs as printed, needs no key, and writes only where it was told to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import anyio.to_thread
import pytest

from tests.support import simulator

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
BATCHES = [path for path in SCRIPTS if path.stem != "web_service"]
WITH_GEMINI = [path for path in BATCHES if path.stem != "own_backend"]
SIMULATED = re.compile(r'Gemini\(api_key="simulated", .*\)(,?)  # the real API: Gemini\(\)')


def run(*command: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env={**os.environ, "HOME": str(home), **environment},
    )


def images(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("images/*") if path.is_file()]


@pytest.mark.parametrize("example", BATCHES, ids=lambda path: path.stem)
def test_an_example_runs_and_leaves_images_behind(example: Path, tmp_path: Path) -> None:
    finished = run(str(example), str(tmp_path / "out"), home=tmp_path / "home")

    assert finished.returncode == 0, finished.stderr
    assert finished.stdout
    assert finished.stderr == ""
    assert images(tmp_path / "out")


@pytest.mark.parametrize("example", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_is_short_and_opens_with_what_it_shows(example: Path) -> None:
    lines = example.read_text().splitlines()

    assert len(lines) <= 60
    assert lines[0].startswith('"""')
    assert lines[0].endswith(".")


@pytest.mark.parametrize("example", WITH_GEMINI, ids=lambda path: path.stem)
async def test_one_changed_line_takes_an_example_to_the_api_that_the_environment_names(
    example: Path, tmp_path: Path
) -> None:
    """Google cannot be reached here: a simulator in this process stands at the other end."""
    script = tmp_path / example.name
    changes = changed(example, script)

    async with simulator() as server:
        finished = await anyio.to_thread.run_sync(
            lambda: run(
                str(script),
                str(tmp_path / "out"),
                home=tmp_path,
                GEMINI_API_KEY="simulated",
                GOOGLE_GEMINI_BASE_URL=server.base_url,
            )
        )

    assert changes == 1
    assert finished.returncode == 0, finished.stderr
    assert images(tmp_path / "out")
    assert server.bill.images >= len(images(tmp_path / "out"))


def changed(example: Path, into: Path) -> int:
    """Write the example with `Gemini()` in it; return how many lines that took."""
    text, count = SIMULATED.subn(r"Gemini()\1", example.read_text())
    into.write_text(text)
    return count
