"""Nothing is unpacked before it is measured, and no code is loaded that nobody named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.filters.test_catalogue import install
from tests.security.bombs import bombs
from tests.support import linux_only

ROOT = Path(__file__).parents[2]


@linux_only
def test_pixel_bombs_are_refused_before_the_memory_grows(tmp_path: Path) -> None:
    for name, content in bombs().items():
        (tmp_path / f"{name}.bin").write_bytes(content)

    finished = subprocess.run(
        [sys.executable, "-m", "tests.security.bombs", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    report = json.loads(finished.stdout)

    assert set(report["found"]) == set(bombs()) - {"a picture"}
    for name in ("a complete picture of 400 MP", "a header of 4 billion MP", "a JPEG of 4,290 MP"):
        check, image, *_ = report["found"][name]
        assert "an image here has 1 to 64,000,000 pixels" in check
        assert "only 1 to 64,000,000 pixels are decoded" in image
    assert report["grew_mib"] < 40  # each of them would take 300 MiB and more


PLUGIN = """
import os, pathlib
pathlib.Path(os.environ["WITNESS"]).write_text("imported")

class Spy:
    name = "spy"
    def __call__(self, candidate):
        return True
"""

USING = """
import anyio, sys
import nanobatch
from nanobatch import *
from tests.support import NO_WAIT, pipeline_on, simulator

async def main():
    async with simulator(pixels=0.05) as server:
        chosen = [filters.load("spy")] if sys.argv[2] == "named" else None
        result = await pipeline_on(server, sys.argv[1], filters=chosen).run(
            [Job(id="a", prompt="a fox", route="lite")])
        assert result.ended == "complete"
    with Checkpoint.read(sys.argv[1]) as checkpoint:
        assert checkpoint.verify().is_clean
    assert sys.argv[2] == "copied" or filters.available()["spy"] == "spies"

anyio.run(main)
"""


@pytest.mark.parametrize(("how", "is_imported"), [("unnamed", False), ("named", True)])
def test_a_plugin_is_imported_only_when_it_is_named(
    tmp_path: Path, how: str, is_imported: bool
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "nb_test_spy.py").write_text(PLUGIN)
    install(site, "spies", spy="nb_test_spy:Spy")
    witness = tmp_path / "witness"
    paths = [str(site), str(ROOT), *filter(None, sys.path)]

    finished = subprocess.run(
        [sys.executable, "-c", USING, str(tmp_path / "run"), how],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "WITNESS": str(witness)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert finished.returncode == 0, finished.stderr
    assert witness.exists() is is_imported


def test_a_checkpoint_brings_no_code_with_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    witness = tmp_path / "witness"
    for name in ("nb_test_spy.py", "sitecustomize.py", "filters.py", "nanobatch.py", "anyio.py"):
        (run / name).write_text(PLUGIN)
    install(run, "spies", spy="nb_test_spy:Spy")

    paths = [str(ROOT), *filter(None, sys.path)]
    finished = subprocess.run(
        [sys.executable, "-c", USING, str(run), "copied"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "WITNESS": str(witness)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert finished.returncode == 0, finished.stderr
    assert not witness.exists()
