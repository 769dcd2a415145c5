"""A manifest of the accepted images, for whoever uses them next."""

from __future__ import annotations

import csv
import json
from functools import partial
from typing import TYPE_CHECKING, TextIO

from nanobatch.checkpoint.disk import written_whole
from nanobatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from nanobatch.candidate import AcceptedImage

__all__ = ["export_images"]

_FIELDS: tuple[str, ...] = (
    "job_id",
    "number",
    "file",
    "sha256",
    "mime_type",
    "width_px",
    "height_px",
    "model_id",
    "tier",
    "usd",
    "score",
    "prompt",
)


_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Beginnings that make a spreadsheet take a cell for a formula, also as full-width characters.

Source: https://owasp.org/www-community/attacks/CSV_Injection, from memory, unverified.
"""


def export_images(
    images: Iterable[AcceptedImage], path: Path, *, base: Path, spreadsheet_safe: bool
) -> int:
    """Write one row per image and return how many; `file` is relative to `base`.

    Args:
        images: The images.
        path: Where to.
        base: The checkpoint's folder.
        spreadsheet_safe: Whether cells of a CSV file that a spreadsheet would take for a formula
            get an apostrophe in front.

    Raises:
        ConfigError: The suffix is neither `.jsonl` nor `.csv`.
        CheckpointError: The disk refused.
    """
    writers: dict[str, Callable[[TextIO, Iterator[dict[str, object]]], int]] = {
        ".jsonl": _write_jsonl,
        ".csv": partial(_write_csv, write_cell=_defused if spreadsheet_safe else _as_it_is),
    }
    write = writers.get(path.suffix.lower())
    if write is None:
        raise ConfigError(f"Cannot export to {path.name!r}: the name must end in .jsonl or .csv.")
    with written_whole(path, newline="", failing="Cannot export to") as file:
        return write(file, (_row(image, base) for image in images))


def _row(image: AcceptedImage, base: Path) -> dict[str, object]:
    row: dict[str, object] = {name: getattr(image, name, None) for name in _FIELDS}
    row["file"] = image.path.relative_to(base).as_posix()
    row["usd"] = f"{image.usd:f}"
    return row


def _write_jsonl(file: TextIO, rows: Iterator[dict[str, object]]) -> int:
    count = 0
    for row in rows:
        file.write(f"{json.dumps(row, ensure_ascii=False)}\n")
        count += 1
    return count


def _write_csv(
    file: TextIO,
    rows: Iterator[dict[str, object]],
    *,
    write_cell: Callable[[object], object],
) -> int:
    writer = csv.DictWriter(file, _FIELDS)
    writer.writeheader()
    count = 0
    for row in rows:
        writer.writerow({name: write_cell(cell) for name, cell in row.items()})
        count += 1
    return count


def _defused(cell: object) -> object:
    """Return a text so that no spreadsheet computes it; numbers are left alone."""
    is_formula = isinstance(cell, str) and cell.startswith(_FORMULA_STARTS)
    return f"'{cell}" if is_formula else cell


def _as_it_is(cell: object) -> object:
    return cell
