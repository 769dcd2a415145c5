"""How long a call waits before it is tried again: at least as long as the server asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nanobatch import Ended, Job
from nanobatch.simulator import Answer, Call, answers
from tests.support import pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_call_is_not_tried_again_before_the_server_said(tmp_path: Path) -> None:
    came: list[float] = []

    def answer(call: Call) -> Answer | None:
        came.append(time.monotonic())
        return answers.rate_limited(retry_after_seconds=0.4) if call.nth == 0 else None

    async with simulator(answer=answer) as server:
        # The pipeline's own waits are a millisecond.
        result = await pipeline_on(server, tmp_path).run([Job(id="a", prompt="x")])

    assert result.ended is Ended.COMPLETE
    assert len(came) == 2
    assert came[1] - came[0] >= 0.4
