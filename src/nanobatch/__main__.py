"""The command line: `nanobatch`, or `python -m nanobatch`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_COMMANDS = {
    "demo": ("nanobatch.demo", "make a batch of wallpapers and say what each accepted image costs"),
    "models": ("nanobatch.commands.models", "list models: prices, retirement dates, replacements"),
    "estimate": ("nanobatch.commands.estimate", "say what so many accepted images will cost"),
    "status": ("nanobatch.commands.status", "say how a checkpoint stands"),
    "verify": (
        "nanobatch.checkpoint.command",
        "check a checkpoint, and repair what can be repaired",
    ),
    "report": ("nanobatch.commands.report", "write a page about a run, for a browser"),
    "export": ("nanobatch.commands.export", "write a manifest of the accepted images"),
    "simulate": ("nanobatch.simulator", "serve a local Gemini that draws, bills and costs nothing"),
}
"""Module and line of help of each command; a module is imported when its command is asked for."""


def main(argv: Sequence[str] | None = None) -> int:
    """Hand over to a command; return its exit code.

    Returns:
        What the command returns; 2 if none was named; 130 if it was interrupted.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments and arguments[0] in _COMMANDS:
        return _run(arguments[0], arguments[1:])
    parser = _parser()
    parser.parse_args(arguments)
    parser.print_help(sys.stderr)
    return EXIT_USAGE


def _run(command: str, arguments: list[str]) -> int:
    try:
        module = importlib.import_module(_COMMANDS[command][0])
        exit_code = int(module.main(arguments))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever reads has seen enough, as in `nanobatch status ... | head`
        nowhere = os.open(os.devnull, os.O_WRONLY)  # Python flushes once more when it exits
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return 0
    return exit_code


class _ShowVersion(argparse.Action):
    """Look the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *arguments: object) -> None:
        """Print the version and end the program."""
        del arguments
        version = importlib.import_module("importlib.metadata").version("nanobatch")
        sys.stdout.write(f"nanobatch {version}\n")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nanobatch",
        description="Large batches of images with Gemini image models, at a cost you can state.",
        epilog="`nanobatch COMMAND --help` says more.",
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="print the version")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, (_, line) in _COMMANDS.items():
        commands.add_parser(name, help=line)
    return parser


if __name__ == "__main__":
    sys.exit(main())
