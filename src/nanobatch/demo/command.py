"""`nanobatch demo`: a whole batch, from the prompts to the bill."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from nanobatch import filters
from nanobatch.backend import Gemini
from nanobatch.demo.consent import (
    Painter,
    check_painter,
    find_key,
    note_painter,
    wants_to_spend,
)
from nanobatch.demo.figures import Standing
from nanobatch.demo.screen import Tally, watching
from nanobatch.demo.summary import bill_check, summary
from nanobatch.demo.text import counted, printable, say, sentence
from nanobatch.demo.world import simulated
from nanobatch.errors import ConfigError, NanobatchError
from nanobatch.job import read_jobs
from nanobatch.models import ModelRegistry
from nanobatch.pipeline import Ended, TwoTierPipeline
from nanobatch.policy import Budget
from nanobatch.report import write_html

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanobatch.job import Job
    from nanobatch.pipeline import RunResult
    from nanobatch.simulator import Simulator

__all__ = ["main"]

LITE = "lite"
QUALITY = "gemini-3-pro-image"  # four times the price of Lite, so that the tiers differ
PAGE = "report.html"
MIN_BYTES = 40_000
QUICK_MIN_BYTES = 2_000
"""Small pictures are small files."""

EXIT_USAGE = 2
EXIT_EARLY = 3
EXIT_CANCELLED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """What the command line asks for."""

    jobs: tuple[Job, ...]
    out: Path
    budget: Budget
    concurrency: int
    seed: int
    is_quick: bool
    is_agreed: bool
    command: str
    """How to start it again."""

    def pipeline(self, backend: Gemini, *, budget: Budget | None = None) -> TwoTierPipeline:
        """Return the pipeline of the batch."""
        return TwoTierPipeline(
            backend,
            lite=LITE,
            quality=QUALITY,
            filters=[
                filters.MinBytes(QUICK_MIN_BYTES if self.is_quick else MIN_BYTES),
                filters.Decodes(),
                filters.AspectRatio(),
                filters.NotBlank(),
            ],
            checkpoint=self.out,
            budget=budget or self.budget,
            concurrency=self.concurrency,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit code.

    Returns:
        0: every prompt was worked off; 2: it was not started; 3: it ended early, the text says
        why; 130: it was interrupted and can go on.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        return _run(_read(arguments))
    except NanobatchError as error:
        _complain(error)
        return EXIT_USAGE
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. The same command goes on where it stopped.\n")
        return EXIT_CANCELLED


def _read(arguments: list[str]) -> _Batch:
    options = _parser().parse_args(arguments)
    if options.jobs is not None:
        jobs = tuple(read_jobs(options.jobs))
    else:
        with as_file(files("nanobatch.demo") / "wallpapers.jsonl") as path:
            jobs = tuple(read_jobs(path))
    return _Batch(
        jobs=jobs,
        out=options.out,
        budget=Budget(options.budget),
        concurrency=options.concurrency,
        seed=options.seed,
        is_quick=options.quick,
        is_agreed=options.yes,
        command=shlex.join(["python", "-m", "nanobatch", "demo", *arguments]),
    )


def _run(batch: _Batch) -> int:
    before = Standing.read(batch.out, batch.jobs)
    _introduce(batch, before)
    key = find_key()
    if key is not None:
        return _run_on_gemini(batch, before, key)
    check_painter(batch.out, Painter.SIMULATOR, is_new=before.is_new)
    note_painter(batch.out, Painter.SIMULATOR)
    # What the simulator answers depends on how often it was asked in this process. With another
    # seed for every start, a hard prompt does not meet the same bad luck again.
    seed = batch.seed + before.calls
    quality = ModelRegistry.builtin()[QUALITY].id
    with simulated(batch.jobs, quality=quality, seed=seed, is_quick=batch.is_quick) as simulator:
        backend = Gemini(api_key="simulated", base_url=simulator.base_url)
        return _carry_out(batch, before, batch.pipeline(backend), simulator=simulator)


def _run_on_gemini(batch: _Batch, before: Standing, key: str) -> int:
    if batch.is_quick:
        raise ConfigError(f"--quick is for the simulator, but {key} is set.")
    check_painter(batch.out, Painter.GEMINI, is_new=before.is_new)
    spent = before.spend.worst_case_usd
    if not before.missing:  # nobody is asked, so the cap sees to it that nothing is spent
        return _carry_out(batch, before, batch.pipeline(Gemini(), budget=Budget(spent)))
    most = max((batch.budget.usd or Decimal(0)) - spent, Decimal(0))
    if not wants_to_spend(most, key=key, is_agreed=batch.is_agreed):
        say("Nothing was sent.")
        return EXIT_USAGE
    note_painter(batch.out, Painter.GEMINI)
    return _carry_out(batch, before, batch.pipeline(Gemini()))


def _introduce(batch: _Batch, before: Standing) -> None:
    """Say what is going to happen, and what it may cost."""
    registry = ModelRegistry.builtin()
    prompts = counted(len(batch.jobs), "prompt")
    say(f"{prompts}, {counted(before.wanted, 'image')} wanted, concurrency {batch.concurrency}")
    for tier, role in (("Lite", LITE), ("quality", QUALITY)):
        model = registry[role]
        say(f"{tier:<8} {model.id}, USD {model.usd_per_image():.4f} an image of 1K")
    if not before.is_new:
        say(sentence(f"{batch.out} has {before.delivered} of {before.wanted} images already."))
    if before.missing:
        say(sentence(f"Forecast {batch.pipeline(Gemini()).forecast(before.missing).sentence}"))
    key = find_key()
    if key is None:
        who = "A simulated Gemini draws and bills on this machine: no API key is set, no money is"
        say(sentence(f"{who} spent. Ctrl-C ends it in order; the same command goes on."))
    else:
        spent = before.spend.worst_case_usd
        say(
            sentence(
                f"Gemini draws, and the account of {key} pays. The most that {batch.out} may ever "
                f"cost is USD {batch.budget.usd:.2f} (--budget); USD {spent:.2f} of it is used. "
                "Ctrl-C ends it in order; the same command goes on."
            )
        )
    say()


def _carry_out(
    batch: _Batch,
    before: Standing,
    pipeline: TwoTierPipeline,
    *,
    simulator: Simulator | None = None,
) -> int:
    tally = Tally.of(before)
    try:
        with watching(tally) as progress:
            result = pipeline.run_sync(batch.jobs, progress=progress)
    except NanobatchError as error:
        _complain(error)
        return EXIT_EARLY if tally.has_begun else EXIT_USAGE
    after = Standing.read(batch.out, batch.jobs)
    say(f"\n{_ending(result, tally)}\n\n{summary(after, ended=result.ended)}\n")
    if simulator is not None:
        say(bill_check(billed_usd=simulator.bill.usd, before=before, after=after))
    say(sentence(f"The images are in {batch.out / 'images'}, the ledger is beside them."))
    _write_page(batch.out)
    if result.ended is Ended.COMPLETE:
        return 0
    how = "a higher --budget: " if result.ended is Ended.BUDGET else ""
    say(sentence(f"Go on with {how}{batch.command}"))
    return EXIT_CANCELLED if result.ended is Ended.CANCELLED else EXIT_EARLY


def _write_page(out: Path) -> None:
    """Write the page to look at; a demo without it is still a demo."""
    try:
        page = write_html(out, out / PAGE)
    except NanobatchError as error:
        say(sentence(f"There is no page to look at: {printable(str(error))}"))
        return
    say(sentence(f"All of it on one page, for your browser: {page.as_uri()}"))


def _complain(error: NanobatchError) -> None:
    sys.stderr.write(f"nanobatch demo: {printable(str(error))}\n")


def _ending(result: RunResult, tally: Tally) -> str:
    if result.ended is Ended.COMPLETE and not tally.requests:
        return "Complete: nothing was missing, so no request was sent."
    return sentence(f"Ended: {result.ended}. {result.reason}".strip())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nanobatch demo",
        description="Make a batch of wallpapers and say what each accepted image costs. With "
        "GEMINI_API_KEY set it talks to Google, after a question; without, to a simulated Gemini.",
    )
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for all of it (out)")
    parser.add_argument(
        "--concurrency", type=int, default=16, metavar="N", help="most requests in flight (16)"
    )
    parser.add_argument(
        "--budget", default="25", metavar="USD", help="the most the folder may ever cost (25)"
    )
    parser.add_argument("--yes", action="store_true", help="spend up to the budget without asking")
    parser.add_argument(
        "--jobs", type=Path, metavar="FILE", help="your own prompts, .jsonl, .csv or .txt"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed is other luck (0)")
    parser.add_argument(
        "--quick", action="store_true", help="small pictures from the simulator, for a fast look"
    )
    return parser
