"""Pipelines that order from the simulator's batch jobs, and the check of their books."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from nanobatch import BatchOptions, Budget, Checkpoint, Gemini, Job, TwoTierPipeline
from nanobatch.simulator import batch
from tests.support import NO_WAIT, PRO, simulator

if TYPE_CHECKING:
    from pathlib import Path

    from nanobatch import Failure, LedgerLine
    from nanobatch.simulator import Simulator

__all__ = [
    "QUICK",
    "Lines",
    "by_batch",
    "check_books",
    "failures",
    "jobs",
    "ledger",
    "provider",
    "worst_usd",
]

QUICK = batch.Polls(pending=0, running=1)
POLL_SECONDS = 0.05
"""So long a batch job waits for further orders, too: all of a test go into one."""


class Lines(frozenset[str]):
    """The lines of some calls, by the end of their keys; how a key begins nobody knows before."""

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.rpartition("-")[2] in set(self)


def provider(**settings: Any) -> Simulator:
    """Return a simulator that accepts every image; what it does not know is for its batches."""
    own: dict[str, Any] = {"accept_rate": 1.0}
    own |= {name: settings.pop(name) for name in ("answer", "accept_rate") if name in settings}
    settings.setdefault("schedule", QUICK)
    return simulator(**own, batch=batch.Settings(**settings))


def by_batch(
    server: Simulator,
    folder: Path,
    *,
    backend: type[Gemini] = Gemini,
    batch_options: dict[str, Any] | None = None,
    **options: Any,
) -> TwoTierPipeline:
    """Return a pipeline that orders from batch jobs and looks at them all the time."""
    chosen: dict[str, Any] = {"poll_seconds": POLL_SECONDS}
    chosen |= batch_options or {}
    defaults: dict[str, Any] = {
        "quality": PRO,
        "checkpoint": folder,
        "budget": Budget.unlimited(),
        "concurrency": 4,
        "retry": NO_WAIT,
        "batch": BatchOptions(**chosen),
    }
    opened = backend(api_key="simulated", base_url=server.base_url)
    return TwoTierPipeline(opened, **{**defaults, **options})


def jobs(count: int, **fields: Any) -> list[Job]:
    """Return jobs `j0`, `j1`, ... with prompts of six bytes."""
    return [
        Job.model_validate({"id": f"j{n}", "prompt": f"dune {n}", "route": "lite", **fields})
        for n in range(count)
    ]


def worst_usd(calls: int) -> Decimal:
    """Return the worst case of so many calls of `jobs`: Lite stops at 4,096 output tokens.

    15 USD a million output tokens and 0.125 a million of input, by batch; a byte is a token.
    """
    return calls * (Decimal(4096) * 15 + Decimal(6) * Decimal("0.125")) / 10**6


def ledger(folder: Path) -> list[LedgerLine]:
    with Checkpoint.read(folder) as checkpoint:
        return list(checkpoint.ledger())


def failures(folder: Path) -> list[Failure]:
    with Checkpoint.read(folder) as checkpoint:
        return list(checkpoint.failures())


async def check_books(
    server: Simulator, folder: Path, *, unknown: Decimal | int = 0, uploads_left: int = 0
) -> None:
    """Check that nothing was bought twice, lost or left behind, and that the ledger is the bill.

    Args:
        server: Where everything was bought; what still goes on there comes to its end now.
        folder: The checkpoint.
        unknown: Unknown money in USD; the bill lies within it.
        uploads_left: Uploads at the provider whose name nobody can know.
    """
    await server.batches.finish()
    assert not server.batches.keys_submitted_twice
    assert not server.batches.keys_executed_twice
    with Checkpoint.read(folder) as checkpoint:
        spend = checkpoint.spend
        assert spend.unknown_usd == unknown
        assert spend.confirmed_usd <= server.bill.usd <= spend.worst_case_usd
        report = checkpoint.verify()
        assert report.is_clean, report
        drawn = Counter(line.prompt for line in server.bill.lines if line.nano_usd)
        slots = {
            (line.job_id, line.call)
            for line in checkpoint.ledger()
            if line.kind == "call" and line.outcome != "unbilled"
        }
        assert drawn.total() <= len(slots)
        if not unknown:
            assert len(list(checkpoint.candidates())) == server.bill.images
        for image in checkpoint.images():
            assert image.path.is_file()
    assert not list((folder / "batches").iterdir())
    assert len(server.batches.uploads_left) == uploads_left
