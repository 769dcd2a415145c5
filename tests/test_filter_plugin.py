"""The example plugin builds, installs next to the library, is found, and passes its own tests."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parent.parent / "examples" / "filter_plugin"


@pytest.mark.timeout(300)
def test_the_example_plugin_installs_into_an_environment_and_is_found(tmp_path: Path) -> None:
    """Offline: its build backend and nanobatch itself are those of this environment."""
    pytest.importorskip("hatchling", reason="the build backend of the plugin is not installed")
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    packages = next((home / "lib").glob("python*/site-packages"))
    # What is installed here is importable there; the plugin itself goes into the new environment.
    mine = [path for path in sys.path if path.endswith(("site-packages", "/src"))]
    (packages / "this_environment.pth").write_text("\n".join(mine) + "\n")
    source = tmp_path / "filter_plugin"
    _copy(PLUGIN, source)

    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path), at=source)
    [wheel] = tmp_path.glob("*.whl")
    install = ("install", "--no-deps", "--no-index", "--no-cache-dir", str(wheel))
    _run(sys.executable, "-m", "pip", "--python", str(python), *install, at=tmp_path)
    listed = "from nanobatch import filters; print(filters.available()['colourful'])"
    found = _run(str(python), "-c", listed, at=tmp_path)
    tested = _run(str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", at=source)

    assert found.strip() == "nanobatch-colourful"
    assert "3 passed" in tested


def _copy(folder: Path, to: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            copy = to / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())


def _run(*command: str, at: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    finished = subprocess.run(
        command, cwd=at, env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout
