"""What a command answers, for a person or for a script, and how it says that it cannot."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

from nanobatch.errors import NanobatchError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nanobatch.cost import Estimate

__all__ = [
    "EXIT_CODES",
    "EXIT_FINDINGS",
    "EXIT_OK",
    "EXIT_USAGE",
    "Answer",
    "estimate_json",
    "new_parser",
    "respond",
    "usd_json",
]

EXIT_OK = 0
EXIT_FINDINGS = 1
EXIT_USAGE = 2
EXIT_CODES = (
    "Exit code: 0 fine, 1 it found something you should act on, 2 it could not be done as asked."
)

Json: TypeAlias = "dict[str, Any]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command found out."""

    text: str
    """For a person, without the last line end; only printable characters and line ends."""

    json: Json
    """The same for a script."""

    exit_code: int = EXIT_OK


def new_parser(command: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of a command, which knows `--json` already."""
    parser = argparse.ArgumentParser(
        prog=f"nanobatch {command}", description=description, epilog=EXIT_CODES
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def respond(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    work: Callable[[argparse.Namespace], Answer],
) -> int:
    """Do what a command was asked for, print its answer and return the exit code.

    An error of ours is one line: on standard error, or with `--json` an object with the one key
    `error` on standard output.
    """
    options = parser.parse_args(argv)
    try:
        answer = work(options)
    except NanobatchError as error:
        sentence = one_line(str(error))
        if options.json:
            sys.stdout.write(f"{json.dumps({'error': sentence})}\n")
        else:
            sys.stderr.write(f"{parser.prog}: {sentence}\n")
        return EXIT_USAGE
    text = json.dumps(answer.json, default=_as_json, indent=2) if options.json else answer.text
    sys.stdout.write(f"{text}\n")
    return answer.exit_code


def usd_json(amount: Decimal | None) -> str | None:
    """Return an amount as a string of digits; `None` if there is none, or it is unknown."""
    return f"{amount:f}" if amount is not None and amount.is_finite() else None


def estimate_json(estimate: Estimate | None) -> Json | None:
    """Return an estimate as an object; bounds that are not known are `null`."""
    if estimate is None:
        return None
    return {
        "value": usd_json(estimate.value),
        "low": usd_json(estimate.low),
        "high": usd_json(estimate.high),
        "slots": estimate.n,
        "level": estimate.level,
    }


def _as_json(value: object) -> str | None:
    if isinstance(value, Decimal):
        return usd_json(value)
    if isinstance(value, date):  # a datetime is one too
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no form in JSON.")
