"""One request to the free part of the API, and how its answer may fail to arrive."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanobatch.simulator.exchange import Received

__all__ = ["Lost", "Operation", "name_operation"]

_PATTERNS = (
    ("POST", re.compile(r"/upload/(?:v1|v1beta)/files"), "upload_start"),
    ("GET", re.compile(r"(?:/download)?/(?:v1|v1beta)/(files/[^/:]+):download"), "download"),
    ("GET", re.compile(r"/(?:v1|v1beta)/files"), "list_files"),
    ("GET", re.compile(r"/(?:v1|v1beta)/(files/[^/:]+)"), "get_file"),
    ("DELETE", re.compile(r"/(?:v1|v1beta)/(files/[^/:]+)"), "delete_file"),
    ("POST", re.compile(r"/(?:v1|v1beta)/(models/[^/:]+):batchGenerateContent"), "create"),
    ("GET", re.compile(r"/(?:v1|v1beta)/batches"), "list"),
    ("GET", re.compile(r"/(?:v1|v1beta)/(batches/[^/:]+)"), "get"),
    ("POST", re.compile(r"/(?:v1|v1beta)/(batches/[^/:]+):cancel"), "cancel"),
    ("DELETE", re.compile(r"/(?:v1|v1beta)/(batches/[^/:]+)"), "delete"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One request about files or batch jobs."""

    name: str
    """`upload_start`, `upload_part`, `upload` (the bytes that complete a file), `get_file`,
    `list_files`, `delete_file`, `download`, `create`, `get`, `list`, `cancel` or `delete`."""

    nth: int
    """How many requests of that name came before."""

    target: str
    """`files/...`, `batches/...` or, for `create`, `models/...`; empty if there is none."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The request is carried out and its answer does not arrive.

    Raises:
        ValueError: The fraction is out of its range.
    """

    fraction: float | None = None
    """How much of the body comes before the connection closes, at least 0 and less than 1; `None`
    for a TCP reset before any answer."""

    def __post_init__(self) -> None:
        """Check the fraction."""
        if self.fraction is not None and not 0 <= self.fraction < 1:
            raise ValueError(f"fraction must be at least 0 and less than 1, not {self.fraction}.")


def name_operation(received: Received) -> tuple[str, str]:
    """Return name and target of the operation a request asks for; two empty strings for none."""
    if received.path.startswith("/upload/") and "upload_id" in received.query:
        command = received.headers.get("x-goog-upload-command", "")
        return ("upload" if "finalize" in command else "upload_part"), ""
    for method, pattern, name in _PATTERNS:
        match = pattern.fullmatch(received.path)
        if match is not None and received.method == method:
            return name, "".join(match.groups())
    return "", ""
