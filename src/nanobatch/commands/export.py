"""`nanobatch export`: a manifest of the accepted images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nanobatch.checkpoint import Checkpoint
from nanobatch.commands.answer import Answer, new_parser, respond
from nanobatch.cost.table import counted
from nanobatch.errors import one_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the manifest."""
    parser = new_parser(
        "export", "Write a manifest of the accepted images: a row each, with file, cost and prompt."
    )
    parser.add_argument("path", type=Path, metavar="FOLDER", help="the checkpoint's folder")
    parser.add_argument(
        "to", type=Path, metavar="FILE", help="a .jsonl or .csv file; replaced as a whole"
    )
    return respond(parser, argv, _work)


def _work(options: argparse.Namespace) -> Answer:
    with Checkpoint.read(options.path) as checkpoint:
        images = checkpoint.export(options.to)
    return Answer(
        text=one_line(f"Wrote {counted(images, 'image')} to {options.to}."),
        json={"images": images, "file": str(options.to)},
    )
