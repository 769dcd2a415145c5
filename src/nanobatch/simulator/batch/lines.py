"""The lines of a batch: where each lies in the input file, under which key, and what it asks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nanobatch.simulator.problem import Problem
from nanobatch.simulator.request import as_object

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["InputLine", "index_lines", "read_line", "write_lines"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputLine:
    """One line of an input file."""

    number: int
    """Lines before it, empty ones included."""

    key: str
    """Its key; empty if it has none."""

    offset: int
    """Where it begins in the file, in bytes."""

    size_bytes: int
    """How long it is."""

    is_json: bool
    """Whether it is a JSON object."""

    metadata: dict[str, Any] | None = None
    """What came with an inline request."""


def index_lines(path: Path) -> tuple[InputLine, ...]:
    """Return where the lines of a file are; empty ones are left out."""
    lines: list[InputLine] = []
    offset = 0
    with path.open("rb") as file:
        for number, text in enumerate(file):
            if text.strip():
                fields = _object(text)
                key = (fields or {}).get("key")
                lines.append(
                    InputLine(
                        number=number,
                        key="" if key is None else str(key),
                        offset=offset,
                        size_bytes=len(text),
                        is_json=fields is not None,
                        metadata=as_object((fields or {}).get("metadata")),
                    )
                )
            offset += len(text)
    return tuple(lines)


def read_line(path: Path, line: InputLine) -> bytes:
    """Return the request of one line as JSON.

    Raises:
        Problem: It holds none.
    """
    with path.open("rb") as file:
        file.seek(line.offset)
        fields = _object(file.read(line.size_bytes))
    if fields is None:
        raise Problem(400, f"Invalid JSON in line {line.number + 1} of the input file.")
    request = fields.get("request")
    if not isinstance(request, dict):
        raise Problem(400, f"Line {line.number + 1} of the input file has no request.")
    return json.dumps(request).encode()


def write_lines(path: Path, requests: Iterable[object]) -> None:
    """Write inline requests as the lines of a file.

    Raises:
        Problem: One of them is no object.
    """
    with path.open("wb") as file:
        for index, request in enumerate(requests):
            fields = as_object(request)
            if fields is None:
                raise Problem(400, f"Invalid value at 'batch.input_config.requests[{index}]'.")
            metadata = as_object(fields.get("metadata"))
            key = (metadata or {}).get("key")
            line = {"key": key, "request": fields.get("request"), "metadata": metadata}
            file.write(json.dumps(line).encode() + b"\n")


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return as_object(parsed)
