"""`nanobatch status`: how a checkpoint stands, also while a run goes on."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanobatch.checkpoint import Checkpoint
from nanobatch.commands.answer import Answer, estimate_json, new_parser, respond, usd_json
from nanobatch.cost import CostModel
from nanobatch.cost.table import counted, show_percent, show_usd, text_table
from nanobatch.cost.wording import model_rows
from nanobatch.errors import one_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from nanobatch.checkpoint import CheckpointReader, FilterFigures, JobResult
    from nanobatch.cost import LedgerTotals

__all__ = ["main"]

MAX_ENDED = 10
"""Jobs that ended without their images and are named; `--json` names them all."""

_ENDED = "status IN ('stopped', 'refused', 'failed')"


def main(argv: Sequence[str] | None = None) -> int:
    """Say how a checkpoint stands."""
    parser = new_parser(
        "status",
        "Say how a checkpoint stands: jobs, images, cost with its interval, unknown money, "
        "failures, filters. It changes nothing, and a run may go on meanwhile.",
    )
    parser.add_argument("path", type=Path, metavar="FOLDER", help="the checkpoint's folder")
    return respond(parser, argv, _work)


def _work(options: argparse.Namespace) -> Answer:
    with Checkpoint.read(options.path) as checkpoint:
        totals = checkpoint.totals()
        return Answer(
            text="\n\n".join(filter(None, _sections(options.path, checkpoint, totals))),
            json=_json(checkpoint, totals),
        )


def _sections(path: Path, checkpoint: CheckpointReader, totals: LedgerTotals) -> list[str]:
    jobs = ", ".join(f"{n:,} {status}" for status, n in sorted(checkpoint.statuses().items()))
    in_flight = len(checkpoint.moment().in_flight)
    if in_flight:
        jobs += f"; {counted(in_flight, 'request')} in flight, counted as unknown money"
    model = CostModel.from_totals(totals)
    return [
        one_line(f"{path}: {jobs or 'no jobs'}"),
        text_table(model_rows(model, totals), words=2),
        _batch_jobs(checkpoint),
        _failures(checkpoint),
        _filters(checkpoint.filters()),
        _ended(checkpoint),
    ]


def _batch_jobs(checkpoint: CheckpointReader) -> str:
    """Return the batch jobs that slots still wait for."""
    jobs = [job for job in checkpoint.batch_jobs() if job.waiting]
    if not jobs:
        return ""
    rows = [
        (one_line(job.name or job.display_name), one_line(job.state), f"{job.slots:,}",
         f"{job.waiting:,}", f"{job.at:%Y-%m-%d %H:%M} UTC")
        for job in jobs
    ]  # fmt: skip
    return text_table([("batch job", "state", "slots", "waiting", "since"), *rows], words=1)


def _failures(checkpoint: CheckpointReader) -> str:
    kinds = checkpoint.failure_kinds()
    if not kinds:
        return ""
    rows = [(one_line(kind), f"{times:,}", show_usd(usd)) for kind, times, usd in kinds]
    return text_table([("failure", "times", "USD"), *rows], words=1)


def _filters(filters: tuple[FilterFigures, ...]) -> str:
    if not filters:
        return ""
    rows = [
        (
            one_line(one.name),
            f"{one.asked:,}",
            f"{one.rejected:,}",
            show_percent(one.reject_share),
            show_usd(one.usd),
            "" if one.usd_per_rejection is None else show_usd(one.usd_per_rejection),
        )
        for one in filters
    ]
    header = ("filter", "asked", "rejected", "share", "USD", "USD per rejection")
    return text_table([header, *rows], words=1)


def _ended(checkpoint: CheckpointReader) -> str:
    """Return the first jobs that ended without all their images, and why."""
    jobs = list(islice(checkpoint.jobs_where(_ENDED), MAX_ENDED + 1))
    lines = [
        one_line(f"{job.id}: {job.status}, {len(job.images)} of {job.want}. {job.reason}".rstrip())
        for job in jobs[:MAX_ENDED]
    ]
    if len(jobs) > MAX_ENDED:
        lines.append("There are more; --json names them all.")
    return "\n".join(lines)


def _json(checkpoint: CheckpointReader, totals: LedgerTotals) -> dict[str, Any]:
    model = CostModel.from_totals(totals)
    return {
        "jobs": {str(status): jobs for status, jobs in checkpoint.statuses().items()},
        "wanted": totals.wanted,
        "delivered": totals.delivered,
        "fill_rate": totals.fill_rate,
        "slots": totals.slots,
        "calls": totals.calls,
        "accepted": totals.accepted,
        "in_flight": len(checkpoint.moment().in_flight),
        "usd_per_accepted": usd_json(model.usd_per_accepted),
        "usd_per_accepted_estimate": estimate_json(model.estimate()),
        "accept_rate": estimate_json(model.accept),
        "regeneration_rate": estimate_json(model.regeneration),
        "confirmed_usd": usd_json(totals.spend_usd),
        "unknown_usd": usd_json(totals.unknown_usd),
        "batch_jobs": [
            {
                "name": job.name,
                "display_name": job.display_name,
                "model": job.model_id,
                "state": job.state,
                "slots": job.slots,
                "waiting": job.waiting,
                "at": job.at.isoformat(),
            }
            for job in checkpoint.batch_jobs()
        ],
        "failures": [
            {"kind": kind, "times": times, "usd": usd_json(usd)}
            for kind, times, usd in checkpoint.failure_kinds()
        ],
        "filters": [
            {
                "name": one.name,
                "asked": one.asked,
                "rejected": one.rejected,
                "reject_share": one.reject_share,
                "usd": usd_json(one.usd),
                "unknown_usd": usd_json(one.unknown_usd),
                "usd_per_rejection": usd_json(one.usd_per_rejection),
            }
            for one in checkpoint.filters()
        ],
        "ended": [_job_json(job) for job in checkpoint.jobs_where(_ENDED)],
    }


def _job_json(job: JobResult) -> dict[str, Any]:
    return {
        "id": job.id,
        "status": str(job.status),
        "want": job.want,
        "images": len(job.images),
        "reason": job.reason,
        "confirmed_usd": usd_json(job.spend.confirmed_usd),
        "unknown_usd": usd_json(job.spend.unknown_usd),
    }
