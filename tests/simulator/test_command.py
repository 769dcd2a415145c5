"""The simulator as a program: says where it is, prints its bill when it is stopped."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import httpx2
import pytest

from nanobatch.simulator import Simulator, answers, main
from nanobatch.simulator.command import bill_table
from tests.simulator.batching import at_once, jsonl, results_of, sdk
from tests.simulator.wire import KEY, LITE, body, send

PROGRAM = "import sys; from nanobatch.simulator import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM ends a process there without a word")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_stopped_and_then_prints_its_bill(stop: signal.Signals) -> None:
    command = [sys.executable, "-c", PROGRAM, "--port", "0", "--seed", "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", first)
        assert url is not None
        asked = body("a fox", imageConfig={"imageSize": "9K"})
        path = f"{url[0]}/v1beta/models/{LITE}:generateContent"
        refused = httpx2.post(path, json=asked, headers=KEY)
        started = time.monotonic()
        process.send_signal(stop)
        rest = process.stdout.read()

    assert refused.status_code == 400
    assert f'Gemini(api_key="anything", base_url="{url[0]}")' in rest
    assert re.search(rf"{LITE} +1 +0 +0\.000000", rest)
    assert re.search(r"total +1 +0 +0\.000000", rest)
    assert process.returncode == 0
    assert time.monotonic() - started < 5


def test_a_rate_that_is_none_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--accept-rate", "1.5", "--port", "0"])

    assert code == 2
    assert "accept_rate must be between 0 and 1, not 1.5." in capsys.readouterr().err


@pytest.mark.anyio
async def test_batches_have_a_line_of_their_own_in_the_table() -> None:
    async with (
        Simulator(answer=lambda _: answers.text_only("eight by"), batch=at_once()) as simulator,
        sdk(simulator) as client,
    ):
        await send(simulator, body("a fox"))
        await results_of(client, jsonl(("a", "a fox")))

    rows = [row.split() for row in bill_table(simulator.bill).splitlines()[2:]]
    assert rows == [
        [LITE, "1", "0", "0.000004"],  # 2 x 250 + 2 x 1,500 = 3,500 nano-dollars, rounded
        [LITE, "(batch)", "1", "0", "0.000002"],  # half of it: 1,750
        ["total", "2", "0", "0.000005"],
    ]
