"""A long batch under all faults at once finishes, and no answer can fill the memory.

`NANOBATCH_LOAD_JOBS=1000` makes it the long version, `pytest -rP` shows the figures.
"""

from __future__ import annotations

import json
import os
import sys
from decimal import Decimal
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio
import pytest

from nanobatch import Checkpoint
from nanobatch.simulator import answers
from tests.load.hostile import GIB, MIB
from tests.load.mix import CONCURRENCY, ENDS_THE_RUN, MILD, Mix
from tests.support import linux_only, simulator

JOBS = int(os.environ.get("NANOBATCH_LOAD_JOBS", "230"))
MOST_MIB = 300
ROOT = Path(__file__).parents[2]


def test_every_kind_of_answer_is_in_the_mix() -> None:
    kinds = {kind.partition(",")[0] for kind in MILD}
    to_questions = {"judgement", "says"}  # this batch asks for images only

    assert kinds | ENDS_THE_RUN | {"image"} | to_questions == set(answers.__all__)


@linux_only
@pytest.mark.timeout(60 + 2 * JOBS)
async def test_a_batch_under_faults_finishes_in_little_memory(tmp_path: Path) -> None:
    mix = Mix()
    arguments = [sys.executable, "-m", "tests.load.batch"]

    async with simulator(answer=mix, pixels=0.2) as server:
        arguments += [server.base_url, str(tmp_path), str(JOBS)]
        finished = await anyio.run_process(arguments, cwd=ROOT, stderr=PIPE, check=False)
    assert finished.returncode == 0, finished.stderr.decode()
    report: dict[str, Any] = json.loads(finished.stdout)
    faults = sum(mix.counts.values())
    figures = f"{JOBS} jobs, {server.bill.requests} calls, {faults} faults"
    print(f"{figures}, peak {report['peak_mib']:.0f} MiB")  # noqa: T201 - pytest -rP shows it

    # The faults did happen: all kinds, a fifth of all calls, eight times 1 GiB at once.
    assert set(mix.counts) == mix.kinds
    assert faults > 0.2 * server.bill.requests
    assert server.bill.peak_in_flight >= CONCURRENCY
    assert mix.counts["large_body"] >= CONCURRENCY
    assert all(body.client_left and body.offered_bytes == GIB for body in mix.large)
    assert sum(body.sent_bytes for body in mix.large) > 300 * MIB
    # Every job ended as its faults say.
    assert report["ended"] == "complete"
    assert report["statuses"] == {f"job-{n}": mix.expected(n) for n in range(JOBS)}
    # The bill is what is confirmed, or was known to be possible.
    confirmed, worst = Decimal(report["confirmed_usd"]), Decimal(report["worst_case_usd"])
    assert confirmed <= server.bill.usd <= worst
    with Checkpoint.read(tmp_path) as checkpoint:
        assert checkpoint.verify().is_clean
    assert report["peak_mib"] < MOST_MIB
