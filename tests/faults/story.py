"""One run over a table of faults, and what its user sees of every job afterwards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from nanobatch import Budget, Checkpoint, Gemini, Job, JobStatus, TwoTierPipeline
from nanobatch.simulator import answers
from tests.support import LITE, NO_WAIT, PRO, pipeline_on, simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from _pytest.mark import ParameterSet

    from nanobatch import AcceptedImage, Ended
    from nanobatch.simulator import Answer, BillLine

USD_PER_MILLION = {LITE: (Decimal("0.25"), Decimal("1.5"), Decimal(30))}
"""List prices of input, text and image tokens, typed here by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of a table: what the first requests of a job get; all later ones get an image."""

    fault: str
    """Its id in docs/reference/faults.md."""
    name: str
    """Of the job, and its prompt."""
    first: tuple[Answer, ...]
    """In the order of the requests."""
    kinds: tuple[str, ...] = ()
    """Of the failures that the run must show, in their order."""
    says: str = ""
    """A piece of what the first failure must say."""
    unknown: bool = False
    """Whether the first answer is unknown money."""
    kept: bytes | None = None
    """What must lie in `quarantine/` afterwards; `None` if nothing."""
    expected: tuple[object, ...] = ()
    """Whatever else a table wants of the job."""

    @property
    def param(self) -> ParameterSet:
        """The case as a test of its own, with its mark."""
        return pytest.param(
            self, id=f"{self.fault} {self.name}", marks=pytest.mark.fault(self.fault)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a user sees of one job, and what the provider has of it."""

    ended: Ended
    status: JobStatus
    reason: str
    images: tuple[AcceptedImage, ...]
    slots: int
    calls: int
    confirmed_usd: Decimal
    unknown_usd: Decimal
    kinds: tuple[str, ...]
    messages: tuple[str, ...]
    states: tuple[tuple[str, str], ...]
    """State and reason of every image that came, in their order."""
    quarantine: tuple[bytes, ...]
    rejected: tuple[Path, ...]
    """Files of rejected and broken images that were kept."""
    bill: tuple[BillLine, ...]


def told_by(
    cases: Sequence[Case], folder: Path, *, job: Mapping[str, Any] | None = None, **options: Any
) -> dict[str, Told]:
    """Run all cases as the jobs of one run; return what became of each."""
    first = {case.name: case.first for case in cases}

    async def run() -> dict[str, Told]:
        async with simulator(
            answer=lambda call: (
                first[call.prompt][call.nth] if call.nth < len(first[call.prompt]) else None
            )
        ) as server:
            jobs = [
                Job.model_validate({"id": name, "prompt": name, "route": "lite", **(job or {})})
                for name in first
            ]
            result = await pipeline_on(server, folder, concurrency=4, **options).run(jobs)
        with Checkpoint.read(folder) as checkpoint:
            ledger, images = list(checkpoint.ledger()), list(checkpoint.candidates())
        failures = list(result.failures)
        return {
            name: Told(
                ended=result.ended,
                status=one.status,
                reason=one.reason,
                images=one.images,
                slots=one.slots,
                calls=one.calls,
                confirmed_usd=one.spend.confirmed_usd,
                unknown_usd=one.spend.unknown_usd,
                kinds=tuple(f.kind for f in failures if f.job_id == name),
                messages=tuple(f.message for f in failures if f.job_id == name),
                states=tuple((str(c.state), c.reason) for c in images if c.job_id == name),
                quarantine=tuple(
                    path.read_bytes()
                    for call in dict.fromkeys(
                        line.call for line in ledger if line.job_id == name and line.call
                    )
                    if (path := folder / "quarantine" / f"{call}.bin").exists()
                ),
                rejected=tuple(
                    c.path
                    for c in images
                    if c.job_id == name and c.path is not None and c.path.parent.name == "rejected"
                ),
                bill=tuple(line for line in server.bill.lines if line.prompt == name),
            )
            for name, one in result.jobs.items()
        }

    return anyio.run(run)


def pipeline_at(base_url: str, folder: Path, **options: Any) -> TwoTierPipeline:
    """As `tests.support.pipeline_on`, for an address at which something else may be listening."""
    defaults: dict[str, Any] = {
        "quality": PRO,
        "checkpoint": folder,
        "budget": Budget.unlimited(),
        "retry": NO_WAIT,
    }
    backend = Gemini(
        api_key="k", base_url=base_url, timeout_seconds=options.pop("timeout_seconds", None)
    )
    return TwoTierPipeline(backend, **{**defaults, **options})


def usd_of(lines: Sequence[BillLine]) -> Decimal:
    """What these answers cost by their tokens and the list price of Lite."""
    input_rate, text_rate, image_rate = USD_PER_MILLION[LITE]
    return (
        sum(
            (
                line.prompt_tokens * input_rate
                + line.text_tokens * text_rate
                + line.image_tokens * image_rate
                for line in lines
            ),
            Decimal(0),
        )
        / 1_000_000
    )


def worst_case_usd(prompt: str) -> Decimal:
    """4,096 output tokens at USD 30 and a token a byte of prompt at USD 0.25 per million."""
    return Decimal("0.12288") + len(prompt.encode()) * Decimal("0.00000025")


def in_json(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """Turn a change of the parsed answer into one of its body."""

    def changed(body: bytes) -> bytes:
        answer = json.loads(body)
        change(answer)
        return json.dumps(answer).encode()

    return changed


def reshaped(change: Callable[[dict[str, Any]], object], of: Answer | None = None) -> Answer:
    """A good answer, or another one, whose JSON is changed on the way."""
    return answers.altered(in_json(change), of)
