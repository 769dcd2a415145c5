"""The commands as people start them: while a run goes on, into a pipe that closes, with Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from nanobatch import Checkpoint, Job
from tests.support import pipeline_on, simulator

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = Path(sys.executable).with_name("nanobatch")


async def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return await anyio.run_process([str(PROGRAM), *arguments], check=False)


async def test_the_program_is_installed_and_knows_its_version() -> None:
    finished = await run("--version")

    assert finished.returncode == 0
    assert finished.stdout.decode().startswith("nanobatch ")


async def test_status_looks_while_a_run_writes_and_disturbs_nothing(tmp_path: Path) -> None:
    looks: list[subprocess.CompletedProcess[bytes]] = []

    async def look() -> None:
        while not (tmp_path / "ledger.sqlite").exists():  # noqa: ASYNC110 - a file tells nobody
            await anyio.sleep(0.01)
        looks.extend([await run("status", str(tmp_path), "--json") for _ in range(3)])

    async with simulator(latency_seconds=0.2) as server, anyio.create_task_group() as group:
        group.start_soon(look)
        jobs = [Job(id=f"j{n}", prompt=f"a fox {n}") for n in range(40)]
        pipeline = pipeline_on(server, tmp_path, quality=None, concurrency=2)
        delivered_in_all = (await pipeline.run(jobs)).delivered
        assert delivered_in_all == 40

    assert [look.returncode for look in looks] == [0, 0, 0]
    told = [json.loads(look.stdout) for look in looks]
    assert max(one["in_flight"] for one in told) in (1, 2)
    delivered = [one["delivered"] for one in told]
    assert delivered == sorted(delivered)


async def test_repairing_under_a_run_is_refused_in_one_line(tmp_path: Path) -> None:
    async with Checkpoint.open(tmp_path):
        finished = await run("verify", "--repair", str(tmp_path))

    assert finished.returncode == 2
    assert str(os.getpid()) in finished.stderr.decode()
    assert finished.stderr.decode().count("\n") == 1


def closed_pipe(arguments: Sequence[str]) -> tuple[int, bytes]:
    """Run the program with a reader that has gone already; return exit code and errors."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as stdout:
        finished = subprocess.run(
            [str(PROGRAM), *arguments], stdout=stdout, stderr=subprocess.PIPE, check=False
        )
    return finished.returncode, finished.stderr


@pytest.mark.parametrize("command", ["status", "verify", "models", "estimate"])
def test_a_reader_who_has_seen_enough_is_no_error(batch: Path, command: str) -> None:
    arguments = {
        "status": ["status", str(batch)],
        "verify": ["verify", str(batch)],
        "models": ["models", "--json"],
        "estimate": ["estimate", "5", "--accept", "0.5"],
    }[command]

    assert closed_pipe(arguments) == (0, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="there, Ctrl-C goes to the whole console")
def test_ctrl_c_says_nothing(batch: Path, tmp_path: Path) -> None:
    """It waits for somebody to write a config, until it is interrupted."""
    os.mkfifo(tmp_path / "config.toml")
    command = [str(PROGRAM), "models", "--config", str(tmp_path / "config.toml")]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
        (tmp_path / "config.toml").open("wb"),  # returns once the program reads from it
    ):
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=30)

    assert (process.returncode, out, error) == (130, b"", b"")


async def test_simulate_tells_a_script_its_address_and_its_bill() -> None:
    async with await anyio.open_process(
        [str(PROGRAM), "simulate", "--port", "0", "--json"]
    ) as process:
        assert process.stdout is not None
        told = await process.stdout.receive()
        address = json.loads(told)
        process.send_signal(signal.SIGTERM)
        bill = json.loads(await process.stdout.receive())
        code = await process.wait()

    assert address["base_url"].startswith("http://127.0.0.1:")
    assert bill == {"requests": 0, "images": 0, "usd": "0", "usd_by_model": {}}
    assert code == 0
