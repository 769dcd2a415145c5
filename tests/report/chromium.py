"""A real headless Chromium, and what a page does in it."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Generator

    from playwright.sync_api import Browser, BrowserContext, Page, Request

NAMES = ("chromium", "chromium-browser", "google-chrome")
REMEDY = (
    "no Chromium here: install one with `apt-get install chromium` or `playwright install chromium`"
)


@contextmanager
def chromium() -> Generator[Browser]:
    """Start the Chromium of this machine, or the one that playwright has downloaded.

    As long as it runs, no event loop can be started in this thread.
    """
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, NAMES)), None)
        if found is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip(REMEDY)
        as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=found, args=as_root)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page with everything it said and asked for."""

    page: Page
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)
    """Errors of scripts, and all words on the console."""
    requests: list[str] = field(default_factory=list)
    """What it asked for, but for data it held itself."""


@contextmanager
def opened(
    browser: Browser, file: Path, *, width: int = 1440, height: int = 900, dark: bool = False
) -> Generator[Watched]:
    """Open a page from disk, as somebody does who double-clicks it."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
    )
    context.set_default_timeout(10_000)
    watched = Watched(context.new_page(), context)
    watched.page.on("console", lambda message: watched.complaints.append(message.text))
    watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))

    def note(request: Request) -> None:
        if not request.url.startswith("data:"):
            watched.requests.append(request.url)

    context.on("request", note)
    try:
        watched.page.goto(file.as_uri())
        yield watched
    finally:
        context.close()
