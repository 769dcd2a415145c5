"""The command line: `python -m nanobatch demo`, `simulate` and `verify`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["main"]

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def _demo(arguments: Sequence[str]) -> int:
    from nanobatch import demo  # noqa: PLC0415 - `--help` needs none of it

    return demo.main(arguments)


def _simulate(arguments: Sequence[str]) -> int:
    from nanobatch import simulator  # noqa: PLC0415 - as above

    return simulator.main(arguments)


def _verify(arguments: Sequence[str]) -> int:
    from nanobatch.checkpoint import command  # noqa: PLC0415 - as above

    return command.main(arguments)


_COMMANDS: dict[str, tuple[str, Callable[[Sequence[str]], int]]] = {
    "demo": ("make a batch of wallpapers and say what each accepted image costs", _demo),
    "simulate": ("serve a local Gemini that draws, bills and costs nothing", _simulate),
    "verify": ("check a checkpoint, and repair what can be repaired", _verify),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Hand over to a command; return its exit code, 2 if none was named."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments and arguments[0] in _COMMANDS:
        _, run = _COMMANDS[arguments[0]]
        try:
            return run(arguments[1:])
        except KeyboardInterrupt:  # while the command was still being imported
            return EXIT_INTERRUPTED
    parser = _parser()
    parser.parse_args(arguments)
    parser.print_help(sys.stderr)
    return EXIT_USAGE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nanobatch",
        description="Large batches of images with Gemini image models, at a cost you can state.",
        epilog="`nanobatch COMMAND --help` says more.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, (line, _) in _COMMANDS.items():
        commands.add_parser(name, help=line)
    return parser


if __name__ == "__main__":
    sys.exit(main())
