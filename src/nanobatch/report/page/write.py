"""Writing the page: one file that needs no network, streamed so that large runs fit in memory."""

# pyright: reportUnknownMemberType=false
# Jinja2's own types leave the values of an environment's filters and globals open.

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from nanobatch.checkpoint import Checkpoint
from nanobatch.checkpoint.disk import create_folder, written_whole
from nanobatch.cost.table import counted, show_percent, show_usd
from nanobatch.errors import ConfigError
from nanobatch.report.page.charts import cost_chart, interval, spend_chart, usd_top
from nanobatch.report.page.figures import figures_of
from nanobatch.report.page.sheet import MAX_FAILURES, Sheet
from nanobatch.report.page.thumbnails import Beside, Embedded
from nanobatch.report.replay import root_of

if TYPE_CHECKING:
    from jinja2 import Environment

    from nanobatch.checkpoint import CheckpointReader

__all__ = ["write_html"]

ThumbnailPlace: TypeAlias = Literal["embed", "beside"]


def write_html(
    checkpoint: CheckpointReader | str | Path,
    path: str | Path,
    *,
    thumbnails: ThumbnailPlace = "embed",
    title: str | None = None,
) -> Path:
    """Write one HTML page about a run: all of its images, its costs and what did not work.

    The page loads nothing from anywhere: it works offline, and a content security policy in it
    forbids the browser to send anything. What came from a prompt or a model is shown as text.

    The full images are not in it. They are linked by paths relative to the page, so put it beside
    the checkpoint or into its folder if you move both. Without them it shows the thumbnails.

    A run may write meanwhile. Making thumbnails takes about 30 ms of a core for a PNG of 1K, so
    in an event loop call `await anyio.to_thread.run_sync(write_html, checkpoint, path)`.

    ```python
    from nanobatch.report import write_html

    write_html("runs/wallpapers", "runs/wallpapers.html")
    ```

    Args:
        checkpoint: A folder, or an open checkpoint. The line of code that finishes chosen images
            names the folder as it is given here.
        path: The page; replaced as a whole. Its folder is created if needed.
        thumbnails: `"embed"`: in the page, 2 to 10 kB each; or `"beside"`: in a folder
            `<page>-thumbnails`, where the next page finds those that are there. Better for tens
            of thousands of images.
        title: Heading of the page; the name of the checkpoint's folder if not given.

    Returns:
        Absolute path of the page.

    Raises:
        ConfigError: Jinja2 is not installed; it comes with `nanobatch[report]`. Or `thumbnails` is
            neither of the two.
        CheckpointError: The checkpoint cannot be read, or the disk refused the page.
    """
    if thumbnails not in ("embed", "beside"):
        raise ConfigError(f"thumbnails={thumbnails!r}: choose 'embed' or 'beside'.")
    environment = _environment()
    page = Path(path).absolute()
    root = root_of(checkpoint)
    create_folder(page.parent)
    with (
        Checkpoint.read(root) as reader,  # ours alone, whatever its owner does
        written_whole(page, newline="\n", failing="Cannot write the page") as file,
    ):
        template = environment.get_template("page.html")
        context = _context(reader, page, thumbnails)
        context |= {"title": title or reader.root.name or "run", "location": str(root)}
        file.writelines(template.generate(context))
    return page


def _context(reader: CheckpointReader, page: Path, thumbnails: ThumbnailPlace) -> dict[str, Any]:
    """Return what the template shows; the contact sheet is read while the page is written."""
    moment = reader.moment()
    figures = figures_of(reader, moment)
    place: Embedded | Beside = Embedded()
    if thumbnails == "beside":
        folder = page.with_name(f"{page.stem}-thumbnails")
        folder.mkdir(exist_ok=True)
        place = Beside(folder)
    sheet = Sheet(reader, moment, thumbnails=place, base=page.parent)
    style, script = _asset("page.css"), _asset("page.js")
    return {
        "made_at": datetime.now(UTC),
        "figures": figures,
        "failure_count": sum(one.count for one in figures.failures),
        "max_failures": MAX_FAILURES,
        "cost_chart": cost_chart(figures.whole, figures.comparison),
        "spend_chart": spend_chart(figures.course),
        "usd_top": usd_top((*figures.tiers, *figures.tags)),
        "portions": sheet.portions(),
        "style": style,
        "script": script,
        "style_hash": _hash(style),
        "script_hash": _hash(script),
    }


def _environment() -> Environment:
    try:
        from jinja2 import (  # noqa: PLC0415 - an extra
            Environment,
            PackageLoader,
            StrictUndefined,
        )
    except ModuleNotFoundError as missing:
        raise ConfigError(
            f"The page needs Jinja2 ({missing}). Install the extra: "
            "pip install 'nanobatch[report]'."
        ) from missing
    environment = Environment(
        loader=PackageLoader("nanobatch.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(usd=show_usd, percent=show_percent)
    environment.globals.update(counted=counted, interval=interval)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment


def _asset(name: str) -> str:
    return (files("nanobatch.report.page") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return what the policy of the page says of a style or a script, so that no other one runs."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
