"""A written page as a parser sees it: its text, its scripts, and what it refers to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

VOID = {"br", "img", "input", "link", "meta"}


@dataclass
class Page:
    """What is in a page."""

    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Every start tag with its attributes."""
    texts: list[str] = field(default_factory=list)
    """Every text outside of scripts and styles."""
    scripts: list[tuple[dict[str, str], str]] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text, with single spaces."""
        return " ".join(" ".join(self.texts).split())

    @property
    def portions(self) -> list[Any]:
        """What the contact sheet is made of."""
        return [json.loads(text) for head, text in self.scripts if head.get("class") == "items"]

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """Jobs, in the order in which items name them."""
        return [job for portion in self.portions for job in portion["jobs"]]

    @property
    def items(self) -> list[dict[str, Any]]:
        """Images and failures."""
        return [item for portion in self.portions for item in portion["items"]]

    @property
    def thumbnails(self) -> dict[str, str]:
        """Embedded thumbnails in base64, by the key of their item."""
        return {
            key: value
            for head, text in self.scripts
            if head.get("class") == "thumbnails"
            for key, value in json.loads(text).items()
        }

    def verdicts(self, job_id: str) -> list[str]:
        """Return what became of the images of a job, in the order they were drawn."""
        (place,) = [n for n, job in enumerate(self.jobs) if job["id"] == job_id]
        return [item["verdict"] for item in self.items if item.get("job") == place]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.page.elements.append((tag, attributes))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "script":
            self.page.scripts.append((attributes, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        within = self._open[-1] if self._open else ""
        if within == "script":
            head, text = self.page.scripts[-1]
            self.page.scripts[-1] = (head, text + data)
        elif within == "style":
            self.page.styles.append(data)
        else:
            self.page.texts.append(data)


def read_page(path: Path) -> Page:
    """Parse a page."""
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    return reader.page
