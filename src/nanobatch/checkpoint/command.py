"""`nanobatch verify`: says what is wrong with a checkpoint, and repairs it if asked."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nanobatch.checkpoint.checkpoint import Checkpoint
from nanobatch.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanobatch.checkpoint.records import VerifyReport

__all__ = ["main"]

EXIT_CLEAN = 0
EXIT_FINDINGS = 1
EXIT_UNREADABLE = 2

REPAIRABLE = "`--repair` puts right what can be; it deletes nothing. Copy the folder first."
BEYOND_REPAIR = (
    "This could not be repaired. Put missing files back anywhere in the folder and repair again; "
    "`--forget-missing` gives them up and has new ones drawn."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Check a checkpoint; return 0 if it is clean, 1 with findings, 2 if it cannot be read."""
    options = _parser().parse_args(argv)
    folder: Path = options.path
    is_repair = options.repair or options.forget_missing
    done: tuple[str, ...] = ()
    try:
        if is_repair:
            repaired = Checkpoint.repair(folder, forget_missing=options.forget_missing)
            done, report = repaired.done, repaired.after
        else:
            with Checkpoint.read(folder) as checkpoint:
                report = checkpoint.verify()
    except CheckpointError as error:
        text = json.dumps({"error": str(error)}) if options.json else str(error)
        (sys.stdout if options.json else sys.stderr).write(f"{_plain(text)}\n")
        return EXIT_UNREADABLE
    hint = BEYOND_REPAIR if is_repair else REPAIRABLE
    text = _as_json(report, done) if options.json else _as_text(folder, report, done, hint=hint)
    sys.stdout.write(f"{text}\n")
    return EXIT_CLEAN if report.is_clean else EXIT_FINDINGS


def _as_json(report: VerifyReport, done: Sequence[str]) -> str:
    return json.dumps(
        {
            "is_clean": report.is_clean,
            "images": report.images,
            "staged": report.staged,
            "done": list(done),
            "faults": list(report.faults),
        },
        indent=2,
    )


def _as_text(folder: Path, report: VerifyReport, done: Sequence[str], *, hint: str) -> str:
    lines = [f"Checked {folder}: {report.images} accepted and {report.staged} staged images."]
    if done:
        lines += ["", "Done:", *(f"  {sentence}" for sentence in done)]
    if report.is_clean:
        lines += ["", "Everything is as it should be."]
    else:
        lines += ["", "Wrong:", *(f"  {fault}" for fault in report.faults), "", hint]
    return "\n".join(_plain(line) for line in lines)


def _plain(text: str) -> str:
    """Return a text that a terminal only shows: names of files may hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nanobatch verify",
        description="Check a checkpoint: its database, its rows, and every file by its hash.",
        epilog="Exit code: 0 clean, 1 something is wrong, 2 it cannot be read.",
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="the checkpoint's folder")
    parser.add_argument(
        "--repair", action="store_true", help="put right what can be; deletes nothing"
    )
    parser.add_argument(
        "--forget-missing",
        action="store_true",
        help="repair, and give up images whose files are nowhere: new ones are drawn",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser
