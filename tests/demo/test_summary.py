"""What the summary says of the filters."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from nanobatch import Ended, Job, Verdict
from nanobatch.demo.figures import Standing
from nanobatch.demo.summary import summary
from tests.support import pipeline_on, simulator

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch import Candidate


class Rejects:
    """Rejects the first so many candidates it is asked about, at a price."""

    def __init__(self, name: str, times: int, usd: str = "0") -> None:
        self.name = name
        self.worst_case_usd = Decimal(usd)
        self._left = times

    def __call__(self, candidate: Candidate) -> Verdict:
        self._left -= 1
        return Verdict(accepted=self._left < 0, reason="no", usd=self.worst_case_usd)


async def test_it_shows_what_each_filter_rejects_and_costs_in_the_order_of_asking(
    tmp_path: Path,
) -> None:
    jobs = [Job(id="a", prompt="a fox", want=3)]
    filters = [Rejects("size", 2), Rejects("judge", 1, usd="0.02")]

    async with simulator() as server:
        pipeline = pipeline_on(server, tmp_path, quality=None, filters=filters, concurrency=1)
        await pipeline.run(jobs)

    # Six candidates: two stop at `size`, one at `judge`, three are accepted.
    assert (
        "Filters, as they are asked  judged  rejected   share     USD\n"
        "--------------------------  ------  --------  ------  ------\n"
        "size                             6         2  33.3 %  0.0000\n"
        "judge                            4         1  25.0 %  0.0800\n"
    ) in summary(Standing.read(tmp_path, jobs), ended=Ended.COMPLETE) + "\n"


def test_without_a_run_there_is_no_such_table(tmp_path: Path) -> None:
    standing = Standing.read(tmp_path, [Job(id="a", prompt="a fox")])

    assert "Filters" not in summary(standing, ended=Ended.BUDGET)
