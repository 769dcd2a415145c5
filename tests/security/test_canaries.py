"""Neither the key nor the bytes of an image come out anywhere, whatever fails and whoever logs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from subprocess import PIPE

import anyio
import pytest

from tests.security.echo import ECHOES, Echo
from tests.security.needles import KEY, MARK, forms_of, found_in
from tests.support import simulator

ROOT = Path(__file__).parents[2]
IMAGE_FOLDERS = {"images", "staging", "rejected", "quarantine"}


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_search_finds_a_secret_in_each_of_its_forms() -> None:
    for name, form in forms_of(KEY).items():
        assert any(line.startswith(f"{name}:") for line in found_in(b"..." + form + b"...", KEY))


@pytest.mark.timeout(180)
async def test_neither_key_nor_image_bytes_come_out_of_a_process(tmp_path: Path) -> None:
    echo = Echo()
    async with simulator(answer=echo, pixels=0.1) as server:
        arguments = ["-X", "dev", "-m", "tests.security.canary"]
        arguments += [server.base_url, str(tmp_path), str(echo.kinds)]
        finished = await anyio.run_process(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, "GEMINI_API_KEY": KEY, "PYTHONASYNCIODEBUG": "1"},
            stderr=PIPE,
            check=False,
        )
    output = finished.stdout + finished.stderr
    files = files_in(tmp_path)

    # Everything was done, and everybody did log.
    assert finished.returncode == 0, finished.stderr.decode()[-3000:]
    assert echo.given == echo.kinds
    assert {line for line in finished.stdout.splitlines() if line.startswith(b"CALLED ")} == {
        f"CALLED {name}".encode() for name in ECHOES
    }
    assert b"DID NOT FAIL" not in output
    assert output.count(b"SHOWN ") == 6
    for logger in (b"DEBUG:httpcore2.http11:", b"INFO:httpx2:", b"DEBUG:asyncio:"):
        assert logger in finished.stderr
    assert output.count(b"[key]") > len(ECHOES)
    assert any(MARK.encode() in path.read_bytes() for path in files)
    # And the canaries are where they belong and nowhere else.
    assert found_in(output, KEY) == []
    assert found_in(output, MARK) == []
    for path in files:
        content = path.read_bytes()
        folder = path.parent.name
        assert (path, found_in(content, KEY)) == (path, [])
        assert folder in IMAGE_FOLDERS or found_in(content, MARK) == [], path
        assert found_in(path.name.encode(), KEY) == []
