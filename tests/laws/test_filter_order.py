"""Law: the order of filters cannot turn a rejection into an acceptance."""

from __future__ import annotations

from itertools import permutations, product
from typing import TYPE_CHECKING

from nanobatch import Budget, Candidate, Gemini, Job, JobStatus, StopRule, TwoTierPipeline, Verdict
from tests.support import simulator

if TYPE_CHECKING:
    from pathlib import Path


class Says:
    """A filter with a fixed opinion."""

    def __init__(self, name: str, *, accepts: bool) -> None:
        self.name = name
        self.accepts = accepts

    def __call__(self, candidate: Candidate) -> Verdict:
        return Verdict.accept() if self.accepts else Verdict.reject(f"{self.name} says no")


async def test_a_candidate_passes_if_and_only_if_every_filter_accepts_in_every_order(
    tmp_path: Path,
) -> None:
    async with (
        simulator(pixels=0.1) as server,
        Gemini(api_key="simulated", base_url=server.base_url) as backend,
    ):
        for number, opinions in enumerate(product([True, False], repeat=3)):
            names = ("red", "green", "blue")
            says = [Says(n, accepts=a) for n, a in zip(names, opinions, strict=True)]
            for order, chain in enumerate(permutations(says)):
                pipeline = TwoTierPipeline(
                    backend,
                    filters=chain,
                    stop=StopRule(1),
                    checkpoint=tmp_path / f"{number}-{order}",
                    budget=Budget.unlimited(),
                )

                result = await pipeline.run([Job(id="a", prompt="x")])

                job = result.jobs["a"]
                expected = JobStatus.DONE if all(opinions) else JobStatus.STOPPED
                assert job.status is expected
                first_no = next((one.name for one in chain if not one.accepts), "")
                assert f"{first_no} says no" in job.reason or all(opinions)
