"""`nanobatch report`: one page about a whole run, for a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nanobatch.commands.answer import Answer, new_parser, respond
from nanobatch.errors import one_line
from nanobatch.report import write_html

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page."""
    parser = new_parser(
        "report",
        "Write one HTML page about a run: its images with their verdicts, its costs, and what did "
        "not work. It changes nothing in the checkpoint, and a run may go on meanwhile.",
    )
    parser.add_argument("path", type=Path, metavar="FOLDER", help="the checkpoint's folder")
    parser.add_argument(
        "to",
        type=Path,
        nargs="?",
        metavar="FILE",
        help="the page, replaced as a whole; FOLDER.html beside the folder if not given",
    )
    parser.add_argument(
        "--thumbnails",
        choices=("embed", "beside"),
        default="embed",
        help="in the page, or in a folder beside it: better for tens of thousands (embed)",
    )
    parser.add_argument("--title", help="heading of the page; the folder's name if not given")
    return respond(parser, argv, _work)


def _work(options: argparse.Namespace) -> Answer:
    folder: Path = options.path
    beside = folder.absolute().with_name(f"{folder.absolute().name}.html")
    page = write_html(
        folder,
        options.to or beside,
        thumbnails=options.thumbnails,
        title=options.title,
    )
    return Answer(
        text=one_line(f"Open {page} in a browser."),
        json={"file": str(page), "url": page.as_uri()},
    )
